"""What was embedded before, for all of a process: opened at its first use.

Questions ask it for what was read of passages' tokens; to them a cache that fails is one that has nothing.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ragsaver.caching.embeddings import EmbeddingCache
from ragsaver.caching.opening import open_embedding_cache, partition_of
from ragsaver.errors import StorageError
from ragsaver.settings import EmbeddingCacheSettings

_log = logging.getLogger(__name__)


class KeptEmbeddings:
    """The embedding cache of the settings, and a `TokenStore` in it; tenants share what they share of that."""

    def __init__(self, home: Path, settings: EmbeddingCacheSettings) -> None:
        self._home = home
        self._settings = settings
        self._opening = threading.Lock()
        self._opened: EmbeddingCache | None = None

    @property
    def cache(self) -> EmbeddingCache:
        """The cache.

        :raises StorageError: if the disk refuses.
        """
        with self._opening:
            if self._opened is None:
                self._opened = open_embedding_cache(self._home, self._settings)
            return self._opened

    def get(self, tenant: str, names: Sequence[str]) -> Mapping[str, bytes]:
        """What is there of texts' tokens."""
        if not self._settings.keeps_tokens:
            return {}
        try:
            return self.cache.tokens(partition_of(tenant, self._settings), names)
        except StorageError as error:
            _log.warning("what was read of passages is not looked up: %s", error)
            return {}

    def put(self, tenant: str, packed: Mapping[str, bytes]) -> None:
        """Keep some."""
        if not self._settings.keeps_tokens:
            return
        try:
            self.cache.put_tokens(partition_of(tenant, self._settings), packed)
        except StorageError as error:
            _log.warning("what was read of passages is not kept: %s", error)

    def close(self) -> None:
        """Let go of it."""
        with self._opening:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
