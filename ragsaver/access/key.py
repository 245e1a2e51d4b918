"""An API key as it is kept and listed: whose it is, what it is for and how long; never its secret."""

from dataclasses import dataclass, field, replace

from ragsaver.access.identity import Identity, Permission
from ragsaver.access.secret import digest, same

# What no secret hashes to in practice: compared with where there is no key, so that this takes as long.
_NOBODY = digest("")


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Times are seconds since 1970.

    :ivar secret_hash: SHA-256 of its secret.
    :ivar previous_hash: of the secret that it had before it was rotated, good until `previous_until`.
    """

    id: str
    principal: str
    tenant: str
    groups: tuple[str, ...]
    permissions: tuple[Permission, ...]
    pipelines: tuple[str, ...] | None
    created_at: float
    secret_hash: str = field(repr=False)
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    previous_hash: str | None = field(default=None, repr=False)
    previous_until: float | None = None

    def good(self, now: float) -> bool:
        """Whether it lets anybody in."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def state(self, now: float) -> str:
        """In a word."""
        if self.revoked_at is not None:
            return "revoked"
        return "good" if self.good(now) else "expired"

    def fits(self, secret: str, now: float) -> bool:
        """Whether this is its secret, or the one before while that is good."""
        old = self.previous_hash if self.previous_until is not None and now < self.previous_until else None
        fits_new, fits_old = same(secret, self.secret_hash), same(secret, old or _NOBODY)
        return fits_new or (fits_old and old is not None)

    def rotated(self, secret_hash: str, now: float, overlap_s: float) -> "Key":
        """The same key with another secret; the one before is good for a while."""
        return replace(self, secret_hash=secret_hash, previous_hash=self.secret_hash, previous_until=now + overlap_s)

    def identity(self) -> Identity:
        """In whose name its holder asks."""
        return Identity(
            tenant=self.tenant,
            groups=frozenset(self.groups),
            principal=self.principal,
            key_id=self.id,
            permissions=frozenset(self.permissions),
            pipelines=self.pipelines,
        )


def fits_nobody(secret: str) -> bool:
    """Never; takes as long as `Key.fits`."""
    return [same(secret, _NOBODY), same(secret, _NOBODY)] == []
