"""Which documents does somebody mean? By source, place, age and metadata; every condition must hold."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ragsaver.errors import UsageError
from ragsaver.ingestion.order import Name
from ragsaver.ingestion.sources import location_of
from ragsaver.ingestion.standing import Standing

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


class DocumentSelection(BaseModel):
    """Conditions, as they go from the command line to whoever owns the index.

    :ivar cwd: the caller's working directory: names of places are relative to it.
    :ivar source: the document's name, or the place that it came from.
    :ivar under: a folder or a prefix; what lies under it by name or by place.
    :ivar older_than_s: seconds since it was brought in or changed.
    :ivar metadata: values by key, as text or JSON.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cwd: Path = Field(default_factory=Path.cwd)
    collection: Name | None = None
    source: str | None = None
    under: str | None = None
    older_than_s: float | None = Field(default=None, ge=0)
    metadata: dict[str, str] = Field(default_factory=dict)

    @property
    def takes_all(self) -> bool:
        """No condition was named."""
        return self.source is None and self.under is None and self.older_than_s is None and not self.metadata

    def takes(self, document: Standing, now: float) -> bool:
        """Whether every condition holds.

        :param now: seconds since 1970.
        """
        record = document.record
        names = (record.source, record.location or record.source)
        if self.source is not None and not {self.source, location_of(self.source, self.cwd)}.intersection(names):
            return False
        if self.under is not None and not any(
            name == root or name.startswith(root.rstrip("/") + "/")
            for name, root in zip(names, (self.under, location_of(self.under, self.cwd)), strict=True)
        ):
            return False
        if self.older_than_s is not None and now - record.ingested_at < self.older_than_s:
            return False
        return all(_has(document.metadata, key, value) for key, value in self.metadata.items())


def seconds_of(duration: str) -> float:
    """Seconds of `30d`, `12h`, `4w`, `90m` or `10s`.

    :raises UsageError: if it is none of these.
    """
    match = _DURATION.fullmatch(duration.strip())
    if not match:
        raise UsageError(f"`{duration}` is no duration", remedy="Write a number and s, m, h, d or w: 30d")
    return float(match.group(1)) * _SECONDS[match.group(2)]


def pairs_of(given: list[str]) -> dict[str, str]:
    """Values by key of `key=value` options.

    :raises UsageError: if one has no `=`, or a key comes twice.
    """
    pairs: dict[str, str] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key or key in pairs:
            raise UsageError(f"`{one}` is no condition", remedy="Write key=value, each key once")
        pairs[key] = value
    return pairs


def _has(metadata: Mapping[str, Any], key: str, value: str) -> bool:
    return key in metadata and value in (metadata[key], json.dumps(metadata[key]))
