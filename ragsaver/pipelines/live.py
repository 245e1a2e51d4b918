"""One runtime takes another's place while requests run: what began on the old one ends on it, the rest has the new one.

Nobody keeps a runtime longer than the piece of work that it was asked for.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ragsaver.index.protocol import VectorIndex
from ragsaver.models.batching import BatchObserver
from ragsaver.pipelines.runtime import Runtime
from ragsaver.settings import Settings

_LOOK_S = 0.5


class LiveRuntime:
    """The runtime in use, and those that some work still runs on. Safe from any number of threads.

    :param runtime: the first one; `close` closes it.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._now = runtime
        self._open = [runtime]
        self._users: Counter[Runtime] = Counter()
        self._changed = threading.Condition()
        self._writing = False
        self._replacing = False

    @property
    def settings(self) -> Settings:
        """Those of the runtime in use."""
        return self._now.settings

    @property
    def index(self) -> VectorIndex:
        """The index in use, for who may find it closed a moment later."""
        return self._now.index

    @contextmanager
    def use(self) -> Iterator[Runtime]:
        """The runtime in use now, to read from; it stays open for the code inside."""
        with self._changed:
            runtime = self._now
            self._users[runtime] += 1
        try:
            yield runtime
        finally:
            with self._changed:
                self._users[runtime] -= 1
                self._changed.notify_all()

    @contextmanager
    def write(self) -> Iterator[Runtime]:
        """The runtime in use, to change what is in: one at a time, and none while another takes its place."""
        with self._changed:
            self._changed.wait_for(lambda: not self._writing and not self._replacing)
            self._writing = True
        try:
            with self.use() as runtime:
                yield runtime
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()

    def replace(self, new: Runtime, complete: Callable[[Runtime], None]) -> Runtime:
        """Put another runtime in place of the one in use, once what writes it now is done.

        :param new: open; closed together with this one unless `complete` raises.
        :param complete: gets the one in use while nobody writes it; what it raises keeps that one in use.
        :returns: the one that was in use; `let_go` closes it.
        """
        with self._changed:
            self._replacing = True  # from here on no writing begins, so the wait has an end
            self._changed.wait_for(lambda: not self._writing)
        try:
            complete(self._now)
            with self._changed:
                old, self._now = self._now, new
                self._open.append(new)
            return old
        finally:
            with self._changed:
                self._replacing = False
                self._changed.notify_all()

    def replaced(self, old: Runtime, patience_s: float) -> bool:
        """Wait until another runtime has taken the place of this one; whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._now is not old, patience_s)

    def let_go(self, old: Runtime, last: Callable[[], None], stopping: threading.Event) -> bool:
        """Wait until nothing runs on a runtime that was replaced, then close it.

        :param last: called when nothing runs on it any more and it is still open.
        :param stopping: ends the wait; `close` closes it then.
        :returns: whether it is closed.
        """
        with self._changed:
            while self._users[old] and not stopping.is_set():
                self._changed.wait(_LOOK_S)
            if self._users[old]:
                return False
            del self._users[old]
        try:
            last()
        finally:
            self._open.remove(old)
            old.close()
        return True

    def close(self) -> None:
        """Close all that is open; no work runs any more."""
        while self._open:
            self._open.pop().close()


@contextmanager
def open_live(settings: Settings, role: str, on_batch: BatchObserver | None = None) -> Iterator[LiveRuntime]:
    """Own the index under `settings.home` for the code inside, as `open_runtime` does."""
    runtime = Runtime.open(settings, role, on_batch)
    live = LiveRuntime(runtime)
    try:
        yield live
    finally:
        live.close()
        runtime.ownership.release()
