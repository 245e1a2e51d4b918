"""RTF: paragraphs, headings by their outline level, list items and table rows."""

import re
from itertools import groupby

from striprtf.striprtf import rtf_to_text

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import Block, BlockKind, ParsedDocument
from ragsaver.ingestion.converters.rows import squeeze, table
from ragsaver.ingestion.notes import replaced_note

# An outline level becomes a private character, U+E100 and on, which survives as the text of its paragraph.
_OUTLINE = re.compile(r"\\outlinelevel([0-8])(?!\d)")
_MARK_BASE = 0xE100
_MARK = re.compile("[\ue100-\ue108]")
# What opens or closes a group, and what only looks so: escaped signs, and raw bytes by their number.
_BRACE = re.compile(rb"\\bin(\d+) ?|\\[\\{}]|[{}]")
_ITEM = re.compile(r"^\s*(?:[•·‣▪◦o\uf0b7-]|\d{1,3}[.)])\t\s*")


def from_rtf(data: bytes, name: str) -> ParsedDocument:
    """Blocks of an RTF document."""
    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableDocument("is no RTF as its name says", where=name, remedy="Give the file its right suffix")
    if not _is_whole(data):
        raise UnreadableDocument(
            "is cut off: its outermost group has no end", where=name, remedy="Fetch it again, or save it once more"
        )
    # RTF is ASCII; bytes beyond it, where a program wrote them, are of the Western code page.
    marked = _OUTLINE.sub(
        lambda found: f"\\outlinelevel{found.group(1)}\\u{_MARK_BASE + int(found.group(1))}?",
        data.decode("cp1252", errors="replace"),
    )
    text: str = rtf_to_text(marked, errors="replace")  # type: ignore[no-untyped-call]
    blocks: list[Block] = []
    # A character beyond the Basic Multilingual Plane comes as two halves.
    whole = text.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")
    for kind, lines in groupby(whole.replace("\r", "").split("\n"), key=_kind):
        blocks += _blocks(kind, list(lines))
    title = next((block.text for block in blocks if block.kind == "heading" and block.level == 1), None)
    replaced = whole.count("\N{REPLACEMENT CHARACTER}")
    return ParsedDocument(tuple(blocks), title, (replaced_note(replaced),) if replaced else ())


def _is_whole(data: bytes) -> bool:
    """Whether the group that is the document is closed."""
    depth = at = 0
    while found := _BRACE.search(data, at):
        at = found.end() + int(found[1] or 0)
        depth += {b"{": 1, b"}": -1}.get(found[0], 0)
        if found[0] == b"}" and depth == 0:
            return True
    return False


def _kind(line: str) -> BlockKind:
    if _MARK.search(line) and squeeze(_MARK.sub("", line)):
        return "heading"
    if line.rstrip().endswith("|"):
        return "table"
    return "list" if _ITEM.match(line) else "paragraph"


def _blocks(kind: BlockKind, lines: list[str]) -> list[Block]:
    plain = [_MARK.sub("", line) for line in lines]
    if kind == "heading":
        levels = [ord(_MARK.findall(line)[0]) - _MARK_BASE + 1 for line in lines]
        return [Block("heading", squeeze(text), level=level) for text, level in zip(plain, levels, strict=True)]
    if kind == "table":
        block = table([line.rstrip().removesuffix("|").split("|") for line in plain])
        return [block] if block else []
    if kind == "list":
        return [Block("list", "\n".join(f"- {squeeze(_ITEM.sub('', line))}" for line in plain))]
    return [Block("paragraph", line.strip()) for line in plain if line.strip()]
