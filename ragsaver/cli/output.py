"""What a command says: one JSON object on stdout for scripts, words for people, errors with their remedy."""

import errno
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ragsaver.control_characters import in_lines, on_one_line
from ragsaver.errors import RUN_AGAIN, BudgetExceeded, RagSaverError, Stopped, StorageError, UsageError

if TYPE_CHECKING:
    from ragsaver.ingestion.notes import NoteCode
    from ragsaver.ingestion.report import IngestFailure, IngestNote, IngestReport, NotedBefore, SummarySpend
    from ragsaver.settings import Settings

# Failures, and notes, that are shown; the others are counted, and `--json` has more of them.
_SHOWN = 20


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Words for people. Control characters of names and documents are shown, never sent to the terminal."""
    typer.echo(in_lines(text), err=err, nl=nl)


def told_place(source: str, page: int | None, heading: str) -> str:
    """Where a passage or a quote stands, in one line."""
    on_page = "" if page is None else f", page {page}"
    return f"{on_one_line(source)}{on_page} — {on_one_line(heading)}"


def print_json(model_json: str) -> None:
    """The last line of stdout."""
    sys.stdout.write(model_json + "\n")
    sys.stdout.flush()


def tell_what_stays_out(tombstoned: int, passed_over: Mapping[str, int]) -> None:
    """What a person may miss: documents that retention keeps out, and files of kinds that can't be read."""
    if tombstoned:
        say(f"{tombstoned} documents stay out: retention took them out (`ingest --include-expired` brings them in)")
    if passed_over:
        hints = {"no suffix": " (tried where it is named itself)"}
        kinds = ", ".join(f"{n} {on_one_line(suffix)}{hints.get(suffix, '')}" for suffix, n in passed_over.items())
        say(f"{sum(passed_over.values())} files passed over, their kind can't be read: {kinds}")


def tell_failures(failures: "Sequence[IngestFailure]", what: str = "failed") -> None:
    """Documents that do not go in: a quota may refuse thousands of them.

    :param what: became of them, or would.
    """
    for failure in failures[:_SHOWN]:
        say(f"{what}: {failure.error}", err=True)
    if (rest := len(failures) - _SHOWN) > 0:
        say(f"{what}: {rest} documents more (--json has them all)", err=True)


def tell_vanished(count: int) -> None:
    """That files went away while they were about to be read."""
    if count:
        say(f"{count} documents were removed before they were read: `--prune` forgets what was in of them")


def tell_losses_before(before: "NotedBefore") -> None:
    """That documents lost something when they went in, in one line: they were told then."""
    if before.documents:
        say(
            f"{before.documents} unchanged documents went in with a loss before: {kinds_lost(before.noted)} "
            "(`ragsaver documents list` names it)"
        )


def tell_losses(notes: "Sequence[IngestNote]", noted: "Mapping[NoteCode, int]") -> None:
    """What documents lost that went in, each with where that was."""
    if not noted:
        return
    say(f"some of what these documents hold is not in the index: {kinds_lost(noted)}")
    for note in notes[:_SHOWN]:
        say(f"  {on_one_line(note.source)}: {lost(note)}")
    if (rest := sum(noted.values()) - _SHOWN) > 0:
        say(f"  and {rest} more")


def lost(note: "IngestNote") -> str:
    """What a document lost, and where in it."""
    return f"{note.note} ({on_one_line(note.where)})" if note.where else note.note


def kinds_lost(noted: "Mapping[NoteCode, int]") -> str:
    """What documents lost, with how many did."""
    return ", ".join(f"{code} in {count}" for code, count in noted.items())


def tell_summaries(summaries: "SummarySpend") -> None:
    """What sections' summaries took; nothing where none was wanted."""
    if summaries.made or summaries.lacking:
        say(f"{summaries.made} sections summarised: {summaries.tokens} tokens, ${summaries.cost_usd:.6f}")


def tell_unused(settings: "Settings", pipeline: str | None = None) -> None:
    """Settings that change nothing in the pipeline that is asked, beside what it answers."""
    from ragsaver.pipelines.unused import unused_settings

    for told in unused_settings(settings, pipeline):
        say(told, err=True)


@contextmanager
def errors_told(as_json: bool) -> Iterator[None]:
    """Turn errors into a message and an exit code by the contract."""
    try:
        yield
    except BrokenPipeError:  # the reader of stdout has enough: nothing to say, nobody to say it to
        raise
    except (Exception, KeyboardInterrupt) as error:
        if _interrupted(error):
            told = tell_error(Stopped("stopped", remedy=RUN_AGAIN), as_json)
        elif isinstance(error, (RagSaverError, OSError)):
            told = tell_error(error, as_json)
        else:
            raise
    else:
        return
    raise typer.Exit(told.exit_code)


def _interrupted(error: BaseException | None) -> bool:
    """Whether it came of an interrupt: where that strikes in the middle of a lock or a statement, to leave these fails
    too, and Python raises what failed last.
    """
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


def _of_the_system(error: OSError) -> RagSaverError:
    if error.errno == errno.ENOSPC:
        return StorageError("the disk is full", remedy="Free some space and run the command again")
    if not _has_working_folder():
        return UsageError(
            "the working folder is not there any more: it was deleted, or moved and made anew",
            remedy="Go to a folder that is there (`cd`), and run the command again",
        )
    return StorageError(
        f"the system refused: {error.strerror or error}",
        where=str(error.filename) if error.filename else None,
        remedy="Check that the path is right and yours to use",
    )


def _has_working_folder() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def ingested(error: Exception) -> "IngestReport | None":
    """What an ingestion did before a budget had no room for the rest."""
    from ragsaver.ingestion.report import IngestReport

    report = error.report if isinstance(error, BudgetExceeded) else None
    return report if isinstance(report, IngestReport) else None


def tell_error(error: RagSaverError | OSError, as_json: bool) -> RagSaverError:
    """Say what went wrong; returns what was said."""
    if isinstance(error, OSError):
        error = _of_the_system(error)
    say(f"ragsaver: {error}", err=True)
    if error.cost_usd:
        say(f"spent on it all the same: ${error.cost_usd:.6f}", err=True)
    if as_json:
        fields: dict[str, object] = {
            "type": error.urn(),
            "title": error.title,
            "problem": error.problem,
            "where": error.where,
            "remedy": error.remedy,
        }
        if error.cost_usd is not None:
            fields["cost_usd"] = error.cost_usd
        told: dict[str, object] = {"error": fields}
        if (report := ingested(error)) is not None:
            told["report"] = report.model_dump(mode="json")
        try:
            print_json(json.dumps(told))
        except BrokenPipeError:
            raise
        except OSError:  # it can't be told there: that is what was said
            return error
    return error
