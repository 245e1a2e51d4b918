"""A document before it is read: its name, its place, what tells that it changed, and how to read it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ragsaver.control_characters import first_control
from ragsaver.errors import UnreadableDocument, UsageError

# Whether it is no error that there is no document at a location; asked with what tells whether a location is there.
MayBeEmpty = Callable[[str, Callable[[str], bool]], bool]


def not_empty(location: str, is_there: Callable[[str], bool]) -> bool:
    """A place without documents is an error."""
    return False


class SourceItem(NamedTuple):
    """A document to ingest.

    :ivar source: its name in the manifest and in citations, the same in every run.
    :ivar location: where it can be read again: an absolute path without links, or a URI. What lies under a folder
        or a prefix has a location that begins with the root's and a slash.
    :ivar size: bytes, where the listing told them.
    :ivar version: differs whenever the content may differ; `""` where nothing is known without reading.
    :ivar format: `markdown`, `text`, `html` or `pdf` where the place tells it; None leaves it to the name.
    :ivar metadata: what its points carry beside the text; never embedded.
    :ivar read: gives the bytes, never more than the limit; raises UnreadableDocument.
    :ivar read_anywhere: `read` may go to another process and be called there.
    """

    source: str
    location: str | None
    size: int | None
    version: str
    format: str | None
    read: Callable[[], bytes]
    metadata: Mapping[str, Any] = {}  # nobody writes into it; a read-only view could not go to another process
    read_anywhere: bool = False


@dataclass(frozen=True, slots=True)
class PostedDocument:
    """A document given as text; `format` is `markdown`, `text` or `html`."""

    source: str
    text: str
    format: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def item(self) -> SourceItem:
        """The document as any other: read by nobody again."""
        data = self.text.encode()
        return SourceItem(self.source, None, len(data), "", self.format or "markdown", lambda: data, self.metadata)


def require_sources(documents: Sequence[PostedDocument]) -> None:
    """:raises UsageError: if a source is empty, holds a control character or is named twice."""
    sources = [document.source for document in documents]
    if not all(source.strip() for source in sources) or len(set(sources)) < len(sources):
        raise UsageError("each document needs a source of its own", where="documents")
    for number, source in enumerate(sources):
        place = first_control(source)
        if place is not None:
            raise UsageError(
                f"its source has the control character U+{ord(source[place]):04X} at position {place}",
                where=f"documents[{number}].source {source!a}",
                remedy="A source is a name on one line: leave the character out",
            )


def unreadable(source: str, location: str, error: UnreadableDocument) -> SourceItem:
    """An item that can be listed and not read, so that what is wrong with it is reported and the rest goes on."""

    def read() -> bytes:
        raise UnreadableDocument(error.problem, where=error.where, remedy=error.remedy)

    return SourceItem(source, location, None, "", None, read)
