"""`ragsaver documents`: what is in, what goes, what keeping it costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragsaver.cli.ordering import not_allowed
from ragsaver.cli.output import errors_told, kinds_lost, lost, print_json, say, tell_what_stays_out
from ragsaver.control_characters import on_one_line
from ragsaver.settings import quiet_haystack
from ragsaver.settings_file import load_settings

if TYPE_CHECKING:
    from ragsaver.ingestion.holdings import HoldingsReport
    from ragsaver.ingestion.lifecycle import RemovalReport
    from ragsaver.ingestion.selection import DocumentSelection

app = typer.Typer(no_args_is_help=True)

_SHOWN = 20

_Source = Annotated[str | None, typer.Option(help="The document of this name, or from this place.")]
_Under = Annotated[str | None, typer.Option(metavar="PREFIX", help="What lies under this folder or prefix.")]
_OlderThan = Annotated[str | None, typer.Option(metavar="AGE", help="Brought in or changed longer ago: 30d, 12h.")]
_Metadata = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="With this value; may be repeated.")]
_Collection = Annotated[str | None, typer.Option(help="Which collection.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]


@app.command("list")
def list_documents(
    source: _Source = None,
    under: _Under = None,
    older_than: _OlderThan = None,
    metadata: _Metadata = None,
    collection: _Collection = None,
    as_json: _Json = False,
) -> None:
    """List documents: what each takes, and when it was last of use."""
    with errors_told(as_json):
        from ragsaver.cli.backend import backend

        quiet_haystack()
        selection = _selection(source, under, older_than, metadata, collection)
        settings = load_settings()
        with backend(settings, "ragsaver documents list") as work:
            found = work.list_documents(selection)
        if as_json:
            print_json(found.model_dump_json())
            return
        if not found.documents:
            of_them = "no document" if selection.takes_all else "no document that meets these conditions"
            say(f"collection `{selection.collection or settings.collection}` holds {of_them}", err=True)
        for one in found.documents:
            used = f"used {one.last_used}" if one.last_used else "never used"
            say(f"{one.id}  {one.chunks:>5} chunks  {one.bytes:>9} bytes  {used}  {on_one_line(one.source)}")
            for note in one.notes:
                say(f"    not in the index: {lost(note)}")
        tell_what_stays_out(found.tombstoned, {})


@app.command("delete")
def delete(
    source: _Source = None,
    under: _Under = None,
    older_than: _OlderThan = None,
    metadata: _Metadata = None,
    collection: _Collection = None,
    dry_run: _DryRun = False,
    as_json: _Json = False,
) -> None:
    """Delete the documents that meet every condition; at least one has to be named."""
    with errors_told(as_json):
        from ragsaver.cli.backend import backend

        quiet_haystack()
        selection = _selection(source, under, older_than, metadata, collection)
        with backend(load_settings(), "ragsaver documents delete") as work:
            _removed(work.delete_documents(selection, dry_run), as_json)


@app.command("expire")
def expire(collection: _Collection = None, dry_run: _DryRun = False, as_json: _Json = False) -> None:
    """Delete what the collection's `lifecycle.retention` does not keep."""
    with errors_told(as_json):
        from ragsaver.cli.backend import backend

        quiet_haystack()
        with backend(load_settings(), "ragsaver documents expire") as work:
            _removed(work.expire_documents(collection, dry_run), as_json)


@app.command("report")
def report(
    cold_after: Annotated[str | None, typer.Option(metavar="AGE", help="Unused for so long is cold: 30d.")] = None,
    collection: _Collection = None,
    as_json: _Json = False,
) -> None:
    """Report what the collection holds, what of it is cold or there twice, and what keeping it costs."""
    with errors_told(as_json):
        from ragsaver.cli.backend import backend
        from ragsaver.ingestion.selection import seconds_of

        quiet_haystack()
        cold_after_s = None if cold_after is None else seconds_of(cold_after)
        with backend(load_settings(), "ragsaver documents report") as work:
            holdings = work.report_documents(collection, cold_after_s)
        if as_json:
            print_json(holdings.model_dump_json())
        else:
            _show(holdings)


def _selection(
    source: str | None, under: str | None, older_than: str | None, metadata: list[str] | None, collection: str | None
) -> "DocumentSelection":
    from pydantic import ValidationError

    from ragsaver.errors import UsageError
    from ragsaver.ingestion.selection import DocumentSelection, pairs_of, seconds_of

    try:
        return DocumentSelection(
            cwd=Path.cwd(),
            collection=collection,
            source=source,
            under=under,
            older_than_s=None if older_than is None else seconds_of(older_than),
            metadata=pairs_of(metadata or []),
        )
    except ValidationError as error:
        raise UsageError(not_allowed(error)) from None


def _removed(gone: "RemovalReport", as_json: bool) -> None:
    if as_json:
        print_json(gone.model_dump_json())
        return
    for one in gone.documents[:_SHOWN]:
        say(f"{on_one_line(one.source)}: {one.reason}")
    if len(gone.documents) > _SHOWN:
        say(f"... and {len(gone.documents) - _SHOWN} documents more (--json has them all)")
    done = "would go" if gone.dry_run else "deleted"
    say(f"{len(gone.documents)} documents, {gone.chunks} chunks {done}")


def _show(holdings: "HoldingsReport") -> None:
    for name, part in (
        ("in all", holdings.total),
        ("never used", holdings.never_used),
        (f"unused for {holdings.cold_after_days:g} days", holdings.cold),
    ):
        say(
            f"{name}: {part.documents} documents, {part.chunks} chunks, {part.mb:.2f} MB, "
            f"${part.cost_usd_per_month:.4f} a month"
        )
    in_part = holdings.in_part
    if in_part.documents:
        say(f"in part: {in_part.documents} documents, something was lost on the way in: {kinds_lost(in_part.noted)}")
    for one in holdings.cold.items[:_SHOWN]:
        say(f"  {on_one_line(one.source)}: last used {one.last_used or 'never'}, {one.bytes} bytes")
    for same in holdings.same_content[:_SHOWN]:
        say(f"the same content, {same.bytes} bytes too many: {', '.join(map(on_one_line, same.sources))}")
    chunks = holdings.same_chunks
    say(f"{chunks.texts} chunks stand in several documents: {chunks.surplus_points} points too many")
    tell_what_stays_out(holdings.tombstoned, {})
