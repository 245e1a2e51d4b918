"""From the SQLite files under `home` to the PostgreSQL that the settings name: manifest, jobs, API keys and ledger.

All of a store goes in one transaction, counted before it ends, and nobody writes to the files meanwhile. They stay as
they are.
"""

from contextlib import ExitStack, closing

from pydantic import BaseModel, ConfigDict

from ragsaver.access.key_store import open_keys
from ragsaver.errors import UsageError
from ragsaver.index.ownership import Ownership
from ragsaver.index.store import current_store
from ragsaver.ingestion.job_report import WAITING
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.opening import jobs_place, note_in_use, open_manifest
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

    :raises UsageError: if no database is named, or documents wait in the files' jobs.
    :raises IndexLocked: if another process owns the index.
    :raises StorageError: if something else is there already, or can't be read or written. The manifest goes last, so
        that nothing works with a part.
    """
    if settings.database.url is None:
        raise UsageError("no database is named", where="database.url", remedy="Set it, or RAGSAVER_DATABASE__URL")
    files = settings.model_copy(update={"database": DatabaseSettings()})
    store = current_store(settings.home)
    ownership = Ownership.of(settings.home, "ragsaver state copy", shared=settings.index.shared)
    with ExitStack() as opened:
        opened.callback(ownership.release)
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
        manifest = new.copy_from(old)
        note_in_use(settings, store)
        return CopyReport(manifest=manifest, jobs=jobs, keys=keys, ledger=ledger)
