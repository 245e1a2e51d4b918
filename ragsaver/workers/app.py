"""How Celery is set up: on Redis, JSON only, a message is done with when its work is.

Retries are not Celery's: a message that waits for its time would be redelivered after the visibility timeout. They
are in the job store, and `tending` sends them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ragsaver.errors import MissingExtra, SettingsError
from ragsaver.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

CONVERT, EMBED = "convert", "embed"
QUEUES = (CONVERT, EMBED)
_CONNECT_S = 5.0


def task_name(queue: str) -> str:
    """The task whose messages a queue holds."""
    return f"ragsaver.{queue}"


def broker_url(settings: Settings) -> str:
    """Where the broker is.

    :raises SettingsError: if none is named.
    """
    if settings.queue.broker_url is None:
        raise SettingsError(
            "no broker is named", where="queue.broker_url", remedy="Set it, or REDIS_URL, to redis://HOST:PORT/0"
        )
    return settings.queue.broker_url.get_secret_value()


def make_app(settings: Settings) -> "Celery":
    """A Celery app that can send; `worker` gives it the tasks.

    :raises SettingsError: if no broker is named.
    :raises MissingExtra: if Celery is not installed.
    """
    url = broker_url(settings)
    try:
        from celery import Celery
        from kombu import Queue
    except ImportError as error:
        raise MissingExtra(
            f"{error.name} is not installed", remedy="Install it: pip install 'ragsaver[workers]'"
        ) from error
    app = Celery("ragsaver", broker=url, set_as_current=False)
    app.conf.update(_conf(settings), task_queues=[Queue(name, routing_key=name) for name in QUEUES])
    return app


def _conf(settings: Settings) -> dict[str, Any]:
    return {
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "task_routes": {task_name(queue): {"queue": queue} for queue in QUEUES},
        "task_default_queue": CONVERT,
        "task_create_missing_queues": False,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.2},
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": _CONNECT_S,
        "broker_transport_options": {
            "visibility_timeout": settings.queue.visibility_timeout_s,
            "socket_connect_timeout": _CONNECT_S,
            "socket_keepalive": True,
        },
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
    }


def known_queues(names: Sequence[str]) -> tuple[str, ...]:
    """The queues named, each once.

    :raises SettingsError: if one is none.
    """
    wrong = [name for name in names if name not in QUEUES]
    if wrong or not names:
        raise SettingsError(
            f"there is no queue {', '.join(wrong) or 'named'}", where="--queues", remedy=f"Queues: {', '.join(QUEUES)}"
        )
    return tuple(dict.fromkeys(names))
