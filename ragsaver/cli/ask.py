"""`ragsaver ask`: an answer with its citations and its receipt."""

from typing import TYPE_CHECKING, Annotated

import typer

from ragsaver.cli.output import errors_told, print_json, say, tell_unused, told_place
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings

if TYPE_CHECKING:
    from ragsaver.pipelines.result import AskResult

ADD_A_MODEL = (
    "No language model is configured, so answers are the documents' own words. To add one, name it under\n"
    "`generation.models` in ragsaver.yaml: any OpenAI-compatible endpoint (docs/how-to/add-an-llm.md)."
)


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    collection: Annotated[str | None, typer.Option(help="Where to look.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="A pipeline of pipelines/, by name.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Answer a question from the documents, with citations and a receipt."""
    with errors_told(as_json):
        from ragsaver.cli.backend import backend

        quiet_haystack()
        settings = load_settings()
        with backend(settings, "ragsaver ask") as work:
            result = work.ask(question, collection, pipeline)
        tell_unused(settings, pipeline)
        if as_json:
            print_json(result.model_dump_json())
        else:
            _show(result)
        if not settings.generation.models:
            say(ADD_A_MODEL, err=True)


def _show(result: "AskResult") -> None:
    say(result.answer if result.answer is not None else f"No answer: {result.reason}")
    for number, citation in enumerate(result.citations, 1):
        say(f"\n[{number}] {told_place(citation.source, citation.page, citation.heading)}\n    “{citation.quote}”")
    receipt = result.receipt
    say(f"\nReceipt ({result.route.tier}: {result.route.reason})")
    for line in receipt.lines:
        say(
            f"  {line.stage:<12} {line.item:<26} {line.quantity:>8g} {line.unit:<9}"
            f" ${line.cost_usd:.6f}  saved ${line.saved_usd:.6f}  {line.reason}"
        )
    say(
        f"  spent ${receipt.cost_usd:.6f}, baseline ${receipt.baseline_usd:.6f}, saved ${receipt.saved_usd:.6f}"
        f", {result.latency_ms['total']:.0f} ms"
    )
