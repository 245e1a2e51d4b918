"""How log lines look and where they go: JSON or text, to stderr or a file, and never with a secret in them."""

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ragsaver.control_characters import SHOWN
from ragsaver.errors import StorageError
from ragsaver.logs.secrets import KNOWN
from ragsaver.settings import Settings, environment

_LIBRARIES_AT_LEAST = logging.WARNING
_TRACES = ("exception", "stack")
# Nobody who is logged may end a line, move the cursor or turn the direction of writing.
_CONTROLS_IN_TRACES = {code: shown for code, shown in SHOWN.items() if chr(code) not in "\n\t"}

# A value with one of these stands in quotes.
_QUOTED = frozenset(" \t=\r\n\"'")

_log = logging.getLogger("ragsaver")


def configure(settings: Settings) -> None:
    """Log by the settings, from now on, in this process: what RAGSaver and its libraries say, and what ends a thread.

    :raises StorageError: if the file can't be written.
    """
    KNOWN.add_settings(settings)
    handler = _handler(settings.logging.file)
    handler.setFormatter(_formatter(settings.logging.format, colours=settings.logging.file is None))
    level = logging.getLevelNamesMapping()[settings.logging.level.upper()]
    root = logging.getLogger()
    for before in [one for one in root.handlers if getattr(one, "of_ragsaver", False)]:
        root.removeHandler(before)
        before.close()
    handler.of_ragsaver = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(max(level, _LIBRARIES_AT_LEAST))
    _log.setLevel(level)
    logging.raiseExceptions = False  # it prints what could not be logged, as it is
    sys.excepthook = _ended
    threading.excepthook = _thread_ended


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Put these fields into every line that is written inside."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def tell(logger: logging.Logger, level: int, event: str, fields: dict[str, Any]) -> None:
    """Write a line of fields; those that are None are left out."""
    if logger.isEnabledFor(level):
        told = {name: value for name, value in fields.items() if value is not None}
        logger.log(level, event, extra={"told": told})


def _handler(file: Path | None) -> logging.Handler:
    if file is None:
        return logging.StreamHandler(sys.stderr)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        return _PrivateFileHandler(file, encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"the log can't be written: {error.strerror}",
            where=str(file),
            remedy="Set `logging.file` to a place of yours",
        ) from error


class _PrivateFileHandler(WatchedFileHandler):
    """Goes on in a new file when the old one was moved away, and makes it for its owner only."""

    def _open(self) -> Any:
        os.close(os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        return super()._open()


def _formatter(form: str, *, colours: bool) -> logging.Formatter:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _take_fields,
    ]
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _without_secrets,
    ]
    coloured = colours and sys.stderr.isatty() and not environment("NO_COLOR")
    if form == "json":
        last += [_first_things_first, structlog.processors.JSONRenderer()]
    else:
        last += [
            _on_one_line,
            structlog.dev.ConsoleRenderer(
                colors=coloured,
                exception_formatter=structlog.dev.plain_traceback,
                pad_event_to=0,
            ),
        ]
    return _Formatter(form, coloured, foreign_pre_chain=shared, processors=last)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Writes a line that `tell` was told, the one of each request, at once; it is what the processors would make."""

    def __init__(self, form: str, coloured: bool, **of_structlog: Any) -> None:
        super().__init__(**of_structlog)
        self._json = form == "json"
        self._plain = self._json or not coloured

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] | None = getattr(record, "told", None)
        if told is None or not self._plain or record.exc_info or record.stack_info:
            return super().format(record)
        around = structlog.contextvars.get_contextvars()
        fields = {"event": record.getMessage(), **around, "logger": record.name, **told}
        said: EventDict = {"timestamp": _now(), "level": record.levelname.lower()}
        said.update(_without_secrets(None, "", fields))
        if self._json:
            return json.dumps(_first_things_first(None, "", said), default=repr)
        said = _on_one_line(None, "", said)
        timestamp, level, event, logger = (said.pop(name) for name in ("timestamp", "level", "event", "logger"))
        rest = "".join(f" {name}={_value(said[name])}" for name in sorted(said))
        return f"{timestamp} [{level:<9}] {event} [{logger}]{rest}"


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _value(value: Any) -> str:
    return value if isinstance(value, str) and _QUOTED.isdisjoint(value) else repr(value)


def _take_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    event.update(getattr(record, "told", {}))
    return event


def _without_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {name: KNOWN.field(name, value) for name, value in event.items()}


def _first_things_first(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    first = {name: event[name] for name in ("timestamp", "level", "event", "request_id") if name in event}
    return {**first, **event}


def _on_one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {
        name: value.translate(_CONTROLS_IN_TRACES if name in _TRACES else SHOWN)
        if isinstance(value, str) and not value.isprintable()
        else value
        for name, value in event.items()
    }


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("the process failed", exc_info=(kind, error, trace))


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        name = ended.thread.name if ended.thread else "a thread"
        _log.critical("%s failed", name, exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback))
