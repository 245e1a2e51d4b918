"""What came back from a language model: a reply, or the part of one."""

from dataclasses import dataclass
from typing import Any, Literal

from ragsaver.errors import GenerationError
from ragsaver.spend.usage import TokenUsage

# Why an answer is not all that its model would have said, in words.
CUT_BY = {
    "length": "it was cut at its limit of tokens",
    "content_filter": "its provider's filter cut it",
}


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What the model said; `logprob` is the mean log-probability of its tokens, where that was asked for and told."""

    text: str
    model: str
    usage: TokenUsage
    finish_reason: str | None
    logprob: float | None = None

    @property
    def cut(self) -> Literal["length", "content_filter"] | None:
        """Why it is not all that the model would have said: its limit of tokens, or its provider's filter."""
        match self.finish_reason:
            case "length" | "content_filter" as cut:
                return cut
            case _:
                return None


class CutReply(GenerationError):
    """The endpoint failed after it had begun to answer: what came until then is billed.

    :ivar hurried: it was given little time, so that this says nothing about it.
    """

    def __init__(self, problem: str, *, where: str, remedy: str, usage: TokenUsage, hurried: bool = False) -> None:
        super().__init__(problem, where=where, remedy=remedy)
        self.usage = usage
        self.hurried = hurried


def written(told: Any) -> str:
    """What a model said, without halves of characters: no UTF-8 has them.

    :raises TypeError: if it is no text.
    """
    if told is None or told == "":
        return ""
    if not isinstance(told, str):
        raise TypeError("the answer is no text")
    try:
        told.encode()
    except UnicodeEncodeError:
        return told.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return told
