"""From the SQLite files under `home` to the PostgreSQL that the settings name: manifest, jobs, API keys and ledger.

All of a store goes in one transaction, counted before it ends, and nobody writes to the files meanwhile. They stay as
they are. A manifest that a migration at a server has replaced goes along until what it names there is removed.
"""

from contextlib import ExitStack, closing
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ragsaver.access.key_store import open_keys
from ragsaver.database import schema_of
from ragsaver.errors import UsageError
from ragsaver.index.manifest_place import manifest_place, note_place
from ragsaver.index.ownership import Ownership
from ragsaver.index.store import current_store, next_store, other_stores
from ragsaver.ingestion.job_report import WAITING
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.migrating import holding
from ragsaver.ingestion.opening import jobs_place, open_manifest
from ragsaver.ingestion.replaced import remove_replaced
from ragsaver.postgres import PostgresSchema
from ragsaver.settings import DatabaseSettings, Settings
from ragsaver.spend.ledger import open_ledger


class CopyReport(BaseModel):
    """Rows that were copied, by table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: dict[str, int] = {}
    jobs: dict[str, int] = {}
    keys: dict[str, int] = {}
    ledger: dict[str, int] = {}


def copy_to_database(settings: Settings) -> CopyReport:
    """Copy all of these from the files under `home` to `database.url`; a second time does nothing.

    :raises UsageError: if no database is named, documents wait in the files' jobs, or a migration is half done.
    :raises IndexLocked: if another process owns the index, or migrates it.
    :raises StorageError: if something else is there already, or can't be read or written. The manifest goes last, so
        that nothing works with a part.
    """
    if settings.database.url is None:
        raise UsageError("no database is named", where="database.url", remedy="Set it, or RAGSAVER_DATABASE__URL")
    files = settings.model_copy(update={"database": DatabaseSettings()})
    ownership = Ownership.of(settings.home, "ragsaver state copy", shared=settings.index.shared)
    with ExitStack() as opened:
        opened.callback(ownership.release)
        opened.enter_context(holding(settings))
        store = current_store(settings.home)
        _require_no_half(settings.home)
        old_jobs = opened.enter_context(closing(JobStore(jobs_place(files))))
        waiting = sum(old_jobs.documents.waiting(state) for state in WAITING)
        if waiting:
            raise UsageError(
                f"{waiting} documents wait in jobs",
                where=str(old_jobs.place),
                remedy="Let workers bring them in, or `ragsaver jobs drop` their jobs, then stop the workers",
            )
        old = opened.enter_context(closing(open_manifest(files, store)))
        new = opened.enter_context(closing(open_manifest(settings, store)))
        new_jobs = opened.enter_context(closing(JobStore(jobs_place(settings))))
        old_keys, new_keys = (opened.enter_context(closing(open_keys(one))) for one in (files, settings))
        old_ledger, new_ledger = (opened.enter_context(closing(open_ledger(one))) for one in (files, settings))
        jobs, keys = new_jobs.copy_from(old_jobs), new_keys.copy_from(old_keys)
        ledger = new_ledger.copy_from(old_ledger)
        _take_replaced(files, settings)
        manifest = new.copy_from(old)
        place = manifest_place(settings, store)
        assert isinstance(place, PostgresSchema)
        note_place(settings, place)
        return CopyReport(manifest=manifest, jobs=jobs, keys=keys, ledger=ledger)


def _require_no_half(home: Path) -> None:
    half = next_store(home)
    if half.exists():
        raise UsageError(
            "a migration is half done",
            where=str(half),
            remedy="Take `database.url` out, and let `ragsaver migrate` complete it, or `--abort` remove it",
        )


def _take_replaced(files: Settings, settings: Settings) -> None:
    """Manifests that are not in use any more name what is still at the server, and goes when it is due."""
    if not settings.index.shared:
        remove_replaced(files)
        return
    lasting = schema_of(settings, "_manifest")
    assert lasting is not None
    for folder in other_stores(settings.home):
        place = manifest_place(files, folder)
        if not isinstance(place, Path) or not place.exists():
            continue
        name = "first" if folder == settings.home else folder.name
        with (
            closing(Manifest(place)) as old,
            closing(Manifest(PostgresSchema(lasting.url, f"{lasting.name}_{name}"))) as new,
        ):
            new.copy_from(old)
