"""What of the process's surroundings is asked for."""

import os


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def environment(name: str) -> str | None:
    """One variable that belongs to another tool's convention (`NO_COLOR`, `OPENAI_API_KEY`)."""
    return os.environ.get(name)


def quiet_haystack() -> None:
    """Turn Haystack's telemetry off, unless the operator decided about it; call before importing Haystack."""
    os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")
