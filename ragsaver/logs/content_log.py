"""Keep what was said, by policy, without anybody waiting for it; and let go of it when its time has come."""

import logging
import queue
import threading
import time
from collections.abc import Callable

from ragsaver.logs.content_store import ContentStore
from ragsaver.logs.observed import Observed
from ragsaver.logs.policy import Said, by_policy, key_of, sampled, wanted
from ragsaver.settings import Settings

DAY_S = 86_400.0
# Waiting to be written; what comes beyond that is dropped, and said so.
_MOST_WAITING = 1000
_TOGETHER = 100
_CLOSE_S = 10.0

_log = logging.getLogger(__name__)


class ContentLog:
    """Takes what was said in requests from any thread; one of its own writes it and removes what is too old.

    :param clock: seconds since 1970.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._home = settings.home
        self._settings = settings.logging
        self._store = ContentStore(settings.home)
        self._clock = clock
        self._waiting: queue.Queue[Said | None] = queue.Queue(_MOST_WAITING)
        self._writer: threading.Thread | None = None
        self._starting = threading.Lock()
        self._dropped = 0
        self._cleaned_at: float | None = None

    def keep(self, observed: Observed, request_id: str, outcome: str) -> None:
        """Keep what was said in a request, if the policy wants it and its id is in the sample."""
        if observed.question is None or observed.tenant is None or not wanted(self._settings):
            return
        if not sampled(request_id, self._settings.sample):
            return
        said = Said(
            at=self._clock(),
            request_id=request_id,
            tenant=observed.tenant,
            principal=observed.principal,
            pipeline=observed.pipeline,
            outcome=outcome,
            question=observed.question,
            contexts=tuple(observed.contexts),
            answer=observed.answer,
        )
        self.start()
        try:
            self._waiting.put_nowait(said)
        except queue.Full:
            self._dropped += 1
            if self._dropped in (1, 100, 10_000):
                _log.warning("the content log is too slow: %d entries dropped so far", self._dropped)

    def start(self) -> None:
        """Begin to write, and to remove what is too old: at once, then every day."""
        with self._starting:
            if self._writer is None:
                self._writer = threading.Thread(target=self._run, name="content log", daemon=True)
                self._writer.start()

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        if self._writer is not None:
            self._waiting.put(None)
            self._writer.join(_CLOSE_S)
        self._store.close()

    def clean(self) -> int:
        """Remove what is older than `logging.retention_days`; how many entries that were."""
        self._cleaned_at = self._clock()
        return self._store.purge(before=self._cleaned_at - self._settings.retention_days * DAY_S)

    def _run(self) -> None:
        while True:
            self._guarded(self._clean_if_due)
            some, ended = self._next()
            if some:
                self._guarded(lambda these=some: self._write(these))  # type: ignore[misc]
            if ended:
                return

    def _next(self) -> tuple[list[Said], bool]:
        """What waits, all of it together; nothing after a while, and whether that is the end."""
        some: list[Said] = []
        try:
            one = self._waiting.get(timeout=3600)
            while one is not None:
                some.append(one)
                if len(some) == _TOGETHER:
                    return some, False
                one = self._waiting.get_nowait()
            return some, True
        except queue.Empty:
            return some, False

    def _write(self, some: list[Said]) -> None:
        policy = self._settings.content
        key = key_of(self._home) if policy == "hashed" else None
        self._store.add([by_policy(one, policy, key) for one in some], policy)

    def _clean_if_due(self) -> None:
        if self._cleaned_at is None or not 0 <= self._clock() - self._cleaned_at < DAY_S:
            self.clean()

    def _guarded(self, work: Callable[[], None]) -> None:
        """What can't be kept stops nobody."""
        try:
            work()
        except Exception:
            _log.warning("the content log can't be written", exc_info=True)
