"""What can go wrong, said so that a person can mend it: what was wrong, where, and what to do."""

import re
from decimal import Decimal
from typing import ClassVar

from ragsaver.control_characters import on_one_line

_TYPE = "urn:ragsaver:problem:"
_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])")


class RagSaverError(Exception):
    """Base of every error that RAGSaver raises on purpose.

    :param problem: what was wrong, one sentence without a full stop.
    :param where: the place: a file with its line, a source, a setting.
    :param remedy: what the reader can do about it.
    :param retry_after_s: seconds after which it makes sense to try again; None where time does not mend it.
    :ivar cost_usd: what a question that failed cost all the same; None where none was asked.
    """

    exit_code: ClassVar[int] = 2
    status: ClassVar[int] = 500
    title: ClassVar[str] = "RAGSaver error"

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        remedy: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.remedy = remedy
        self.retry_after_s = retry_after_s
        self.cost_usd: float | None = None

    def __str__(self) -> str:
        text = f"{on_one_line(self.where)}: {self.problem}" if self.where else self.problem
        return f"{text}. {self.remedy}" if self.remedy else text

    @classmethod
    def urn(cls) -> str:
        """The kind of error as a URI that never changes, for programs: `urn:ragsaver:problem:index-locked`."""
        return _TYPE + _WORD_START.sub("-", cls.__name__).lower()


class SettingsError(RagSaverError):
    """A setting is unknown or has a value that is not allowed."""

    title = "Invalid settings"


class UsageError(RagSaverError):
    """The caller asked for something that makes no sense: an empty question, a folder that is not there."""

    status = 400
    title = "Bad request"


class QuestionTooLong(UsageError):
    """The question is longer than `query.max_question_chars`."""

    status = 413
    title = "Question too long"


class HistoryTooLong(UsageError):
    """The earlier turns of a conversation are longer than `query.max_history_chars` together."""

    status = 413
    title = "History too long"


class Unsupported(UsageError):
    """The request asks for something that a pipeline does not do: tools, several answers, images."""

    title = "Not supported"


class ModelNotFound(UsageError):
    """There is no pipeline of the name that a client of OpenAI gave as model, or its key may not ask it."""

    status = 404
    title = "No such model"


class Unauthorized(UsageError):
    """A key is needed, and none that is good was shown."""

    status = 401
    title = "No valid API key"


class Forbidden(UsageError):
    """The key is good, and not for that."""

    status = 403
    title = "Not allowed"


class HostRefused(UsageError):
    """A server that asks for no key was called by a name that is not this machine's, or from a web page elsewhere."""

    status = 403
    title = "Host refused"


class KeyNotFound(UsageError):
    """There is no key of that id that could be changed."""

    status = 404
    title = "No such key"


class RateLimited(RagSaverError):
    """Too many requests of one key; nothing was done."""

    status = 429
    title = "Too many requests"


class RepeatedQuestion(RateLimited):
    """The same asker had the same question answered too often in a short time; nothing was done."""

    title = "Loop detected"


class LimitsUnavailable(RagSaverError):
    """What counts requests does not answer: nobody is let in meanwhile."""

    status = 503
    title = "Limits unavailable"


class UnreadableDocument(RagSaverError):
    """A document can't be read: not what its name says, broken, encrypted, too large or without text."""

    exit_code = 3
    status = 422
    title = "Unreadable document"


class VanishedDocument(UnreadableDocument):
    """A document was there when its folder or store was listed, and is not when it is read: it was removed."""

    title = "Document gone"


class QuotaExceeded(UnreadableDocument):
    """A document would bring its tenant beyond `lifecycle.quota`; it stays out whole, the rest goes in."""

    title = "Quota exceeded"


class DocumentNotFound(UsageError):
    """There is no document of that id in the collection."""

    status = 404
    title = "No such document"


class ReceiptNotFound(UsageError):
    """There is no receipt of that request."""

    status = 404
    title = "No such receipt"


class IndexLocked(RagSaverError):
    """Another process owns the index."""

    status = 503
    title = "Index locked"


class IndexMoved(IndexLocked):
    """A migration has put another index in place, and this process still has the one before."""

    title = "Index moved"


