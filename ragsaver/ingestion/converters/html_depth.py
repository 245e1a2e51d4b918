"""Is a page nested so deeply that parsing it alone would take minutes?

A parser of HTML looks through all open elements at each new block: what is never closed takes time by its square.
"""

import re
from collections import Counter
from collections.abc import Iterator

# What is not closed by the next one of its kind, whatever stands around it.
_CONTAINERS = frozenset(
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer header hgroup"
    " main menu nav ol section summary ul".split()
)
_CELLS = frozenset({"td", "th"})
_AROUND_ITEMS = (_CONTAINERS | _CELLS) - {"address", "div"}
# Closed by the next of these, with all that is open in it; not beyond what it stands in.
_SIBLINGS = {
    "li": (frozenset({"li"}), _AROUND_ITEMS | {"dt", "dd"}),
    "dt": (frozenset({"dt", "dd"}), _AROUND_ITEMS | {"li"}),
    "dd": (frozenset({"dt", "dd"}), _AROUND_ITEMS | {"li"}),
    "table": (frozenset({"table"}), _CELLS),
    "tr": (frozenset({"tr"}), frozenset({"table"})),
    "td": (_CELLS, frozenset({"tr", "table"})),
    "th": (_CELLS, frozenset({"tr", "table"})),
}
_KEPT_OPEN = _CONTAINERS | _SIBLINGS.keys()
_TEXT_ONLY = {
    name: re.compile(rf"</{name}\b", re.IGNORECASE)
    for name in ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
}
_TAG = re.compile(r"<!--|<(/?)([a-zA-Z][^\s/>]*)")
_VALUE_OR_END = re.compile(r"=\s*([\"'])|>")


def nests_beyond(html: str, limit: int) -> bool:
    """Whether more than `limit` blocks are open at once somewhere; what a parser may close is taken as closed."""
    if html.count("<") <= limit:
        return False
    opened = _Open()
    for closes, name in _tags(html):
        if closes:
            opened.close(frozenset({name}), frozenset())
            continue
        if name in _SIBLINGS:
            siblings, around = _SIBLINGS[name]
            if "table" in around and not opened.has("table"):
                continue  # a parser takes no notice of it
            opened.close(siblings, around)
        opened.add(name)
        if len(opened) > limit:
            return True
    return False


class _Open:
    """Names of the open elements, the innermost last."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._names)

    def has(self, name: str) -> bool:
        return self._counts[name] > 0

    def add(self, name: str) -> None:
        self._names.append(name)
        self._counts[name] += 1

    def close(self, last: frozenset[str], within: frozenset[str]) -> None:
        """Close the innermost of `last` with all in it; only what is in the innermost of `within` if that is nearer."""
        if not any(self._counts[name] for name in last | within):
            return
        while self._names[-1] not in within:
            name = self._names.pop()
            self._counts[name] -= 1
            if name in last:
                return


def _tags(html: str) -> Iterator[tuple[bool, str]]:
    """Whether it closes, and the name, of each tag that stays open; those in comments, values and scripts are none."""
    place = 0
    while tag := _TAG.search(html, place):
        if tag.group(2) is None:
            end = html.find("-->", tag.start() + 2)
            if end < 0:
                return
            place = end + 3
            continue
        place = _end_of(html, tag.end())
        if place < 0:
            return
        name = tag.group(2).lower()
        if name in _KEPT_OPEN:
            yield bool(tag.group(1)), name
        elif not tag.group(1) and name in _TEXT_ONLY:
            end_tag = _TEXT_ONLY[name].search(html, place)
            if end_tag is None:
                return
            place = end_tag.start()


def _end_of(html: str, place: int) -> int:
    """Behind the `>` of the tag whose name ends at a place; -1 if it has none."""
    while part := _VALUE_OR_END.search(html, place):
        if part.group() == ">":
            return part.end()
        place = html.find(part.group(1), part.end()) + 1
        if not place:
            return -1
    return -1
