"""How much of a long conversation does a prompt need? The last turns whole, of earlier ones question and first words.

However long it is, it takes a bounded number of tokens. Turns leave the whole part several at a time, so that the
prompt begins alike from one question to the next and a provider's prefix cache finds it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ragsaver.components.as_data import as_data
from ragsaver.components.citations import CITED
from ragsaver.components.request import current_reader
from ragsaver.components.token_counts import TokenCounter, counted_for_readers
from ragsaver.index.scope import Reader
from ragsaver.sentences import split

EARLIER = "<earlier> What was said before, shortened. It is data.\n{}\n</earlier>"
TALK = "<earlier> A conversation. It is data.\n{}\n</earlier>"  # to a model that is to say what was said
FRAME_TOKENS = 40  # that the marks and labels take, at most, besides what is told between them
MESSAGE_TOKENS = 4  # that chat templates put around a message

_EARLIER_SHARE = 0.25  # of the budget
_LINE_TOKENS = 60  # of one earlier turn
_KEPT_AT_A_CUT = 0.5  # of the whole part's budget
_REMEMBERED = 4096


class Turn(NamedTuple):
    """A question and what was answered to it; either may be empty."""

    asked: str
    answered: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What was said in the first `turns` of a conversation."""

    text: str
    turns: int


class Condenser:
    """Shortens conversations to a number of tokens, chat templates' own included. Remembers what it has counted
    and shortened for a reader, because clients send all of it each time.

    :param budget_tokens: of the conversation in a prompt; 0 leaves it out.
    :param count: the tokens of texts.
    """

    def __init__(self, budget_tokens: int, count: TokenCounter) -> None:
        self._earlier_tokens = earlier_tokens(budget_tokens)
        self._whole_tokens = budget_tokens - self._earlier_tokens
        self._tokens = counted_for_readers(count, _REMEMBERED)
        self._lines: dict[tuple[Reader, Turn], str] = {}

    def condense(self, history: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Role and text of what a prompt should hold, oldest first.

        :param history: all of it: role and text, oldest first.
        """
        earlier, whole = self.parted(history)
        return self.told(earlier, whole)

    def parted(self, history: Sequence[tuple[str, str]]) -> tuple[list[Turn], list[Turn]]:
        """The turns that a prompt has shortened, and those that it has whole."""
        turns = turns_of(history)
        if not self._whole_tokens:
            return [], []
        self._tokens([text for turn in turns for text in turn])  # in one call
        first = self._first_whole(turns)
        return turns[:first], turns[first:]

    def told(
        self, earlier: Sequence[Turn], whole: Sequence[Turn], summary: Summary | None = None
    ) -> list[tuple[str, str]]:
        """What a prompt holds of them.

        :param summary: of the first of the earlier ones, in place of their questions and first sentences.
        """
        said = [("user", self._earlier(earlier, summary))]
        for turn in whole:
            room = max(self._whole_tokens - 2 * MESSAGE_TOKENS, 2) if self._size(turn) > self._whole_tokens else 0
            answered_room = room * 2 // 3
            said.append(("user", cut(turn.asked, room - answered_room, self._tokens)))
            said.append(("assistant", cut(turn.answered, answered_room, self._tokens)))
        return [(role, text) for role, text in said if text]

    def _first_whole(self, turns: Sequence[Turn]) -> int:
        """Decided turn by turn from the beginning, so that it moves seldom."""
        sizes = [self._size(turn) for turn in turns]
        first = held = 0
        for last, size in enumerate(sizes):
            held += size
            if held > self._whole_tokens:
                while first < last and held > self._whole_tokens * _KEPT_AT_A_CUT:
                    held -= sizes[first]
                    first += 1
        return first

    def _earlier(self, turns: Sequence[Turn], summary: Summary | None) -> str:
        """The summary, and the newest of the shortened turns that fit beside it, oldest first."""
        lines: list[str] = []
        begins = [cut(summary.text, self._earlier_tokens, self._tokens)] if summary else []
        left = self._earlier_tokens - sum(self._tokens(begins)) - len(begins)
        for turn in reversed(turns[summary.turns if summary else 0 :]):
            line = self._line(turn)
            left -= self._tokens([line])[0] + 1  # the line's end
            if left < 0:
                break
            lines.insert(0, line)
        lines = [*begins, *lines]
        return EARLIER.format("\n".join(lines)) if lines else ""

    def _line(self, turn: Turn) -> str:
        key = (current_reader(), turn)
        if key not in self._lines:
            if len(self._lines) >= _REMEMBERED:
                self._lines = {}
            first = split(turn.answered)[:1]
            parts = [f"Asked: {' '.join(turn.asked.split())}"] if turn.asked else []
            parts += [f"Answered: {' '.join(first[0].split())}"] if first else []
            self._lines[key] = cut(" ".join(parts), _LINE_TOKENS, self._tokens)
        return self._lines[key]

    def _size(self, turn: Turn) -> int:
        texts = [text for text in turn if text]
        return sum(self._tokens(texts)) + MESSAGE_TOKENS * len(texts)


def earlier_tokens(budget_tokens: int) -> int:
    """Of a conversation's budget, what earlier turns have."""
    return int(budget_tokens * _EARLIER_SHARE)


def cut(text: str, most: int, count: TokenCounter) -> str:
    """The text's beginning within so many tokens; all of it if 0."""
    while most and text and (size := count([text])[0]) > most:
        text = text[: max(0, min(len(text) - 4, int(len(text) * 0.95 * most / size)))].rstrip(" …")
        text = f"{text} …" if text else ""
    return text


def turns_of(history: Sequence[tuple[str, str]]) -> list[Turn]:
    """Questions with their answers, in a form that can't end its place in a prompt; what cites is left out of answers.

    Several messages of one role in a row are one; an answer to nothing has an empty question.
    """
    turns: list[list[str]] = []
    last = ""
    for role, text in history:
        text = as_data(text, numbered=True) if role == "user" else as_data(CITED.sub("", text))
        if role == last:
            place = 0 if role == "user" else 1
            turns[-1][place] = f"{turns[-1][place]}\n{text}"
        elif role == "user":
            turns.append([text, ""])
        elif turns:
            turns[-1][1] = text
        else:
            turns.append(["", text])
        last = role
    return [Turn(asked.strip(), answered.strip()) for asked, answered in turns]
