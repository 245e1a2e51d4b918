"""`ragsaver index`: move the index between the embedded engine and a Qdrant server."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ragsaver.addresses import without_password
from ragsaver.cli.output import errors_told, print_json, say
from ragsaver.errors import UsageError
from ragsaver.settings_file import load_settings

if TYPE_CHECKING:
    from ragsaver.index.moving import Moved
    from ragsaver.settings import Settings

app = typer.Typer(no_args_is_help=True)

_Prune = Annotated[
    bool, typer.Option("--prune", help="Remove points of this project's collections that are there and not here.")
]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]


@app.command("push")
def push(prune: _Prune = False, as_json: _Json = False) -> None:
    """Copy the embedded index to the Qdrant server that the settings name; embeds nothing."""
    with errors_told(as_json):
        _show("push", _moved(load_settings(), to_server=True, prune=prune), as_json)


@app.command("pull")
def pull(prune: _Prune = False, as_json: _Json = False) -> None:
    """Copy the index of the Qdrant server to the embedded one; embeds nothing."""
    with errors_told(as_json):
        _show("pull", _moved(load_settings(), to_server=False, prune=prune), as_json)


def _moved(settings: "Settings", *, to_server: bool, prune: bool) -> "Moved":
    from ragsaver.index.generation import settings_at
    from ragsaver.index.manifest_place import manifest_place
    from ragsaver.index.moving import move, require_alike
    from ragsaver.index.opening import edge_identity, open_edge, open_server, server_identity
    from ragsaver.index.ownership import Ownership
    from ragsaver.index.store import current_store
    from ragsaver.ingestion.opening import open_manifest
    from ragsaver.ingestion.writers import turns

    ownership = Ownership.acquire(settings.home, f"ragsaver index {'push' if to_server else 'pull'}")
    with ExitStack() as opened:
        opened.callback(ownership.release)
        store = current_store(settings.home)
        at = settings_at(settings.index, manifest_place(settings, store))
        embedded, remote = edge_identity(store), server_identity(at)
        identity = embedded if to_server else remote
        if identity is None:
            what = f"no embedded index under {store}" if to_server else "no index at the server"
            raise UsageError(f"there is {what}", remedy="`ragsaver ingest` makes one, where `index.engine` says")
        if to_server:
            remedy = "Name another collection in `index.collection`"
            there = without_password(str(settings.index.url))
            require_alike(identity, remote, where=f"{there}, {at.collection}", remedy=remedy)
        else:
            require_alike(identity, embedded, where=str(store), remedy="Point RAGSAVER_HOME to a new folder")
        edge = opened.enter_context(closing(open_edge(store, settings.index, identity)))
        server = opened.enter_context(closing(open_server(at, identity)))
        source, target = (edge, server) if to_server else (server, edge)
        writers = opened.enter_context(closing(turns(settings, store)))
        is_emptied = opened.enter_context(closing(open_manifest(settings, store))).is_emptied
        with _progress() as progress:
            moved = move(source, target, writers.turn, prune=prune, is_emptied=is_emptied, progress=progress)
        target.optimise()
        return moved


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """A line on stderr for a person who watches."""
    import sys

    if not sys.stderr.isatty():
        yield lambda points: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("points"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("points", total=None)
        yield lambda points: shown.advance(task, points)


def _show(what: str, moved: "Moved", as_json: bool) -> None:
    copied, unchanged, removed = (
        sum(getattr(one, name) for one in moved.scopes) for name in ("copied", "unchanged", "removed")
    )
    if as_json:
        told = {"points": moved.points, "copied": copied, "unchanged": unchanged, "removed": removed}
        print_json(json.dumps({"direction": what, **told, **asdict(moved)}))
        return
    for one in moved.scopes:
        say(f"{one.tenant}/{one.collection}: {one.points} points, {one.copied} of them copied")
    for other in moved.left:
        say(f"{other.tenant}/{other.collection}: {other.points} points are only there, and stay")
    say(f"{moved.points} points: {copied} copied, {unchanged} were there, {removed} removed; {moved.seconds:.1f} s")
