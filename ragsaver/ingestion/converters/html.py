"""HTML: the main content as blocks, without navigation, scripts and forms."""

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ragsaver.ingestion.blocks import Block, ParsedDocument
from ragsaver.ingestion.converters.plain_text import decode

_NOISE = "script, style, noscript, template, nav, aside, footer, form, iframe, svg, button, select"
_BLOCKS = "p, div, table, ul, ol, dl, pre, blockquote, section, article, h1, h2, h3, h4, h5, h6"
# Marks a <br> until its paragraph is known; it counts as white space.
_BREAK = "\x1e"
_EMPTY_LINE = re.compile(rf"(?:\s*{_BREAK}){{2,}}")
# A cell longer than this, or one with blocks in it, makes a table that lays out a page.
_LAYOUT_CELL_CHARS = 1000
_SPACE = re.compile(r"\s+")
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_INLINE = frozenset(
    "a abbr b bdi bdo br cite code em font i img kbd mark q s small span strong sub sup time u var".split()
)
_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", re.IGNORECASE)


def from_html(data: bytes, name: str) -> ParsedDocument:
    """Blocks of an HTML page; `<main>` or `<article>` if it has one that holds most of the text."""
    tree = LexborHTMLParser(_text(data, name))
    title_node = tree.css_first("title")
    title = _squeeze(title_node.text()) if title_node else ""
    body = tree.body
    if body is None:
        return ParsedDocument((), title or None)
    for node in body.css(_NOISE):
        node.decompose()
    root = _main_of(body)
    blocks: list[Block] = []
    _walk(root, blocks)
    heading = next((block.text for block in blocks if block.kind == "heading" and block.level == 1), None)
    return ParsedDocument(tuple(blocks), heading or title or None)


def _text(data: bytes, name: str) -> str:
    declared = _CHARSET.search(data[:2048])
    if declared and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        try:
            return data.decode(declared.group(1).decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            pass
    return decode(data, name)


def _main_of(body: LexborNode) -> LexborNode:
    best = max(body.css("main, article"), key=lambda node: len(node.text()), default=None)
    if best is not None and 2 * len(best.text()) >= len(body.text()):
        return best
    return body


def _walk(node: LexborNode, blocks: list[Block]) -> None:
    """Blocks of a container; text and inline elements between them make paragraphs."""
    loose: list[str] = []

    def flush() -> None:
        for paragraph in _EMPTY_LINE.split("".join(loose)):
            if text := _squeeze(paragraph):
                blocks.append(Block("paragraph", text))
        loose.clear()

    for child in node.iter(include_text=True):
        tag = child.tag or ""
        if tag == "-text" or (tag in _INLINE and child.css_first(_BLOCKS) is None):
            loose.append(_inline(child))
        else:
            flush()
            _block(child, tag, blocks)
    flush()


def _inline(node: LexborNode) -> str:
    """The text of an inline element, its line breaks marked."""
    if node.tag == "-text":
        return node.text(deep=False)
    if node.tag == "br":
        return _BREAK
    return "".join(_inline(child) for child in node.iter(include_text=True))


def _block(node: LexborNode, tag: str, blocks: list[Block]) -> None:
    if tag in _HEADINGS:
        text = _squeeze(node.text())
        if text:
            blocks.append(Block("heading", text, level=_HEADINGS[tag]))
    elif tag == "table" and not _lays_out(node):
        rows = [" | ".join(_squeeze(cell.text()) for cell in row.css("th, td")) for row in node.css("tr")]
        text = "\n".join(row for row in rows if row.strip(" |"))
        if text:
            blocks.append(Block("table", text))
    elif tag in ("ul", "ol", "dl"):
        items = [_squeeze(item.text()) for item in node.css("li, dt, dd")]
        text = "\n".join(f"- {item}" for item in items if item)
        if text:
            blocks.append(Block("list", text))
    elif tag == "pre":
        text = node.text().strip("\n")
        if text.strip():
            blocks.append(Block("code", text))
    else:
        _walk(node, blocks)


def _lays_out(table: LexborNode) -> bool:
    """Whether a table holds a page's layout instead of data."""
    nested = len(table.css("table")) > 1  # it finds itself
    return (
        nested
        or table.css_first("p, ul, ol, h1, h2, h3, h4, h5, h6") is not None
        or any(len(cell.text()) > _LAYOUT_CELL_CHARS for cell in table.css("th, td"))
    )


def _squeeze(text: str | None) -> str:
    return _SPACE.sub(" ", text or "").strip()
