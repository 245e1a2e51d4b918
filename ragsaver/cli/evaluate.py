"""`ragsaver eval`: measure retrieval and packing on a dataset."""

from pathlib import Path
from typing import Annotated

import typer

from ragsaver.cli.output import errors_told, print_json, say
from ragsaver.errors import UsageError
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings

app = typer.Typer(no_args_is_help=True)

_Dataset = Annotated[Path, typer.Option(help="A folder in BEIR's layout.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]
Search = Annotated[
    bool, typer.Option("--search", help="Look for each question in this project's index, and learn from what is found.")
]


@app.command("retrieval")
def retrieval(dataset: _Dataset, as_json: _Json = False) -> None:
    """How well are the judged passages found?"""
    with errors_told(as_json):
        quiet_haystack()
        from ragsaver.eval.retrieval import evaluate_retrieval

        report = evaluate_retrieval(dataset, load_settings())
        text = report.model_dump_json(by_alias=True)
        print_json(text if as_json else report.model_dump_json(by_alias=True, indent=2))


@app.command("context")
def context(
    dataset: _Dataset,
    budget_tokens: Annotated[int, typer.Option(help="Ceiling for the packed context.")] = 400,
    as_json: _Json = False,
) -> None:
    """How often is a gold answer in the packed context?"""
    with errors_told(as_json):
        quiet_haystack()
        from ragsaver.eval.context import evaluate_context

        report = evaluate_context(dataset, load_settings(), budget_tokens)
        print_json(report.model_dump_json(indent=None if as_json else 2))


@app.command("tune-gate")
def tune_gate(
    dataset: Annotated[list[Path], typer.Option(help="A folder in BEIR's layout; may be given several times.")],
    target: Annotated[str, typer.Option(help="calls=SHARE at most, or ndcg=MEAN to reach.")] = "calls=0.4",
    out: Annotated[Path, typer.Option(help="Where the gate is written.")] = Path("gate.json"),
    as_json: _Json = False,
) -> None:
    """Tune the gate that decides which questions are reranked."""
    with errors_told(as_json):
        quiet_haystack()
        from ragsaver.eval.tune_gate import read_target
        from ragsaver.eval.tune_gate import tune_gate as tune

        def tell(name: str, done: int, of: int) -> None:
            if done % 100 == 0 or done == of:
                say(f"{name}: {done} of {of} questions reranked", err=True)

        if out.is_dir() or not out.absolute().parent.is_dir():  # told before a reranker is paid
            raise UsageError("no file can be written there", where=str(out), remedy="Give `--out` another path")
        gate, report = tune(dataset, load_settings(), read_target(target), tell)
        out.write_text(gate.model_dump_json(indent=1) + "\n", encoding="utf-8")
        report.file = str(out)
        print_json(report.model_dump_json(indent=None if as_json else 2))


@app.command("tune-fusion")
def tune_fusion(
    dataset: Annotated[list[Path], typer.Option(help="A folder in BEIR's layout; may be given again.")],
    as_json: _Json = False,
) -> None:
    """Which fusion of both legs, and which weight of BM25, is best for these questions?"""
    with errors_told(as_json):
        quiet_haystack()
        from ragsaver.eval.tune_fusion import tune_fusion as tune

        report = tune(dataset, load_settings())
        print_json(report.model_dump_json(by_alias=True, indent=None if as_json else 2))


@app.command("route")
def route(
    data: Annotated[Path, typer.Option(help="JSON lines of `query`, `weak_ok` and `strong_ok` or `ok`, and `group`.")],
    folds: Annotated[int, typer.Option(help="Parts that the questions are cut into, to try each unseen.")] = 5,
    search: Search = False,
    as_json: _Json = False,
) -> None:
    """How well would a router trained on these outcomes tell which questions need the strong model?"""
    with errors_told(as_json):
        quiet_haystack()
        from ragsaver.eval.route import evaluate_route

        report = evaluate_route(data, load_settings(), folds, looked_at, search=search)
        print_json(report.model_dump_json(indent=None if as_json else 2))


def looked_at(done: int, of: int) -> None:
    """Tell of progress."""
    if done % 2048 == 0 or done == of:
        say(f"{done} of {of} questions looked at", err=True)
