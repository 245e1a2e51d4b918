"""Which documents of a collection have to go, and why? Decided from what they are and what the settings allow."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragsaver.ingestion.standing import Standing
from ragsaver.settings import RetentionSettings

DAY_S = 86_400.0
MB = 2**20


@dataclass(frozen=True, slots=True)
class Expiry:
    """A document that goes, and the reason in words."""

    document: Standing
    reason: str


def expiries(documents: Sequence[Standing], rule: RetentionSettings, now: float) -> list[Expiry]:
    """The documents that go: too old, too long unused, then the longest unused ones beyond the count and the bytes.

    :param now: seconds since 1970.
    """
    going: list[Expiry] = []
    staying: list[Standing] = []
    for document in sorted(documents, key=_last_to_go_last):
        reason = _outlived(document, rule, now)
        if reason:
            going.append(Expiry(document, reason))
        else:
            staying.append(document)
    left_bytes = sum(document.bytes for document in staying)
    for number, document in enumerate(staying):
        reason = _surplus(len(staying) - number, left_bytes, rule)
        if not reason:
            break
        going.append(Expiry(document, reason))
        left_bytes -= document.bytes
    return going


def _last_to_go_last(document: Standing) -> tuple[float, float, str]:
    return document.touched_at, document.record.ingested_at, document.record.id


def _outlived(document: Standing, rule: RetentionSettings, now: float) -> str | None:
    age_s, unused_s = now - document.record.ingested_at, now - document.touched_at
    if rule.max_age_days is not None and age_s > rule.max_age_days * DAY_S:
        return f"{age_s / DAY_S:.1f} days old, `max_age_days` is {rule.max_age_days:g}"
    if rule.max_unused_days is not None and unused_s > rule.max_unused_days * DAY_S:
        return f"unused for {unused_s / DAY_S:.1f} days, `max_unused_days` is {rule.max_unused_days:g}"
    return None


def _surplus(documents: int, taken_bytes: int, rule: RetentionSettings) -> str | None:
    """Why one more has to go where so many documents and bytes are left."""
    if rule.max_documents is not None and documents > rule.max_documents:
        return f"the longest unused of {documents} documents, `max_documents` is {rule.max_documents}"
    if rule.max_mb is not None and taken_bytes > rule.max_mb * MB:
        return f"the longest unused of {taken_bytes / MB:.2f} MB, `max_mb` is {rule.max_mb:g}"
    return None
