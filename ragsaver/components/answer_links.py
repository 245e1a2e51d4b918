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
    r"(?:[a-zA-Z][a-zA-Z0-9+.-]*:(?:\\?/){2}|\b(?:www\.|data:|javascript:))[^\s<>\"`|\\]+", re.IGNORECASE
)
_BEHIND = ".,;:!?)]}'*_~"
_OPEN = re.compile(r"!?\[[^\]]*(?:\](?:\([^)]*)?)?\Z|<[^>]*\Z|\n[ \t>*+-]*\Z|[^\s]*\Z|\[[^\]\n]+\]:[^\n]*\n?[^\n]*\Z")


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
        """What may be told of a text that comes in pieces; an address is held back until it is complete."""
        if self.policy == "all":
            return piece
        self._held += piece
        if len(self._held) > _HELD_CHARS:
            return self.rest()
        cut = len(self._held)
        while cut and (unfinished := _OPEN.search(self._held, 0, cut)) and unfinished.start() < cut:
            cut = unfinished.start()
        ready, self._held = self._held[:cut], self._held[cut:]
        return self.clean(ready)

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


def _bare(address: str) -> str:
    """Without the punctuation behind it."""
    return address.rstrip(_BEHIND)
