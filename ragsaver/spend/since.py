"""From when on is spending told?"""

from datetime import UTC, datetime

from ragsaver.errors import UsageError


def seconds_of(moment: datetime, where: str) -> float:
    """Seconds since 1970 of a moment, in UTC if it names no zone.

    :param where: it was given, for the error.
    :raises UsageError: if in UTC it is before the year 1 or after 9999.
    """
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except OverflowError:
        problem = f"{moment.isoformat()} is beyond the calendar in UTC"
        raise UsageError(problem, where=where, remedy="Write 2026-11-01") from None
