"""`ragsaver search`: passages, and nothing is generated."""

from typing import TYPE_CHECKING, Annotated

import typer

from ragsaver.cli.output import errors_told, print_json, say, tell_unused, told_place
from ragsaver.control_characters import on_one_line
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings

if TYPE_CHECKING:
    from ragsaver.components.explain import Explained

_SHOWN = 30


def search(
    question: Annotated[str, typer.Argument(help="What to look for.")],
    top_k: Annotated[int | None, typer.Option(help="How many passages.")] = None,
    collection: Annotated[str | None, typer.Option(help="Where to look.")] = None,
    explain: Annotated[bool, typer.Option(help="Say what became of each passage that was found, and why.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Find the passages nearest to a question."""
    with errors_told(as_json):
        from ragsaver.cli.backend import backend

        quiet_haystack()
        settings = load_settings()
        with backend(settings, "ragsaver search") as work:
            result = work.search(question, collection, top_k, explain)
        tell_unused(settings)
        if as_json:
            print_json(result.model_dump_json())
            return
        if not result.passages:
            say("No passage was found. This collection may be empty: `ragsaver ingest PATH` fills it.", err=True)
        for passage in result.passages:
            say(f"{passage.score:.3f}  {told_place(passage.source, passage.page, passage.heading)}")
            say(f"{passage.text}\n")
        if result.debug:
            _tell(result.debug)


def _tell(debug: "Explained") -> None:
    say(f"Fusion: {debug.fusion}. Rerank: {debug.rerank or 'not asked'}.")
    for one in debug.passages[:_SHOWN]:
        legs = ", ".join(
            f"{name} {leg.rank} ({leg.score:.3f})" for name, leg in (("dense", one.dense), ("BM25", one.lexical)) if leg
        )
        reranked = "" if one.reranked_score is None else f", reranked {one.reranked_score:.3f}"
        packed = "not packed" if one.tokens is None else f"{one.tokens} tokens"
        say(f"{one.rank or '-':>4}  {told_place(one.source, one.page, one.heading)}")
        say(f"      {legs}; fused {one.fused_rank} ({one.fused_score:.3f}){reranked}; {packed}")
        if one.also_in:
            say(f"      says the same: {', '.join(on_one_line(place.source) for place in one.also_in)}")
        if one.left_out:
            say(f"      left out: {one.left_out}")
    if len(debug.passages) > _SHOWN:
        say(f"{len(debug.passages) - _SHOWN} more were found; `--json` has them all.")
