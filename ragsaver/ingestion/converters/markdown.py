"""Markdown and MDX: headings, paragraphs, lists, tables and code, each as it stands in the source."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pyromark
import yaml

from ragsaver.ingestion.blocks import Block, BlockKind, ParsedDocument
from ragsaver.ingestion.converters.markdown_inline import without_tags, without_targets
from ragsaver.ingestion.converters.plain_text import decode

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
# An MDX file's imports and exports, told from sentences that begin with these words.
_ESM = re.compile(
    r"(?:import\s*[{*\"']|import\s+(?:type\s+)?[\w$]+\s*(?:,|from\b)|import\s+type\s*\{"
    r"|export\s*[{*]|export\s+(?:default|const|let|var|function|async|class|type|interface|enum)\b)"
)
# Without any of these there is nothing to drop. To look for each by itself is quicker than an expression of them all.
_AT_FIRST, _IN_MDX = ("import", "export"), ("<", "{", "\nimport", "\nexport")
_FENCE = re.compile(r"^\s*(```+|~~~+)")
_HEADING_MARKS = re.compile(r"[ \t]*#{1,6}(?:[ \t]+|\Z)")
_UNDERLINE = re.compile(r"\n[ \t]*(?:=+|-+)[ \t]*\Z")
_FRONT_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_KINDS: dict[str, BlockKind] = {
    "Paragraph": "paragraph",
    "List": "list",
    "Table": "table",
    "BlockQuote": "paragraph",
    "CodeBlock": "code",
    "HtmlBlock": "paragraph",
}


def from_markdown(data: bytes, name: str) -> ParsedDocument:
    """Blocks of a Markdown or MDX document; imports, tags and comments are dropped, what they wrap stays."""
    text, front = _split_front_matter(decode(data, name))
    text = _without_mdx(text, mdx=name.lower().endswith(".mdx"))
    blocks: list[Block] = []
    title = front.get("title")
    for kind, level, raw in _outermost(text):
        if kind == "heading":
            heading = _plain(_heading_text(raw))
            if heading:
                blocks.append(Block("heading", heading, level=level))
        else:
            body = raw.strip() if kind == "code" else _plain(raw)
            if body:
                blocks.append(Block(kind, body))
    if not isinstance(title, str) or not title.strip():
        title = next((block.text for block in blocks if block.kind == "heading" and block.level == 1), None)
    return ParsedDocument(tuple(blocks), title)


def _outermost(text: str) -> Iterator[tuple[BlockKind, int, str]]:
    """Blocks that stand in no other: kind, level of a heading, and their whole lines as they are in the source."""
    data = text.encode()
    events: Iterable[tuple[Any, Any]] = pyromark.events_with_range(text, options=pyromark.Options.ENABLE_TABLES)
    depth = 0
    for event, place in events:
        if type(event) is not dict:
            continue
        if "End" in event:
            depth -= 1
        elif "Start" in event:
            if depth == 0:
                tag = event["Start"]
                name = tag if isinstance(tag, str) else next(iter(tag))
                start = data.rfind(b"\n", 0, place["start"]) + 1
                raw = data[start : place["end"]].decode().strip("\n")
                if name == "Heading":
                    yield "heading", int(tag["Heading"]["level"][1]), raw
                elif name in _KINDS:
                    yield _KINDS[name], 0, raw
            depth += 1


def _heading_text(raw: str) -> str:
    """What a heading says, without its marks or its underline."""
    if _UNDERLINE.search(raw):
        return _UNDERLINE.sub("", raw)
    marks = _HEADING_MARKS.match(raw)
    begin = marks.end() if marks else 0
    said = raw[begin:].rstrip(" \t")
    without = said.rstrip("#")
    return without if raw[: begin + len(without)].endswith((" ", "\t")) else said


def _split_front_matter(text: str) -> tuple[str, dict[str, Any]]:
    found = _FRONT_MATTER.match(text)
    if not found:
        return text, {}
    try:
        front = yaml.load(found.group(1), Loader=_FRONT_LOADER)
    except yaml.YAMLError:
        front = None
    return text[found.end() :], front if isinstance(front, dict) else {}


def _without_mdx(text: str, *, mdx: bool) -> str:
    """Drop imports, exports, tags and comments outside of code; lines keep their order.

    :param mdx: an import or export may span lines; it ends at an empty one.
    """
    if not text.startswith(_AT_FIRST) and not any(sign in text for sign in _IN_MDX):
        return text
    kept: list[str] = []
    prose: list[str] = []
    fence: str | None = None
    for line in text.split("\n"):
        mark = _FENCE.match(line) if "```" in line or "~~~" in line else None
        if fence is None and mark:
            kept.extend(_clean(prose, mdx=mdx))
            prose = []
            fence = mark.group(1)
            kept.append(line)
        elif fence is not None:
            kept.append(line)
            if mark and mark.group(1).startswith(fence) and line.strip() == mark.group(1):
                fence = None
        else:
            prose.append(line)
    return "\n".join([*kept, *_clean(prose, mdx=mdx)])


def _clean(lines: list[str], *, mdx: bool) -> list[str]:
    if mdx:
        lines = list(_without_esm(lines))
    text = "\n".join(line for line in lines if not _is_import_or_export(line))
    if "<" not in text and "{" not in text:
        return text.split("\n")
    parts = re.split(r"(`[^`\n]*`)", text)  # a tag in inline code is text
    return "".join(part if n % 2 else without_tags(part) for n, part in enumerate(parts)).split("\n")


def _is_import_or_export(line: str) -> bool:
    """Whether a line is an import of something that is quoted, or an export of anything."""
    if line[6:7].isspace() and line.startswith(("import", "export")):
        if line[0] == "e":
            return len(line) > 7
        said = line[8:].rstrip().removesuffix(";")
        return said.endswith(("'", '"')) and any(quote in said[:-2] for quote in "'\"")
    return False


def _without_esm(lines: list[str]) -> Iterator[str]:
    within = False
    for line in lines:
        within = bool(line.strip()) and (within or _ESM.match(line) is not None)
        if not within:
            yield line


def _plain(text: str) -> str:
    """Links as their words; the rest as it stands."""
    return without_targets(text).strip()
