"""HTML: the main content as blocks, without navigation, scripts and forms."""

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ragsaver.ingestion.blocks import Block, ParsedDocument
from ragsaver.ingestion.converters.html_depth import nests_beyond
from ragsaver.ingestion.converters.html_tables import lays_out, table_block
from ragsaver.ingestion.converters.html_text import code_of, paragraphs_of, text_of
from ragsaver.ingestion.converters.plain_text import decode
from ragsaver.ingestion.converters.rows import squeeze

_NOISE = "script, style, noscript, template, nav, aside, footer, form, iframe, svg, button, select"
_BLOCKS = "p, div, table, ul, ol, dl, pre, blockquote, section, article, h1, h2, h3, h4, h5, h6"
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_LISTS, _ITEMS = ("ul", "ol", "dl"), ("li", "dt", "dd")
# What an item's text ends at.
_INNER = "ul, ol, dl, li, dt, dd, pre, table"
_INLINE = frozenset(
    "a abbr b bdi bdo br cite code em font i img kbd mark q s small span strong sub sup time u var".split()
)
# More than is read, which ends where Python's own stack does; parsing as many takes a fifth of a second.
_MAX_DEPTH = 5000
_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", re.IGNORECASE)


def from_html(data: bytes, name: str) -> ParsedDocument:
    """Blocks of an HTML page; `<main>` or `<article>` if it has one that holds most of the text."""
    html = _text(data, name)
    if nests_beyond(html, _MAX_DEPTH):
        raise RecursionError
    tree = LexborHTMLParser(html)
    title_node = tree.css_first("title")
    title = squeeze(title_node.text()) if title_node else ""
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
        for paragraph in paragraphs_of("".join(loose)):
            if text := squeeze(paragraph):
                blocks.append(Block("paragraph", text))
        loose.clear()

    for child in node.iter(include_text=True):
        tag = child.tag or ""
        if tag == "-text" or (tag in _INLINE and child.css_first(_BLOCKS) is None):
            loose.append(text_of(child))
        elif tag != "-comment":
            flush()
            _block(child, tag, blocks)
    flush()


def _block(node: LexborNode, tag: str, blocks: list[Block]) -> None:
    if tag in _HEADINGS:
        if text := squeeze(text_of(node)):
            blocks.append(Block("heading", text, level=_HEADINGS[tag]))
    elif tag == "table" and not lays_out(node):
        if (found := table_block(node)) is not None:
            blocks.append(found)
    elif tag in _LISTS:
        _List(blocks).read(node)
    elif tag == "pre":
        text = code_of(node)
        if text.strip():
            blocks.append(Block("code", text))
    else:
        _walk(node, blocks)


class _List:
    """Turns a list into lines, its items indented by their depth; code and tables in it stand where they are."""

    def __init__(self, blocks: list[Block]) -> None:
        self._blocks = blocks
        self._lines: list[str] = []
        self._loose: list[str] = []
        self._mark = "- "

    def read(self, node: LexborNode) -> None:
        self._walk(node, 0)
        self._flush()

    def _walk(self, node: LexborNode, depth: int) -> None:
        for child in node.iter(include_text=True):
            tag = child.tag or ""
            if tag in _LISTS:
                self._end_line()
                self._walk(child, depth + 1)
                self._end_line()
                self._mark = "  " * (depth + 1)
            elif tag in _ITEMS:
                self._end_line()
                self._mark = "  " * depth + "- "
                self._walk(child, depth)
                self._end_line()
            elif tag in ("pre", "table"):
                self._flush()
                _block(child, tag, self._blocks)
            elif tag == "-text" or child.css_first(_INNER) is None:
                self._loose.append(text_of(child))
            else:
                self._loose.append(" ")
                self._walk(child, depth)
                self._loose.append(" ")

    def _end_line(self) -> None:
        if text := squeeze("".join(self._loose)):
            self._lines.append(self._mark + text)
            self._mark = self._mark.replace("-", " ")  # for what else the item says
        self._loose.clear()

    def _flush(self) -> None:
        self._end_line()
        if self._lines:
            self._blocks.append(Block("list", "\n".join(self._lines)))
            self._lines = []
