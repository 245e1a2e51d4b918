"""The text of an HTML element: what parts words there, though no space does."""

import re

from selectolax.lexbor import LexborNode

# Marks a <br> until its paragraph is known; it counts as white space.
BREAK = "\x1e"
_OTHER_SPACE = re.compile(rf"[^\S{BREAK}]+")
_EMPTY_LINE = re.compile(rf"{BREAK}(?: ?{BREAK})+")
_PARTS = frozenset(
    "address article aside blockquote caption center dd details div dl dt fieldset figcaption figure footer h1 h2 h3 h4"
    " h5 h6 header hr li main nav ol p pre section summary table tbody td tfoot th thead tr ul".split()
)


def text_of(node: LexborNode) -> str:
    """The text of an element with its line breaks marked, and a space around each block in it."""
    if node.tag == "-text":
        return node.text(deep=False)
    if node.tag == "br":
        return BREAK
    text = "".join(text_of(child) for child in node.iter(include_text=True))
    return f" {text} " if node.tag in _PARTS else text


def code_of(node: LexborNode) -> str:
    """The text of preformatted lines as they stand."""
    return "".join(text_of(child) for child in node.iter(include_text=True)).replace(BREAK, "\n").strip("\n")


def paragraphs_of(text: str) -> list[str]:
    """What two line breaks part."""
    return _EMPTY_LINE.split(_OTHER_SPACE.sub(" ", text))
