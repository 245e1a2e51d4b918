"""What is asked of the broker: take messages, and say how many wait. A message names no document: the work is in the
job store.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ragsaver.errors import BrokerUnavailable
from ragsaver.settings import Settings
from ragsaver.workers.app import broker_url, make_app, task_name

if TYPE_CHECKING:
    from celery import Celery


class Broker:
    """The sending end of the queues. Opened with the first message.

    :param app: the worker's own, where this is one.
    :raises SettingsError: if none is named.
    :raises MissingExtra: if Celery is not installed.
    """

    def __init__(self, settings: Settings, app: "Celery | None" = None) -> None:
        self._app = app or make_app(settings)
        self._shown = broker_url(settings).rpartition("@")[2]

    def check(self) -> None:
        """:raises BrokerUnavailable: if it does not answer."""
        with self._answering(), self._app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.2, timeout=5.0)

    def send(self, queue: str, count: int) -> None:
        """So many messages, each of which says that a document waits; which one is next, the job store says.

        :raises BrokerUnavailable: if it does not answer.
        """
        if not count:
            return
        with self._answering(), self._app.producer_pool.acquire(block=True) as producer:
            for _ in range(count):
                self._app.send_task(task_name(queue), queue=queue, producer=producer, ignore_result=True)

    def backlog(self, queue: str) -> int:
        """Messages that no worker has taken yet.

        :raises BrokerUnavailable: if it does not answer.
        """
        with self._answering(), self._app.connection_for_write() as connection, connection.channel() as channel:
            return int(channel.queue_declare(queue=queue, durable=True).message_count)

    def close(self) -> None:
        """Let go of the connections."""
        self._app.close()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        from kombu.exceptions import OperationalError
        from redis.exceptions import RedisError

        try:
            yield
        except (OperationalError, RedisError, OSError) as error:
            raise BrokerUnavailable(
                f"the broker does not answer: {str(error).rstrip('.')}",
                where=self._shown,
                remedy="Start it, or correct `queue.broker_url`; what was queued before is not lost",
            ) from error
