"""What every converter makes of a document: blocks in reading order, whatever the file was."""

from dataclasses import dataclass
from typing import Literal

from ragsaver.ingestion.notes import Note

BlockKind = Literal["heading", "paragraph", "list", "table", "code"]


@dataclass(frozen=True, slots=True)
class Block:
    """One block of text.

    `level` is a heading's depth from 1. `page` counts from 1 where there are pages or slides. `header` is the line,
    or lines, that name a table's columns: `text` begins with them, and a part of a long table is read with them.
    """

    kind: BlockKind
    text: str
    level: int = 0
    page: int | None = None
    header: str | None = None

    # Workers send blocks by the thousand: this is a third of what pickling slots and fields one by one takes.
    def __reduce__(self) -> tuple[type["Block"], tuple[object, ...]]:
        return Block, (self.kind, self.text, self.level, self.page, self.header)


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document as blocks, with its title where it names one, and notes of what is not in them."""

    blocks: tuple[Block, ...]
    title: str | None = None
    notes: tuple[Note, ...] = ()
