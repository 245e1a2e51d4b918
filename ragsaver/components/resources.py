"""What components share in a process: the settings, the index, the model, the prices.

RAGSaver's loader binds them to every component that has a `bind` method, so the YAML holds plain values only.
A component that plain Haystack loaded is bound at its first run to what `ragsaver.yaml` in the working
directory names.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ragsaver.index.protocol import VectorIndex
from ragsaver.models.protocol import Encoder
from ragsaver.settings import Settings
from ragsaver.spend.prices import PriceBook


@dataclass(frozen=True, slots=True)
class Resources:
    """Shared by every component of a process."""

    settings: Settings
    index: VectorIndex
    encoder: Encoder
    prices: PriceBook


@runtime_checkable
class NeedsResources(Protocol):
    """A component that works on the process's index, model or prices."""

    def bind(self, resources: Resources) -> None:
        """Take the resources; called once, before the first run."""
        ...
