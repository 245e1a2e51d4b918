"""Secrets stay out of what is logged: fields named like one, the settings' own values, and what looks like one."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from pydantic import BaseModel, SecretStr

from ragsaver.logs.redaction import without_secrets
from ragsaver.settings import Settings, environment

MASK = "[secret]"
# What is logged again and again is looked at once: so many values up to that length are remembered with their masks.
_SEEN, _SHORT = 1024, 64
# A shorter value may stand anywhere in a line without being the secret.
_LEAST = 4
_HARMLESS = (int, float, bool)
_VARIABLES = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "QDRANT_API_KEY",
    "QDRANT_URL",
    "REDIS_URL",
    "CELERY_BROKER_URL",
)
_FIELD = re.compile(
    r"(?i)(?:^|[_.-])(?:(?:api|access|private|secret)[_-]?keys?|authorization|passwords?|passwd|pwd|secrets?|token"
    r"|cookies?|set-cookie|credentials?|key|sig|signature)$"
)


class Secrets:
    """The values that a process must not write, in every way that a text may hold them. Safe from any thread."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._form: re.Pattern[str] | None = None
        self._seen: dict[tuple[str, str], str] = {}
        self._adding = threading.Lock()

    def add(self, value: str) -> None:
        """From now on this value is masked."""
        if len(value) < _LEAST:
            return
        with self._adding:
            self._values.update(one for one in _written(value) if len(one) >= _LEAST)
            longest_first = sorted(self._values, key=lambda one: (-len(one), one))
            self._form = re.compile("|".join(map(re.escape, longest_first)))
            self._seen = {}  # after the form: who still masks by the old one remembers it in the old one

    def add_settings(self, settings: Settings) -> None:
        """Those of the settings, and of the variables that stand in for them."""
        for value in _of(settings):
            self.add(value)
        for name in _VARIABLES:
            for value in _of_text(name, environment(name) or ""):
                self.add(value)

    def mask_known(self, text: str) -> str:
        """The text without the values that were added."""
        return text if self._form is None else self._form.sub(MASK, text)

    def mask(self, value: Any) -> Any:
        """A value to log, at any depth, without secrets."""
        if isinstance(value, str):
            return without_secrets(self.mask_known(value))
        if isinstance(value, SecretStr):
            return MASK
        if isinstance(value, Mapping):
            return {str(name): self.field(str(name), one) for name, one in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.mask(one) for one in value]
        return value if value is None or isinstance(value, bool | int | float) else self.mask(str(value))

    def field(self, name: str, value: Any) -> Any:
        """The value of a field, masked whole where the field is named like a secret."""
        if type(value) is not str or len(value) > _SHORT:
            if type(value) in _HARMLESS and not _is_secret(name):
                return value
            return MASK if value is not None and _is_secret(name) else self.mask(value)
        seen = self._seen
        masked = seen.get((name, value))
        if masked is None:
            masked = MASK if _is_secret(name) else self.mask(value)
            if len(seen) >= _SEEN:
                seen.clear()
            seen[name, value] = masked
        return masked


@lru_cache(_SEEN)
def _is_secret(name: str) -> bool:
    return _FIELD.search(name) is not None


def _written(value: str) -> Iterator[str]:
    yield value
    yield quote(value, safe="")
    yield quote_plus(value)
    yield json.dumps(value)[1:-1]
    yield repr(value)[1:-1]


def _of(value: Any, name: str = "") -> Iterator[str]:
    """The secrets in a part of the settings."""
    if isinstance(value, BaseModel):
        for below in type(value).model_fields:
            yield from _of(getattr(value, below), below)
    elif isinstance(value, Mapping):
        if value.get("type") == "env_var":  # a secret as Haystack writes it
            yield from (environment(str(variable)) or "" for variable in value.get("env_vars") or ())
        for below, one in value.items():
            yield from _of(one, str(below))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _of(one, name)
    elif isinstance(value, SecretStr):
        yield value.get_secret_value()
        yield from _of_text("", value.get_secret_value())
    elif isinstance(value, str):
        yield from _of_text(name, value)


def _of_text(name: str, text: str) -> Iterator[str]:
    if _FIELD.search(name):
        yield text
    if "://" not in text:
        return
    try:
        parts = urlsplit(text)
        if parts.password:
            yield unquote(parts.password)
            yield f"{parts.username}:{parts.password}"
        for key, value in parse_qsl(parts.query):
            if _FIELD.search(key):
                yield value
    except ValueError:
        return


# Of this process.
KNOWN = Secrets()
