"""Keeps the index of a long-running process fast: looks now and then whether enough was written to optimise it."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ragsaver.errors import RagSaverError
from ragsaver.index.protocol import VectorIndex

_EVERY_S = 5.0

_log = logging.getLogger(__name__)


@contextmanager
def upkeep(index: Callable[[], VectorIndex], every_s: float = _EVERY_S) -> Iterator[None]:
    """Keep what `index` gives optimised for the code inside; questions and writes go on meanwhile."""
    stopping = threading.Event()
    thread = threading.Thread(target=_keep, args=(index, every_s, stopping), name="upkeep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        index().stop_optimising()
        thread.join()


def _keep(index: Callable[[], VectorIndex], every_s: float, stopping: threading.Event) -> None:
    while not stopping.wait(every_s):
        try:
            index().optimise()
        except RagSaverError as error:
            _log.warning("the index is not optimised: %s", error)
