"""A real index, manifest and cache in a folder, and an encoder that counts what it is paid for."""

import copy
import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ragsaver.caching.embeddings import SqliteEmbeddingCache
from ragsaver.caching.opening import open_summary_cache
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.asking import Asking, Reply, Summariser, Tokens
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.opening import open_manifest
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.summarising import Summaries
from ragsaver.ingestion.verify import verify
from ragsaver.ingestion.writers import Writers
from ragsaver.settings import Settings
from ragsaver.spend.prices import PriceBook

SCOPE = Scope("acme", "docs")


class CountingEncoder:
    """Stands in for the costly model: vectors from a digest, and every text that was paid for."""

    name, dim, fingerprint = "counting", 16, "c" * 32

    def __init__(self):
        self.paid: list[str] = []

    def encode(self, texts, progress=None, *, query=False):
        self.paid.extend(texts)
        return self.vectors(texts)

    def vectors(self, texts):
        rows = [np.frombuffer(hashlib.sha512(text.encode()).digest()[:16], dtype=np.uint8) for text in texts]
        vectors = np.array(rows, dtype=np.float32).reshape(len(texts), 16) - 127
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if len(texts) else vectors

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]


class CountingSummariser:
    """Stands in for the language model: every section that it was paid for; it is silent while it is `down`."""

    def __init__(self):
        self.paid: list[str] = []
        self.down = False

    def worst(self, instructions, data):
        return Tokens(10, 0, 2)

    def ask(self, instructions, data, timeout_s):
        if self.down:
            return Reply("", problem="it is down", again=False)
        self.paid.append(data)
        return Reply(f"It says {len(self.paid)}.", Tokens(10, 0, 2))


class Stopped(KeyboardInterrupt):
    """The process ends here."""


class Bench:
    """What an ingestion works with. `folder/docs` holds the documents.

    :param opening: opens another engine than the embedded one.
    """

    def __init__(self, folder: Path, opening: Callable[[IndexIdentity], VectorIndex] | None = None, **settings: object):
        self.folder = folder
        self.docs = folder / "docs"
        self.docs.mkdir()
        self.settings = Settings.model_validate({"home": folder / "home", **settings})
        (folder / "home").mkdir()
        identity = IndexIdentity("counting", "c" * 32, 16, "english", 50.0)
        self.index = opening(identity) if opening else EdgeIndex(folder / "home" / "index", identity)
        self.manifest = open_manifest(self.settings, folder / "home")
        self.cache = SqliteEmbeddingCache(folder / "home" / "embeddings.sqlite", 2**30)
        self.encoder = CountingEncoder()
        self.summaries: Summaries | None = None

    def summarise_by(self, summariser: Summariser) -> None:
        """From now on sections are summarised, as the settings say."""
        asking = Asking(1, 1e9, clock=itertools.count(0, 100.0).__next__)  # nobody rests for long
        self.summaries = Summaries(
            self.settings.outline,
            open_summary_cache(self.settings.home, self.settings.outline),
            summariser,
            PriceBook().price("nobody's"),
            asking,
        )

    def beside(self, manifest: Manifest) -> "Bench":
        """The same as another process has it, but for its own manifest."""
        other = copy.copy(self)
        other.manifest = manifest
        return other

    def ingestor(
        self,
        stop_after: Step | None = None,
        *,
        writers: Writers | None = None,
        notice: Callable[[Step], None] = lambda step: None,
    ) -> Ingestor:
        """
        :param notice: called with each step once it is done.
        """

        def fault(step: Step) -> None:
            notice(step)
            if step == stop_after:
                raise Stopped

        return Ingestor(
            self.settings,
            self.index,
            self.encoder,
            self.manifest,
            self.cache,
            fault=fault,
            summaries=self.summaries,
            writers=writers,
        )

    def order(self, **more) -> IngestOrder:
        return IngestOrder(paths=(str(self.docs),), cwd=self.folder, **more)

    def ingest(self, stop_after: Step | None = None, *, scope: Scope = SCOPE, **more):
        return self.ingestor(stop_after).ingest(self.order(**more), scope)

    def plan(self, **more):
        return self.ingestor().plan(self.order(**more), SCOPE)

    def verify(self, *, vectors: bool = False):
        return verify(self.manifest, self.index, self.ingestor(), SCOPE, vectors=vectors)

    def found(self, words: str) -> set[str]:
        legs = self.index.search(SCOPE, words, self.encoder.vectors(["x"])[0], 50)
        return {hit.payload["text"] for hit in legs.lexical}

    def listed(self) -> set[str]:
        return {point for point, listed in self.index.ids(SCOPE) if listed}

    def close(self) -> None:
        if self.summaries:
            self.summaries.close()
        self.manifest.close()
        self.cache.close()
        self.index.close()
