"""What documents lost that went in, as a report tells it: of those it brought in, and of those it left alone."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from ragsaver.ingestion.gates import printable
from ragsaver.ingestion.notes import Note
from ragsaver.ingestion.report import IngestNote, NotedBefore

# Notes that are told; the others are counted.
_NOTES = 100


def told_notes(noted: Iterable[tuple[str, Sequence[Note]]]) -> dict[str, Any]:
    """The fields `notes` and `noted` of a report.

    :param noted: documents that have notes, by source, in the order in which they are told.
    """
    told: list[IngestNote] = []
    counts: Counter[str] = Counter()
    for source, notes in noted:
        counts.update({one.code for one in notes})
        for one in notes[: _NOTES - len(told)]:
            told.append(
                IngestNote(
                    source=printable(source), code=one.code, note=printable(one.problem), where=printable(one.where)
                )
            )
    return {"notes": tuple(told), "noted": dict(counts.most_common())}


def told_before(noted: Mapping[str, Sequence[Note]], left_alone: Container[str]) -> NotedBefore:
    """The field `noted_before` of a report.

    :param noted: what documents that are in have lost, by source.
    :param left_alone: sources of those that the run found unchanged.
    """
    before = [(source, notes) for source, notes in noted.items() if source in left_alone]
    return NotedBefore(documents=len(before), **told_notes(before))
