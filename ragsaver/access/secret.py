"""The text of an API key, `rsk_ID_SECRET`: its id may be shown, its secret is known to its holder only.

A secret is 256 random bits, so a plain SHA-256 of it can be kept: there is nothing that could be guessed.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

PREFIX = "rsk_"
_FORM = re.compile(r"rsk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Presented:
    """A key that somebody shows."""

    id: str
    secret: str = field(repr=False)

    def text(self) -> str:
        """As its holder keeps it."""
        return f"{PREFIX}{self.id}_{self.secret}"


def new_id() -> str:
    """An id that no other key has."""
    return secrets.token_hex(8)


def new_secret() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)


def read(text: str) -> Presented | None:
    """A key's parts; None where it is none of ours."""
    found = _FORM.fullmatch(text)
    return Presented(found[1], found[2]) if found else None


def digest(secret: str) -> str:
    """What is kept of a secret: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(secret: str, kept: str) -> bool:
    """Whether `kept` was made of this secret; takes as long either way."""
    return hmac.compare_digest(digest(secret), kept)
