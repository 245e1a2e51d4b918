"""What Celery calls: the two tasks, and who does their work. A pool that forks is refused where it embeds."""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ragsaver.errors import SettingsError
from ragsaver.settings import Settings
from ragsaver.workers.app import CONVERT, EMBED, task_name
from ragsaver.workers.converting import Converting
from ragsaver.workers.embedding import Embedding
from ragsaver.workers.stages import Worker

if TYPE_CHECKING:
    from celery import Celery


class Hands:
    """The stages of one process, opened with its first task, so that nothing is opened before a fork."""

    def __init__(self, open_worker: Callable[[], Worker]) -> None:
        self._open_worker = open_worker
        self._opening = threading.Lock()

    @property
    def converting(self) -> Converting:
        """The first stage."""
        with self._opening:
            return self._converting

    @property
    def embedding(self) -> Embedding:
        """The second stage."""
        with self._opening:
            return self._embedding

    @cached_property
    def _worker(self) -> Worker:
        return self._open_worker()

    @cached_property
    def _converting(self) -> Converting:
        return Converting(self._worker)

    @cached_property
    def _embedding(self) -> Embedding:
        return Embedding(self._worker)

    def keep(self, processes: int) -> None:
        """End guarded processes beyond these: fewer threads work from now on."""
        if "_converting" in self.__dict__:
            self._converting.keep(processes)

    def close(self) -> None:
        """End the guarded processes."""
        if "_converting" in self.__dict__:
            self._converting.close()


def add_tasks(app: "Celery", settings: Settings, hands: Hands) -> None:
    """Give the app its two tasks, and refuse a pool that forks where it embeds."""
    from celery import bootsteps
    from celery.concurrency.prefork import TaskPool as Prefork
    from celery_batches import Batches

    def convert() -> None:
        hands.converting.convert()

    def embed(requests: Sequence[Any]) -> None:
        hands.embedding.embed(len(requests))

    app.task(convert, name=task_name(CONVERT))
    app.task(
        embed,
        name=task_name(EMBED),
        base=Batches,
        flush_every=settings.queue.embed_batch_documents,
        flush_interval=settings.queue.embed_wait_ms / 1000,
    )

    class RefuseForks(bootsteps.Step):  # type: ignore[misc]
        """No embedding in a process that was forked."""

        def __init__(self, parent: Any, **kwargs: Any) -> None:
            queues = parent.app.amqp.queues.consume_from
            if EMBED in queues and issubclass(parent.pool_cls, Prefork):
                raise SystemExit(f"ragsaver: {_refused()}")
            super().__init__(parent, **kwargs)

    app.steps["worker"].add(RefuseForks)


def _refused() -> SettingsError:
    return SettingsError(
        f"a worker of the queue `{EMBED}` can't run in the pool `prefork`: a model's session does not survive a fork",
        where="--pool",
        remedy="Start it with `--pool threads` or `--pool solo`; `ragsaver worker` does",
    )
