"""`ragsaver route`: the router that decides with which model a question begins."""

from pathlib import Path
from typing import Annotated

import typer

from ragsaver.cli.evaluate import Search, looked_at
from ragsaver.cli.output import errors_told, print_json
from ragsaver.errors import UsageError
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _several() -> None:
    """Train the router."""


@app.command("train")
def train(
    data: Annotated[Path, typer.Option(help="JSON lines of `query`, `weak_ok` and `strong_ok` or `ok`, and `group`.")],
    out: Annotated[Path, typer.Option(help="Where the router is written.")] = Path("router.json"),
    target: Annotated[
        str, typer.Option(help="quality=SHARE of the strongest model's to keep, calls=SHARE or cost=SHARE.")
    ] = ("quality=0.95"),
    search: Search = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")] = False,
) -> None:
    """Train a router on recorded outcomes, and write it for `generation.router`."""
    with errors_told(as_json):
        wanted = _read(target)
        quiet_haystack()
        from ragsaver.eval.route import train_route

        model, report = train_route(data, load_settings(), looked_at, search=search, **wanted)
        out.write_text(model.model_dump_json(indent=1) + "\n", encoding="utf-8")
        report.file = str(out)
        print_json(report.model_dump_json(indent=None if as_json else 2))


def _read(target: str) -> dict[str, float]:
    """What `train_route` calls it."""
    name, _, number = target.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    names = {"quality": "min_quality", "calls": "max_calls", "cost": "max_cost"}
    if name not in names or not 0 <= value <= 1 or (name == "quality" and not value):
        raise UsageError(
            f"`{target}` is no target", where="--target", remedy="Say quality=0.95, calls=0.3, or cost=0.5"
        )
    return {names[name]: value}
