"""What components share in a process: the settings, the index, the model, the prices.

RAGSaver's loader binds them to every component that has a `bind` method, so the YAML holds plain values only.
A component that plain Haystack loaded binds itself, at its first use, to what `ragsaver.yaml` in the working
directory names.
"""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from ragsaver.components.caches import Caches
from ragsaver.components.favourites import Favourites
from ragsaver.components.kept_embeddings import KeptEmbeddings
from ragsaver.components.loop_guard import LoopGuard
from ragsaver.components.question_vectors import QuestionVectors
from ragsaver.components.request import current_request
from ragsaver.components.reranking import Reranking
from ragsaver.components.uses import UseLog
from ragsaver.database import Place
from ragsaver.index.generation import settings_at
from ragsaver.index.manifest_place import manifest_place
from ragsaver.index.opening import open_index
from ragsaver.index.ownership import Ownership
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.scope import Scope
from ragsaver.index.store import current_store
from ragsaver.models.protocol import Encoder
from ragsaver.models.registry import load_encoder
from ragsaver.settings import Settings
from ragsaver.settings_file import load_settings
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.till import Till


def reader(settings: Settings, collection: str | None = None) -> Scope:
    """What questions may see: the settings say in whose name they are asked."""
    return Scope(settings.tenant, collection or settings.collection, frozenset(settings.groups))


@dataclass(frozen=True, slots=True)
class Resources:
    """Shared by every component of a process.

    :ivar default_scope: what a question may see that says no collection.
    :ivar store: the folder that holds the index and the manifest.
    :ivar manifest_at: where the manifest is that speaks of the index, if that is in a server; None for the store's.
    :ivar embeddings: what was embedded before.
    :ivar embed_question: a question's vector, (dim,) float32; those asked at the same time share a run of the model,
        and those asked before need none.
    :ivar till: where calls of language models are paid for.
    """

    settings: Settings
    index: VectorIndex
    encoder: Encoder
    prices: PriceBook
    ownership: Ownership
    store: Path
    manifest_at: Place | None = None
    uses: UseLog = field(default_factory=UseLog)
    favourites: Favourites = field(default_factory=Favourites)
    default_scope: Scope = field(init=False)
    embeddings: KeptEmbeddings = field(init=False)
    reranking: Reranking = field(init=False)
    loops: LoopGuard = field(init=False)
    till: Till = field(init=False)
    caches: Caches = field(init=False)
    embed_question: QuestionVectors = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "loops", LoopGuard(self.settings.server.loop_guard))
        kept = KeptEmbeddings(self.settings.home, self.settings.embedding_cache)
        object.__setattr__(self, "embeddings", kept)
        object.__setattr__(self, "default_scope", reader(self.settings))
        object.__setattr__(self, "till", Till(self.settings, self.prices, self.encoder.count_tokens))
        object.__setattr__(self, "caches", Caches(self.settings))
        most, price = self.settings.embedding.query_batch, self.settings.spend.embedding_per_mtok
        asked = QuestionVectors(self.encoder, self.caches, most, self.till, price, lambda: self.by_tokens)
        object.__setattr__(self, "embed_question", asked)
        object.__setattr__(self, "reranking", Reranking(self.settings, self.encoder, self.prices, kept, asked))

    @property
    def by_tokens(self) -> bool:
        """Whether sentences are held against questions by the vectors of their tokens, where a packer says nothing."""
        wanted = self.settings.context.match
        if wanted is not None:
            return wanted == "tokens"
        # whether it is a `TokenEncoder` takes longer to ask, and is asked with every question
        return self.settings.embedding_cache.keeps_tokens and bool(getattr(self.encoder, "gives_tokens", False))

    def close(self) -> None:
        """Flush and close the index, whose owner this process stays; `uses` is closed by whoever gave it its place to
        write.
        """
        self.reranking.close()
        self.till.close()
        self.caches.close()
        self.embeddings.close()
        self.index.close()


@runtime_checkable
class NeedsResources(Protocol):
    """A component that works on the process's index, model or prices."""

    def bind(self, resources: Resources) -> None:
        """Take the resources; called once, before the first run."""
        ...


class Bound:
    """Keeps the resources of a component; finds the project's own where nobody bound any."""

    _bound: Resources | None = None

    def bind(self, resources: Resources) -> None:
        """Take the resources of the process."""
        self._bound = resources

    @property
    def resources(self) -> Resources:
        """What this component works on."""
        if self._bound is None:
            self._bound = _of_working_directory()
        return self._bound

    @property
    def scope(self) -> Scope:
        """What the running question may see."""
        request = current_request()
        return request.scope if request else self.resources.default_scope


def open_resources(settings: Settings, role: str) -> Resources:
    """Become the owner of the index under `settings.home`, unless it is in a server, and open all that questions and
    documents need.

    :param role: what this process does, for the errors of others.
    :raises IndexLocked: if another process owns the index.
    :raises ModelMismatch: if another model built it.
    """
    encoder = load_encoder(settings.embedding)
    ownership = Ownership.of(settings.home, role, shared=settings.index.shared)
    try:
        return resources_on(current_store(settings.home), settings, encoder, ownership)
    except BaseException:
        ownership.release()
        raise


def resources_on(store: Path, settings: Settings, encoder: Encoder, ownership: Ownership) -> Resources:
    """Open what is in a store's folder; this process owns its home.

    :raises ModelMismatch: if another model built it.
    """
    at, manifest_at = settings.index, None
    if at.engine != "edge":
        manifest_at = manifest_place(settings, store)
        at = settings_at(at, manifest_at)
    index = open_index(
        store,
        at,
        dim=encoder.dim,
        fingerprint=encoder.fingerprint,
        model_name=encoder.name,
    )
    return Resources(settings, index, encoder, PriceBook.of(settings.spend), ownership, store, manifest_at)


_projects: dict[Path, Resources] = {}
_opening = threading.Lock()


def _of_working_directory() -> Resources:
    settings = load_settings()
    with _opening:
        if settings.home not in _projects:
            _projects[settings.home] = open_resources(settings, "a Haystack pipeline")
        return _projects[settings.home]
