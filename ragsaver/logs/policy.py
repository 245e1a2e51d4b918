"""What is kept of what was said: nothing, hashes, redacted texts or all of it, of a share of the requests."""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ragsaver.errors import StorageError
from ragsaver.logs.redaction import redact
from ragsaver.logs.secrets import KNOWN
from ragsaver.settings import LoggingSettings

KEY_FILE = "content.key"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Said:
    """What was said in a request, as it is or as the policy leaves it."""

    at: float
    request_id: str
    tenant: str
    principal: str | None
    pipeline: str | None
    outcome: str
    question: str
    contexts: tuple[str, ...]
    answer: str | None


def sampled(request_id: str, share: float) -> bool:
    """Whether a request is among the share that is kept; the same id always gives the same answer.

    It is if the first 8 bytes of the SHA-256 of its id, as a fraction of 2^64, are below the share.
    """
    first = int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8], "big")
    return first < share * 2**64


def hashed(text: str, tenant: str, key: bytes) -> str:
    """An HMAC-SHA256, so that the same text of a tenant can be counted; case and spaces make no difference."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hmac.new(key, json.dumps([tenant, plain]).encode(), hashlib.sha256).hexdigest()


def by_policy(said: Said, policy: str, key: bytes | None) -> Said:
    """What may be kept of it.

    :param policy: `hashed`, `redacted` or `full`.
    :param key: of the hashes.
    """
    change: Callable[[str], str]
    if policy == "full":
        change = KNOWN.mask_known
    elif policy == "redacted":
        change = _redacted
    else:
        assert policy == "hashed" and key is not None
        change = _hashing(said.tenant, key)
    return replace(
        said,
        question=change(said.question),
        contexts=tuple(change(one) for one in said.contexts),
        answer=None if said.answer is None else change(said.answer),
    )


def _redacted(text: str) -> str:
    return redact(KNOWN.mask_known(text))


def _hashing(tenant: str, key: bytes) -> Callable[[str], str]:
    return lambda text: hashed(text, tenant, key)


def key_of(home: Path) -> bytes:
    """The key of a project's hashes, made once; only this user can read it.

    :raises StorageError: if it can't be read or made.
    """
    file = home / KEY_FILE
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _make(file)
        key = file.read_bytes()
    except OSError as error:
        raise StorageError(f"the key of the hashes can't be had: {error.strerror}", where=str(file)) from error
    if len(key) != _KEY_BYTES:
        raise StorageError(
            "this is no key for hashes", where=str(file), remedy="Restore it, or remove it: then other hashes begin"
        )
    return key


def _make(file: Path) -> None:
    """Two processes may do it at once: the first one's key stays."""
    mine = file.with_name(f"{KEY_FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as made:
            made.write(secrets.token_bytes(_KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(mine, file)
    finally:
        mine.unlink()


def wanted(settings: LoggingSettings) -> bool:
    """Whether anything of what is said may be kept at all."""
    return settings.content != "none" and settings.sample > 0
