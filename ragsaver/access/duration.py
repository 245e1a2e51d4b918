"""How long something is to last, as people write it: `90d`, `24h`, `15m`."""

import re

from ragsaver.errors import UsageError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_FORM = re.compile(r"(\d{1,6})([smhdw])")


def seconds_of(text: str, what: str) -> float:
    """Seconds.

    :param what: it is for, for the error: `--expires`.
    :raises UsageError: if it is no such text.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"`{text}` is no length of time", where=what, remedy="Write 90d, 24h or 15m")
    return int(found[1]) * _SECONDS[found[2]]