class ModelMismatch(RagSaverError):
    """The index was built by another embedding model: its vectors can't be compared with this one's."""

    status = 409
    title = "Index built by another model"


class StorageError(RagSaverError):
    """The disk refused a write: it is full, read-only or not ours."""

    status = 507
    title = "Storage failed"


class StorageUnavailable(StorageError):
    """What keeps the state can't be asked now: the database's server does not answer, or another process has the file
    to itself.
    """

    status = 503
    title = "Storage unavailable"


class IndexUnavailable(StorageError):
    """The server that keeps the index does not answer, or refuses."""

    status = 503
    title = "Index unavailable"


class PipelineError(RagSaverError):
    """A pipeline's YAML can't be loaded or run."""

    title = "Invalid pipeline"


class GenerationError(RagSaverError):
    """The language model's endpoint failed: refused, timed out, or cut the stream."""

    status = 502
    title = "Generation failed"


class DeadlineExceeded(RagSaverError):
    """The time that the request has is over; nothing more is spent on it."""

    status = 504
    title = "Deadline exceeded"


class GenerationLate(DeadlineExceeded, GenerationError):
    """There was no time left to ask the language model's endpoint, or to wait for it."""


class StorageLate(DeadlineExceeded, StorageUnavailable):
    """There was no time left to wait for what keeps the state, which others have."""


class EndpointResting(GenerationError):
    """The language model's endpoint failed several times in a row and is not asked for a while."""

    status = 503
    title = "Endpoint resting"


class RerankError(RagSaverError):
    """The reranker failed; the question goes on with the order that it had."""

    status = 502
    title = "Reranking failed"


class RerankRefused(RerankError):
    """The reranker was not reached, or said that it failed: nobody bills that."""


class RerankLate(RerankError):
    """The reranker was not done by its deadline."""


class MissingExtra(RagSaverError):
    """An optional dependency is needed and not installed."""

    title = "Missing dependency"


class TooExpensive(RagSaverError):
    """The work would cost more than the caller allows; nothing was spent."""

    status = 402
    title = "Too expensive"


class BudgetExceeded(RagSaverError):
    """The next call could bring a budget beyond its limit; it was not made.

    :ivar budget: which one: `tenant acme per day`.
    :ivar remaining_usd: what is left of it, holds of running calls not counted as left.
    :ivar resets_at: when it begins anew, in ISO 8601.
    :ivar report: of an ingestion that did the rest, an `IngestReport`.
    """

    status = 429
    title = "Budget exceeded"

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        remedy: str | None = None,
        budget: str = "",
        remaining_usd: Decimal = Decimal(0),
        resets_at: str = "",
        retry_after_s: float | None = None,
        report: object = None,
    ) -> None:
        super().__init__(problem, where=where, remedy=remedy, retry_after_s=retry_after_s)
        self.budget = budget
        self.remaining_usd = remaining_usd
        self.resets_at = resets_at
        self.report = report


class FuseBlown(RagSaverError):
    """A tenant suddenly spends far more than it usually does; the next call was not made."""

    status = 429
    title = "Fuse blown"


class UnknownPrice(RagSaverError):
    """Nobody knows what the model costs, and the settings refuse to guess."""

    title = "Unknown price"


class QueueFull(RagSaverError):
    """Too many documents wait to go in; nothing was taken."""

    status = 429
    title = "Queue full"


class BrokerUnavailable(RagSaverError):
    """The broker of the queue does not answer."""

    status = 503
    title = "Broker unavailable"


class Stopped(RagSaverError):
    """The work was stopped before its end: by Ctrl-C, or with the server that did it."""

    exit_code = 3
    status = 503
    title = "Stopped"


RUN_AGAIN = "What is in stays: run the same command again to complete it"


def told(urn: str, problem: str, *, where: str | None, remedy: str | None) -> RagSaverError:
    """The error that another process told, as if it had happened here.

    :param urn: as `RagSaverError.urn` gave it there; where it is none of these, the error is a plain one.
    """
    kinds = [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, RagSaverError)]
    kind = next((kind for kind in kinds if kind.urn() == urn), RagSaverError)
    return kind(problem, where=where, remedy=remedy)
