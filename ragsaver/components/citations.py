"""Citations, in whatever form a model writes them: read as `[1][2]`, the form that it was asked for.

What stands in code is none: there `[1, 2]` is a list. Lines are read one by one, so that a text may come in pieces.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

# `[7]`, with the spaces before it, which are read once however many there are.
CITED = re.compile(r"(?:(?<!\s)\s++)?\[(\d{1,3})\]")

_DASH = "[-\u2010-\u2015]"
_NUMBER = rf"[1-9]\d{{0,2}}(?: ?{_DASH} ?[1-9]\d{{0,2}})?"
_WORDS = "doc dok dokument quelle source passage fuente fonte fonti 文档 文件 文書 来源 出典".split()
_LABEL = (
    r"(?:docs?\.?|dok\.|document[eios]{0,2}|dokumente?n?|quellen?|sources?|passages?|fuentes?|font[ei]"
    r"|文档|文件|文書|来源|出典):? ?[#№]?"
)
_BETWEEN = r"(?: ?[,;&、，；] ?(?:(?:and|und|et|y|e) )?| (?:and|und|et|y|e) )"
_ITEM = rf"(?:{_LABEL})?{_NUMBER}"
_PLACED = rf"{_ITEM}(?:(?::\d{{1,3}})?†[^】,;\n]{{0,80}})?"  # with a place, as in `【4:0†source】`
_SAID = rf"(?:see |cf\. )?{_LABEL}{_NUMBER}(?:{_BETWEEN}{_ITEM})*[)）]"
# Each way begins with one character and no set of them: then a search skips to the next of them.
_FORM = re.compile(
    rf"\[\^?{_ITEM}(?:{_BETWEEN}{_ITEM})*\]"
    rf"|［{_ITEM}(?:{_BETWEEN}{_ITEM})*］"
    rf"|【{_PLACED}(?:{_BETWEEN}{_PLACED})*】"
    rf"|\({_SAID}"
    rf"|（{_SAID}",
    re.IGNORECASE,
)
_PLACE = re.compile(r"(?<=\d)(?::\d{1,3})?†[^】,;\n]*")
_NAMED = re.compile(rf"(\d+)(?: ?{_DASH} ?(\d+))?")
_MOST_NAMED = 40  # by one mark: what names more is a list of numbers

_MOST_CHARS = 200  # of a mark or of code within a line: its end is not waited for any longer
_OPENED = re.compile(rf"[\[【［(（]([^\[\]【】［］()（）\n`]{{0,{_MOST_CHARS}}})\Z")
_BEGINNINGS = ("see ", "cf. ", *_WORDS)
_CODE = re.compile(rf"(?<!`)(`{{1,3}})(?!`)[^\n]{{1,{_MOST_CHARS}}}?(?<!`)\1(?!`)")
_FENCE = re.compile(r"[ \t>]*(?:(```)[^`]*|(~~~).*)\Z")
_FENCE_BEGUN = re.compile(r"[ \t>]*(?:`{0,3}|~{0,2})\Z|[ \t>]*(?:```[^`]*|~~~.*)\Z")
_STRUCTURE = re.compile(r"\s*(?:\{|\[\s*[\"{])")  # JSON
_UNDECIDED = re.compile(r"\s*(?:\[\s*)?")


class _Part(NamedTuple):
    text: str
    code: bool


def plain_marks(text: str) -> str:
    """The text with each citation as `[1]`, one for each source that it names."""
    return outside_code(text, _read)


def resolved_marks(text: str, sources: int) -> str:
    """The text with plain marks, without those that point to none of so many sources."""
    return outside_code(text, lambda prose: _of(_read(prose), sources))


def broken_marks(text: str) -> str:
    """The text with spaces in what could be read as a citation."""
    return _FORM.sub(lambda mark: f"{mark.group()[0]} {mark.group()[1:-1]} {mark.group()[-1]}", text)


def numbers_cited(text: str) -> list[int]:
    """What the plain marks outside of code name, in order."""
    return [int(mark) for part in _parts(text) if not part.code for mark in CITED.findall(part.text)]


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text with what is no code changed."""
    return _joined(_parts(text), change)


