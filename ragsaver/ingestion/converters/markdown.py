"""Markdown and MDX: headings, paragraphs, lists, tables and code, each as it stands in the source."""

import re
from collections.abc import Iterator
from typing import Any, Literal

import yaml
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from ragsaver.ingestion.blocks import Block, BlockKind, ParsedDocument
from ragsaver.ingestion.converters.plain_text import decode

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_IMPORT_EXPORT = re.compile(r"^(?:import\s.+?(?:from\s+)?[\"'].+[\"'];?|export\s.+)\s*$")
# An MDX file's imports and exports, told from sentences that begin with these words.
_ESM = re.compile(
    r"(?:import\s*[{*\"']|import\s+(?:type\s+)?[\w$]+\s*(?:,|from\b)|import\s+type\s*\{"
    r"|export\s*[{*]|export\s+(?:default|const|let|var|function|async|class|type|interface|enum)\b)"
)
_TAG = re.compile(r"</?[A-Za-z][\w.-]*(?:\s[^<>]*)?/?>|<!--.*?-->|\{/\*.*?\*/\}", re.DOTALL)
_FENCE = re.compile(r"^\s*(```+|~~~+)")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")


class _Outline(StateBlock):
    """Keeps no tokens of what stands within a list, table or quote: only where these begin and end is wanted.

    Most of the parser's time went into them. A heading's text is one level below it.
    """

    def push(self, ttype: str, tag: str, nesting: Literal[-1, 0, 1]) -> Token:
        if self.level < 2 or (self.level == 2 and nesting < 0):
            return super().push(ttype, tag, nesting)
        self.level += nesting
        return _UNWANTED


def _outline(state: StateCore) -> None:
    blocks = _Outline(state.src, state.md, state.env, state.tokens)
    state.md.block.tokenize(blocks, blocks.line, blocks.lineMax)


def _parser() -> MarkdownIt:
    # Inline text is kept as it stands, so its rules need not run.
    parser = MarkdownIt("commonmark").enable("table").disable(["inline", "text_join"])
    parser.core.ruler.at("block", _outline)
    return parser


_UNWANTED = Token("", "", 0)
_PARSER = _parser()
_FRONT_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_KINDS: dict[str, BlockKind] = {
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "table",
    "blockquote_open": "paragraph",
    "fence": "code",
    "code_block": "code",
    "html_block": "paragraph",
}


def from_markdown(data: bytes, name: str) -> ParsedDocument:
    """Blocks of a Markdown or MDX document; imports, tags and comments are dropped, what they wrap stays."""
    text, front = _split_front_matter(decode(data, name))
    lines = _without_mdx(text, mdx=name.lower().endswith(".mdx")).split("\n")
    blocks: list[Block] = []
    title = front.get("title")
    tokens = _PARSER.parse("\n".join(lines))
    for position, token in enumerate(tokens):
        if token.level != 0 or token.map is None:
            continue
        if token.type == "heading_open":
            heading = _plain(tokens[position + 1].content)
            if heading:
                blocks.append(Block("heading", heading, level=int(token.tag[1])))
        elif token.type in _KINDS:
            kind = _KINDS[token.type]
            raw = "\n".join(lines[token.map[0] : token.map[1]]).strip("\n")
            body = raw.strip() if kind == "code" else _plain(raw)
            if body:
                blocks.append(Block(kind, body))
    if not isinstance(title, str) or not title.strip():
        title = next((block.text for block in blocks if block.kind == "heading" and block.level == 1), None)
    return ParsedDocument(tuple(blocks), title)


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
    kept: list[str] = []
    prose: list[str] = []
    fence: str | None = None
    for line in text.split("\n"):
        mark = _FENCE.match(line)
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
    text = "\n".join(line for line in lines if not _IMPORT_EXPORT.match(line))
    parts = re.split(r"(`[^`\n]*`)", text)  # a tag in inline code is text
    return "".join(part if n % 2 else _TAG.sub("", part) for n, part in enumerate(parts)).split("\n")


def _without_esm(lines: list[str]) -> Iterator[str]:
    within = False
    for line in lines:
        within = bool(line.strip()) and (within or _ESM.match(line) is not None)
        if not within:
            yield line


def _plain(text: str) -> str:
    """Links as their words; the rest as it stands."""
    return _LINK.sub(r"\1", text).strip()
