"""Tags, comments and links within Markdown, found in one pass: what is opened a thousand times and never closed is
looked at once, not a thousand times to the end of the text.
"""

import re
from collections.abc import Iterator

_TAG_OR_COMMENT = re.compile(r"</?[A-Za-z][\w.-]*(?:\s[^<>]*)?/?>|<!--|\{/\*")
_CLOSED_BY = {"<!--": "-->", "{/*": "*/}"}
_TARGET_END = re.compile(r"[)\s]")
_LINK_TITLE = re.compile(r"\s+\"[^\"]*\"\)")


def without_tags(text: str) -> str:
    """The text without tags and comments; a comment that is never closed is text."""
    kept: list[str] = []
    at = 0
    for start, end in _tags(text):
        kept.append(text[at:start])
        at = end
    return "".join([*kept, text[at:]])


def _tags(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    unclosed: set[str] = set()
    while found := _TAG_OR_COMMENT.search(text, at):
        at = found.end()
        closing = _CLOSED_BY.get(found.group())
        if closing is None:
            yield found.start(), at
        elif closing not in unclosed:
            end = text.find(closing, at)
            if end < 0:
                unclosed.add(closing)
            else:
                at = end + len(closing)
                yield found.start(), at


def without_targets(text: str) -> str:
    """Links and pictures as their words."""
    kept: list[str] = []
    at = 0
    for start, label, label_end, end in _links(text):
        kept += [text[at:start], text[label:label_end]]
        at = end
    return "".join([*kept, text[at:]])


def _links(text: str) -> Iterator[tuple[int, int, int, int]]:
    """Where each link starts, its label, the label's end, and the link's end."""
    past = middle = 0  # the end of the last link, and where to look for the next `](`
    target_end, link_end = -1, -1
    while (middle := text.find("](", middle)) >= 0:
        label = text.find("[", max(past, text.rfind("]", past, middle) + 1), middle) + 1
        if label:
            if target_end < middle + 2:  # else the target before had no end until here, and this one has the same
                target_end, link_end = _target_end(text, middle + 2)
            if link_end >= 0:
                past = link_end
                picture = text[label - 2 : label - 1] == "!"
                yield label - 1 - picture, label, middle, past
                middle = past
                continue
        middle += 2


def _target_end(text: str, start: int) -> tuple[int, int]:
    """Where a link's target ends, and where the link does; the latter -1 if it is none."""
    found = _TARGET_END.search(text, start)
    if found is None:
        return len(text), -1
    if found.group() == ")":
        return found.start(), found.end()
    title = _LINK_TITLE.match(text, found.start())
    return found.start(), title.end() if title else -1
