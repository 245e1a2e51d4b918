"""What every converter makes of a document: blocks in reading order, whatever the file was."""

from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["heading", "paragraph", "list", "table", "code"]


@dataclass(frozen=True, slots=True)
class Block:
    """One block of text. `level` is a heading's depth from 1; `page` counts from 1 where there are pages."""

    kind: BlockKind
    text: str
    level: int = 0
    page: int | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document as blocks, with its title where it names one."""

    blocks: tuple[Block, ...]
    title: str | None = None
