"""How fast is the machine just now? Shared ones change it by half from one quarter of an hour to the next."""

import time

ADDITIONS = 10_000_000


def loop_s() -> float:
    """Seconds that ten million additions take the interpreter."""
    started = time.perf_counter()
    total = 0
    for number in range(ADDITIONS):
        total += number
    return round(time.perf_counter() - started, 2)
