"""How a moment is written down for people and programs: ISO 8601, UTC, whole seconds."""

from datetime import UTC, datetime


def iso(seconds: float) -> str:
    """A moment, in seconds since 1970, as `2026-01-31T12:00:00+00:00`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
