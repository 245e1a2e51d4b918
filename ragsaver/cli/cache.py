"""`ragsaver cache`: what the caches of answers hold, and how to empty them."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ragsaver.cli.output import errors_told, print_json, say
from ragsaver.errors import UsageError
from ragsaver.settings_file import load_settings

if TYPE_CHECKING:
    from ragsaver.caching.entries import EntryStore
    from ragsaver.settings import Settings

app = typer.Typer(no_args_is_help=True)

_STORES = ("answers", "lookups")
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]


@app.command("stats")
def stats(as_json: _Json = False) -> None:
    """Say how many entries there are, of all tenants; what became of questions is told at /metrics."""
    with errors_told(as_json):
        settings = load_settings()
        told: dict[str, dict[str, float]] = {}
        for name in _STORES:
            with _opened(settings, name) as store:
                held = store.holding()
            told[name] = {"entries": held.entries, "mb": round(held.bytes / 2**20, 3)}
            if not as_json:
                say(f"{name}: {held.entries} entries, {told[name]['mb']} MB")
        if as_json:
            print_json(json.dumps({"backend": settings.cache.backend, **told}))


@app.command("clear")
def clear(
    collection: Annotated[str | None, typer.Option("--collection", help="Only of this collection.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Of all tenants.")] = False,
    as_json: _Json = False,
) -> None:
    """Forget the tenant's answers and all that was found or made for questions; also while a server runs."""
    with errors_told(as_json):
        if everybody and collection:
            raise UsageError("--all is all collections too", remedy="Leave one of the two out")
        settings = load_settings()
        gone: dict[str, int] = {}
        for name in _STORES:
            with _opened(settings, name) as store:
                gone[name] = store.clear(None if everybody else settings.tenant, collection)
        if as_json:
            print_json(json.dumps({"cleared": gone}))
        else:
            say(f"{gone['answers']} answers and {gone['lookups']} lookups forgotten")


@contextmanager
def _opened(settings: "Settings", name: str) -> "Iterator[EntryStore]":
    from ragsaver.caching.opening import open_entries

    if settings.cache.backend == "memory":
        raise UsageError(
            "the caches are in the memory of each process",
            where="cache.backend",
            remedy="Start the server again to empty them, or set `cache.backend: sqlite`",
        )
    settings.home.mkdir(parents=True, exist_ok=True)
    with closing(open_entries(settings.home, settings.cache, name)) as store:
        yield store
