"""What Celery calls: the two tasks. A pool that forks is refused where it embeds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ragsaver.errors import SettingsError
from ragsaver.settings import Settings
from ragsaver.workers.app import CONVERT, EMBED, task_name
from ragsaver.workers.hands import Hands, K

if TYPE_CHECKING:
    from celery import Celery


def add_tasks(app: "Celery", settings: Settings, hands: Hands[K]) -> None:
    """Give the app its two tasks, and refuse a pool that forks where it embeds."""
    from celery import bootsteps
    from celery.concurrency.prefork import TaskPool as Prefork
    from celery_batches import Batches

    def convert() -> None:
        with hands.stages() as stages:
            stages.converting.convert()

    def embed(requests: Sequence[Any]) -> None:
        with hands.stages() as stages:
            stages.embedding.embed(len(requests))

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
