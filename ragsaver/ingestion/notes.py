"""What did a document lose on its way, though it went in? Noted by what reads it, told by the run's report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import count, groupby

# Places that are named; of a long document the rest is counted.
_NAMED = 20


class NoteCode(StrEnum):
    """What was lost, for scripts."""

    PAGES_WITHOUT_TEXT = "pages-without-text"
    UNREADABLE_FONT = "unreadable-font"
    REPLACED_CHARACTERS = "replaced-characters"
    ATTACHMENTS = "attachments"
    OBJECTS = "objects"
    FORMULAS = "formulas-without-value"


@dataclass(frozen=True, slots=True)
class Note:
    """One kind of loss in a document.

    :ivar problem: what is not in the index, for a person.
    :ivar where: in the document, as a person names it; empty if it is all over it.
    """

    code: NoteCode
    problem: str
    where: str = ""


def pages_without_text(numbers: Sequence[int], called: str = "page") -> Note:
    """Pages, or slides, that hold nothing to read."""
    return Note(
        NoteCode.PAGES_WITHOUT_TEXT, "pictures without text, which are not in the index", pages_of(numbers, called)
    )


def attachments_note(names: Sequence[str]) -> Note:
    """Files within the document."""
    return Note(
        NoteCode.ATTACHMENTS,
        "attached files are not read",
        listed([name.encode(errors="replace").decode() for name in names if name]),
    )


def replaced_note(count: int) -> Note:
    """Characters that no decoding gave."""
    told = f"{count} characters that can't be told stand" if count > 1 else "1 character that can't be told stands"
    return Note(NoteCode.REPLACED_CHARACTERS, f"{told} as \N{REPLACEMENT CHARACTER}")


def pages_of(numbers: Iterable[int], called: str = "page") -> str:
    """Pages as a person writes them: `pages 3, 7-9`.

    :param numbers: of pages, in order; at least one.
    """
    ordered = list(numbers)
    counter = count()
    runs = [list(run) for _, run in groupby(ordered, key=lambda number: number - next(counter))]
    spans = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return f"{called}{'s' if len(ordered) > 1 else ''} {listed(spans)}"


def listed(names: Sequence[str]) -> str:
    """Names with commas, the first ones of many."""
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def to_values(notes: Sequence[Note]) -> list[dict[str, str]]:
    """Notes as plain JSON."""
    return [asdict(one) for one in notes]


def notes_of(values: Iterable[Mapping[str, str]] | None) -> tuple[Note, ...]:
    """From what `to_values` made."""
    return tuple(Note(NoteCode(one["code"]), one["problem"], one["where"]) for one in values or ())
