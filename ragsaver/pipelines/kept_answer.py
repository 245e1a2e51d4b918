"""An answer as it is kept: what it says, what it cost, and which chunks and documents it was made from."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any

from ragsaver.caching.entries import Place
from ragsaver.components.caches import Truth
from ragsaver.components.evidence import Evidence, stamp_of
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.pipelines.result import AskResult
from ragsaver.spend.pacing import Service
from ragsaver.spend.receipt import OpenReceipt

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An entry of the cache of answers.

    :ivar asked: the question, normalised; `place` is whose it is. Both are in the key too, and are compared again.
    :ivar stamps: of the chunks that were packed, by id.
    :ivar versions: of their documents, by id.
    :ivar mark: of the collection, for what falls with any change of it; None where it falls with its chunks only.
    :ivar made_at: seconds since 1970.
    :ivar service: rung of the ladder that it was made on; who is served better is not given it.
    """

    asked: str
    place: Place
    answer: str | None
    reason: str | None
    citations: list[dict[str, Any]]
    tier: str
    route_reason: str
    cost_usd: Decimal
    whole_passage_tokens: tuple[int, ...]
    packed_tokens: int
    prompt_tokens: int
    answer_tokens: int
    stamps: Mapping[str, str]
    versions: Mapping[str, str]
    mark: str | None
    made_at: float
    service: int = 0

    def dump(self) -> bytes:
        """As JSON."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        told = {**own, "format": _FORMAT, "place": asdict(self.place), "cost_usd": str(self.cost_usd)}
        return json.dumps(told).encode()

    @classmethod
    def load(cls, data: bytes) -> "KeptAnswer | None":
        """What `dump` wrote; None if it is damaged or was another format."""
        try:
            told: dict[str, Any] = json.loads(data)
            if told.pop("format", None) != _FORMAT:
                return None
            place = told["place"]
            groups = place["groups"]
            told["place"] = Place(place["tenant"], place["collection"], None if groups is None else tuple(groups))
            told["cost_usd"] = Decimal(told["cost_usd"])
            told["whole_passage_tokens"] = tuple(told["whole_passage_tokens"])
            return cls(**told)
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
            return None

    def is_for(self, place: Place, asked: str) -> bool:
        """Whether it is the answer for this place, to this question."""
        return self.place == place and self.asked == asked

    def receipt(self, asked: str, now: float) -> OpenReceipt:
        """For who is given it again: what it was made from, and that its price is saved.

        :param asked: what was asked now, beside what was asked then.
        :param now: seconds since 1970.
        """
        receipt = OpenReceipt(
            whole_passage_tokens=self.whole_passage_tokens,
            packed_tokens=self.packed_tokens,
            prompt_tokens=self.prompt_tokens,
            answer_tokens=self.answer_tokens,
        )
        reason = f"answered before: {asked}, {told_age(now - self.made_at)} ago"
        receipt.add("cache", "answer kept", 1, "answers", saved_usd=self.cost_usd, reason=reason)
        return receipt

    def holds(self, scope: Scope, truth: Truth, index: VectorIndex, mark: str) -> bool:
        """Whether all that it was made from is there as it was, and may be read by who asks now.

        The index is asked, since that is what an answer is made from; the manifest knows of a change earlier.

        :param mark: the collection's, taken before.
        """
        if self.mark is not None and mark != self.mark:
            return False
        if not self.stamps:
            return True
        if truth.versions(scope, list(self.versions)) != self.versions:
            return False
        carried = index.payloads(scope, list(self.stamps))
        return all(one in carried and stamp_of(carried[one]) == stamp for one, stamp in self.stamps.items())


def told_age(seconds: float) -> str:
    """A time that has passed, in the largest unit that it fills."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} seconds"


def answer_to_keep(
    result: AskResult,
    receipt: OpenReceipt,
    evidence: Evidence,
    *,
    asked: str,
    place: Place,
    scope: Scope,
    truth: Truth,
    outlive_additions: bool,
    now: float,
) -> KeptAnswer | None:
    """What is to be kept of an answer; None if it can't be known later whether it still holds.

    :param asked: the question, normalised.
    :param outlive_additions: whether it may stay when documents come in that it was not made from.
    """
    stamps = evidence.stamps()
    if stamps is None:
        return None
    documents = evidence.documents(stamps)
    versions = truth.versions(scope, documents)
    if len(versions) < len(documents):  # one of them has just been deleted
        return None
    # Where there is no answer, or it was made from nothing, another document may have it.
    falls_with_any = result.answer is None or not stamps or evidence.wide or not outlive_additions
    if falls_with_any and evidence.mark is None:
        return None
    return KeptAnswer(
        asked=asked,
        place=place,
        answer=result.answer,
        reason=result.reason,
        citations=[citation.model_dump() for citation in result.citations],
        tier=result.route.tier,
        route_reason=result.route.reason,
        cost_usd=result.receipt.cost_usd,
        whole_passage_tokens=receipt.whole_passage_tokens,
        packed_tokens=receipt.packed_tokens,
        prompt_tokens=receipt.prompt_tokens,
        answer_tokens=receipt.answer_tokens,
        stamps=stamps,
        versions=versions,
        mark=evidence.mark if falls_with_any else None,
        made_at=now,
        service=next(one for one in Service if one.told == result.route.rung),
    )