class CitationReader:
    """The same as `resolved_marks` for a text that comes in pieces: what may become a citation is held back, with the
    spaces in front of it.

    :param sources: how many there are; None leaves marks that point to none, as `plain_marks` does.
    """

    def __init__(self, sources: int | None = None) -> None:
        self._lines = _Lines()
        self._sources = sources

    def feed(self, piece: str) -> str:
        """What is settled with this piece."""
        return _joined(self._lines.feed(piece), self._change)

    def rest(self) -> str:
        """What was held back until the end."""
        return _joined(self._lines.rest(), self._change)

    def _change(self, prose: str) -> str:
        return _read(prose) if self._sources is None else _of(_read(prose), self._sources)


class _Lines:
    """Tells code from prose, in a text that comes in pieces."""

    def __init__(self) -> None:
        self._held = ""
        self._structure: bool | None = None
        self._fence = ""
        self._within = False  # a line, whose beginning is told

    def feed(self, piece: str) -> Iterator[_Part]:
        self._held += piece
        if self._structure is None:
            if _UNDECIDED.fullmatch(self._held):
                return
            self._structure = _STRUCTURE.match(self._held) is not None
        if self._structure:
            yield _Part(self._held, code=True)
            self._held = ""
            return
        *lines, last = self._held.split("\n")
        for line in lines:
            yield from self._line(f"{line}\n")
        cut = self._settled(last)
        self._held = last[cut:]
        if cut:
            self._within = True
            yield from self._told(last[:cut])

    def rest(self) -> Iterator[_Part]:
        held, self._held = self._held, ""
        yield from self._line(held)

    def _line(self, line: str) -> Iterator[_Part]:
        whole, self._within = not self._within, False
        found = _FENCE.match(line.rstrip("\n")) if whole and len(line.rstrip("\n")) < _MOST_CHARS else None
        if found is not None and (mark := found.group(1) or found.group(2)) and self._fence in ("", mark):
            self._fence = "" if self._fence else mark
            yield _Part(line, code=True)
        else:
            yield from self._told(line)

    def _told(self, text: str) -> Iterator[_Part]:
        if self._fence:
            yield _Part(text, code=True)
            return
        at = 0
        for code in _CODE.finditer(text):
            yield _Part(text[at : code.start()], code=False)
            yield _Part(code.group(), code=True)
            at = code.end()
        yield _Part(text[at:], code=False)

    def _settled(self, line: str) -> int:
        """How much of the last line so far stays what it is, whatever follows."""
        if not self._within and len(line) < _MOST_CHARS and _FENCE_BEGUN.match(line):
            return 0
        if self._fence:
            return len(line)
        at = max((code.end() for code in _CODE.finditer(line) if code.end() < len(line)), default=0)
        tick = line.find("`", max(at, len(line) - _MOST_CHARS - 6))
        opened = _OPENED.search(line, at)
        ends = [len(line)] if tick < 0 else [tick]
        if opened is not None and _may_cite(line[opened.start()], opened.group(1)):
            ends.append(opened.start())
        settled = line[: min(ends)].rstrip()
        return len(settled) if len(line) - len(settled) < _MOST_CHARS else min(ends)


def _parts(text: str) -> Iterator[_Part]:
    lines = _Lines()
    yield from lines.feed(text)
    yield from lines.rest()


def _joined(parts: Iterator[_Part], change: Callable[[str], str]) -> str:
    return "".join(part.text if part.code else change(part.text) for part in parts)


def _may_cite(bracket: str, inside: str) -> bool:
    """Whether what a bracket has opened can still become a citation."""
    said = inside.lower()
    if not said or any(said.startswith(word) or word.startswith(said) for word in _BEGINNINGS):
        return True
    return bracket not in "(（" and (said[0] == "^" or said[0].isdecimal())


def _read(prose: str) -> str:
    return _FORM.sub(_plain, prose)


def _of(prose: str, sources: int) -> str:
    return CITED.sub(lambda mark: mark.group() if 1 <= int(mark.group(1)) <= sources else "", prose)


def _plain(form: re.Match[str]) -> str:
    named: dict[int, None] = {}
    for first, last in _NAMED.findall(_PLACE.sub("", form.group())):
        begin, end = int(first), int(last or first)
        if end < begin or end - begin >= _MOST_NAMED:
            return form.group()
        named.update(dict.fromkeys(range(begin, end + 1)))
    if len(named) > _MOST_NAMED or len(form.group()) > _MOST_CHARS:
        return form.group()
    return "".join(f"[{number}]" for number in named)
