"""What came back from a language model: a reply, or the part of one."""

from dataclasses import dataclass

from ragsaver.errors import GenerationError
from ragsaver.spend.usage import TokenUsage


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What the model said; `logprob` is the mean log-probability of its tokens, where that was asked for and told."""

    text: str
    model: str
    usage: TokenUsage
    finish_reason: str | None
    logprob: float | None = None


class CutReply(GenerationError):
    """The endpoint failed after it had begun to answer: what came until then is billed."""

    def __init__(self, problem: str, *, where: str, remedy: str, usage: TokenUsage) -> None:
        super().__init__(problem, where=where, remedy=remedy)
        self.usage = usage
