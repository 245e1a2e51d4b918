"""HTML: the main content as blocks, without navigation, scripts and forms."""

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ragsaver.ingestion.blocks import Block, ParsedDocument
from ragsaver.ingestion.converters.plain_text import decode

_NOISE = "script, style, noscript, template, nav, aside, footer, form, iframe, svg, button, select"
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
        text = _squeeze("".join(loose))
        loose.clear()
        if text:
            blocks.append(Block("paragraph", text))

    for child in node.iter(include_text=True):
        tag = child.tag or ""
        if tag == "-text":
            loose.append(child.text(deep=False))
        elif tag in _INLINE:
            loose.append("\n" if tag == "br" else child.text())
        else:
            flush()
            _block(child, tag, blocks)
    flush()


def _block(node: LexborNode, tag: str, blocks: list[Block]) -> None:
    if tag in _HEADINGS:
        text = _squeeze(node.text())
        if text:
            blocks.append(Block("heading", text, level=_HEADINGS[tag]))
    elif tag == "table":
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


def _squeeze(text: str | None) -> str:
    return _SPACE.sub(" ", text or "").strip()
