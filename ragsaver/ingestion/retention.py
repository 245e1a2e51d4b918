"""Which documents of a collection have to go, why, and until when do they stay out? Decided from what they are and what
the settings allow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ragsaver.ingestion.standing import Standing
from ragsaver.ingestion.tombstones import Tombstone
from ragsaver.settings import RetentionSettings

DAY_S = 86_400.0
MB = 2**20


@dataclass(frozen=True, slots=True)
class Expiry:
    """A document that goes, and why.

    :ivar reason: in words.
    :ivar rule: the key of the settings that takes it, and what that allows.
    """

    document: Standing
    reason: str
    rule: str
    allowed: float


class Why(NamedTuple):
    """The reason in words, the key of the settings, and what it allows."""

    reason: str
    rule: str
    allowed: float


def expiries(documents: Sequence[Standing], rule: RetentionSettings, now: float) -> list[Expiry]:
    """The documents that go: too old, too long unused, then the longest unused ones beyond the count and the bytes.

    :param now: seconds since 1970.
    """
    going: list[Expiry] = []
    staying: list[Standing] = []
    for document in sorted(documents, key=_last_to_go_last):
        why = outlived(document.record.ingested_at, document.touched_at, rule, now)
        if why:
            going.append(Expiry(document, *why))
        else:
            staying.append(document)
    left_bytes = sum(document.bytes for document in staying)
    for number, document in enumerate(staying):
        why = _surplus(len(staying) - number, left_bytes, rule)
        if not why:
            break
        going.append(Expiry(document, *why))
        left_bytes -= document.bytes
    return going


def _last_to_go_last(document: Standing) -> tuple[float, float, str]:
    return document.touched_at, document.record.ingested_at, document.record.id


def outlived(ingested_at: float, touched_at: float, rule: RetentionSettings, now: float) -> Why | None:
    """Whether a document is too old, or too long unused.

    :param ingested_at: when it came in or last changed, in seconds since 1970.
    :param touched_at: when it was last used or came in, whichever is later.
    """
    age_s, unused_s = now - ingested_at, now - touched_at
    if rule.max_age_days is not None and age_s > rule.max_age_days * DAY_S:
        return Why(
            f"{age_s / DAY_S:.1f} days old, `max_age_days` is {rule.max_age_days:g}", "max_age_days", rule.max_age_days
        )
    if rule.max_unused_days is not None and unused_s > rule.max_unused_days * DAY_S:
        return Why(
            f"unused for {unused_s / DAY_S:.1f} days, `max_unused_days` is {rule.max_unused_days:g}",
            "max_unused_days",
            rule.max_unused_days,
        )
    return None


def _surplus(documents: int, taken_bytes: int, rule: RetentionSettings) -> Why | None:
    """Why one more has to go where so many documents and bytes are left."""
    if rule.max_documents is not None and documents > rule.max_documents:
        return Why(
            f"the longest unused of {documents} documents, `max_documents` is {rule.max_documents}",
            "max_documents",
            rule.max_documents,
        )
    if rule.max_mb is not None and taken_bytes > rule.max_mb * MB:
        return Why(
            f"the longest unused of {taken_bytes / MB:.2f} MB, `max_mb` is {rule.max_mb:g}", "max_mb", rule.max_mb
        )
    return None


def tombstone_of(expiry: Expiry, now: float) -> Tombstone | None:
    """The tombstone of a document that goes; None if it was posted as text, for then nothing brings it back by itself.

    :param now: seconds since 1970.
    """
    record = expiry.document.record
    if record.location is None:
        return None
    return Tombstone(
        record.id,
        record.source,
        record.location,
        record.version,
        record.content_hash,
        record.ingested_at,
        now,
        expiry.reason,
        expiry.rule,
        expiry.allowed,
    )


def keeps_out(tombstone: Tombstone, rule: RetentionSettings | None, now: float) -> bool:
    """Whether retention as it is now would take the document out, were it in again and as old as it is.

    Of count and bytes it is not asked whether there is room by now, only whether more is allowed than was then.

    :param rule: of the collection; None if it has none.
    :param now: seconds since 1970.
    """
    if rule is None:
        return False
    if outlived(tombstone.ingested_at, tombstone.ingested_at, rule, now):
        return True
    if tombstone.rule not in ("max_documents", "max_mb"):
        return False
    allows: float | None = getattr(rule, tombstone.rule)
    return allows is not None and allows <= tombstone.allowed
