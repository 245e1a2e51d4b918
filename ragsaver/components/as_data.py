"""Text of others, made fit to stand in a prompt: it can't end its own place, begin another, or change who speaks.

Nothing is judged by what it means. Characters that nobody sees are taken out, and what could be read as one of the
prompt's own marks is broken: a look-alike bracket in front of a mark's name becomes `(`, `[7]` becomes `[ 7 ]`, as all
forms of a citation get spaces, and the tokens by which chat models tell roles apart lose their form.
"""

import re
import unicodedata

from ragsaver.components.citations import broken_marks

SHOWN_CHARS = 200  # of a source or heading

# What shows nothing and can hide or reorder text: controls, soft hyphens, zero-width and bidirectional marks, the
# variation selectors and tag characters that spell out hidden ASCII. Joiners stay between letters of scripts that need
# them; `_seen_through` looks past them.
_UNSEEN_ONES = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# ASCII without what all that is looked for begins with (`&([\<` and controls): most texts, as one look tells.
_PLAIN = re.compile(r"[\t\n -%')-;=-Z\]-~]*")
_UNSEEN = re.compile(f"[{_UNSEEN_ONES}]")
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_HIDDEN = re.compile(f"[{_UNSEEN_ONES}\u2028\u2029]")
_BRACKETS = "<\uff1c\ufe64\u2039\u2329\u3008\u27e8\u276e\u276c\u02c2\u1438\u226e\u227a\u2770\u29fc\u00ab\u300a\u27ea"
_OPENS = re.compile(rf"[{_BRACKETS}]|&(?:lt|\#0*60|\#x0*3c);?|\\u003c|\\x3c", re.IGNORECASE)
_OPENING = f"{_BRACKETS}&\\"  # one of these is in all that `_OPENS` and the patterns of tokens find
_LOOK_AHEAD = 80  # characters behind a bracket in which a mark's name would begin
_NAMES = ("document", "earlier", "system", "assistant", "imstart", "imend", "startof", "endof", "beginof")
# `[INST]`, `<<SYS>>`, `<s>`, `<|...|>` and their kin: tokens of chat models' own.
_BARS = re.compile(rf"[{_BRACKETS}](?=[\u200c\u200d\s]*[|\uff5c\u2502\u01c0][\u200c\u200d\s]*[\w\u2581])")
_TOKENS = re.compile(
    rf"[{_BRACKETS}](?=[\s/]*(?:s|unk|pad|mask|cls|sep|bos|eos|eot|think|user|developer|tool_call|tool_response)\s*[>\uff1e])|[{_BRACKETS}](?=<\s*/?\s*SYS)",
    re.I,
)
_INST = re.compile(r"\[(\s*/?\s*(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\s*)\]", re.IGNORECASE)
_MARK = re.compile(r"\[(\d{1,3})\]")
# Letters of other scripts that look like those of the names above; NFKD knows full-width and mathematical ones
# only. By line: Cyrillic and Armenian, Greek, small capitals.
_ALIKE = str.maketrans(
    "\u0430\u0441\u03c3\u03c2\u0501\u0435\u0456\u043c\u0578\u043f\u043e\u0440\u0433\u0455\u0442\u0443\u057d"
    "\u03b1\u03b5\u03b9\u03bd\u03bf\u03c1\u03c4\u03c5"
    "\u0131\u1d04\u1d05\u1d07\u1d0d\u0274\u1d0f\u1d1b\u1d1c",
    "acccdeimnnoprstyuaeinoptuicdemnotu",
)


def as_data(text: str, *, numbered: bool = False) -> str:
    """The text for a place between marks.

    :param numbered: leave `[7]` as it is: in an asker's own words it is no citation.
    """
    if _PLAIN.fullmatch(text):
        return text
    text = _visible(text)
    if any(sign in text for sign in _OPENING):
        text = _TOKENS.sub("(", _BARS.sub("(", _OPENS.sub(_broken, text)))
    text = _INST.sub(r"( \1 )", text)
    return text if numbered else _MARK.sub(r"[ \1 ]", broken_marks(text))


def in_one_line(text: str, most: int = SHOWN_CHARS) -> str:
    """A name or heading in one line, of a bounded length."""
    line = " ".join(_visible(text).split())
    return line if len(line) <= most else f"{line[:most]}…"


def seen_through(text: str) -> str:
    """The text as a lenient reader takes it: small plain letters in place of look-alikes, no accents, no joiners."""
    plain = unicodedata.normalize("NFKD", text).casefold().translate(_ALIKE)
    return "".join(one for one in plain if not unicodedata.combining(one) and one not in "\u200c\u200d")


def _visible(text: str) -> str:
    # mostly there is nothing to change, which one look tells
    return _UNSEEN.sub("", _LINE_ENDS.sub("\n", text)) if _HIDDEN.search(text) else text


def _broken(bracket: re.Match[str]) -> str:
    behind = seen_through(bracket.string[bracket.end() : bracket.end() + _LOOK_AHEAD])
    letters = "".join(one for one in behind if one.isalpha())
    # with no letter left, the next one is the prompt's own
    open_end = not letters and bracket.end() + _LOOK_AHEAD >= len(bracket.string)
    return "(" if letters.startswith(_NAMES) or open_end else bracket.group()
