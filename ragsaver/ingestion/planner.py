"""What would bringing documents in take, and is that too much? Asked before anything is spent, without the index."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from decimal import Decimal

from ragsaver.caching.embeddings import EmbeddingCache
from ragsaver.caching.opening import open_embedding_cache
from ragsaver.errors import TooExpensive
from ragsaver.index.scope import Scope
from ragsaver.index.store import current_store
from ragsaver.ingestion.estimating import Estimate
from ragsaver.ingestion.gates import Gates, Preparing
from ragsaver.ingestion.guard import GuardedPool
from ragsaver.ingestion.identity import IdentifiedChunk
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.opening import open_manifest
from ragsaver.ingestion.preparing import prepare, recipe_of
from ragsaver.ingestion.quota import admitted
from ragsaver.ingestion.report import PlanReport
from ragsaver.ingestion.sources import SourceItem
from ragsaver.ingestion.standing import vector_bytes
from ragsaver.models.protocol import Encoder
from ragsaver.models.registry import load_encoder
from ragsaver.settings import Settings, usable_cores

# Texts that show how fast this machine embeds.
_SAMPLE_CHUNKS = 16


class Planner:
    """Reads and cuts documents, and adds up what embedding them would take.

    :param preparing: where documents are cut.
    """

    def __init__(
        self, settings: Settings, encoder: Encoder, manifest: Manifest, cache: EmbeddingCache, preparing: Preparing
    ) -> None:
        self._settings = settings
        self._encoder = encoder
        self._manifest = manifest
        self._cache = cache
        self._preparing = preparing

    def plan(
        self,
        items: Sequence[SourceItem],
        known: Mapping[str, DocumentRecord],
        scope: Scope,
        *,
        gone: Sequence[DocumentRecord],
        checksum: bool,
        pace: Callable[[Sequence[IdentifiedChunk]], float | None],
    ) -> PlanReport:
        """What ingesting the items would do.

        :param known: what is in, by source.
        :param gone: documents that the same run takes away.
        :param checksum: read every document, whatever its size and time say.
        :param pace: tokens a second, None where not known; a few of the chunks show it.
        """
        recipe = recipe_of(self._settings, self._encoder.fingerprint)
        gates = Gates(scope, known, recipe, self._preparing, checksum=checksum)
        partition = "" if self._settings.embedding_cache.shared_by_tenants else scope.tenant
        counted = Estimate(self._cache, self._encoder, partition)
        sample: list[IdentifiedChunk] = []
        quota, width = self._settings.lifecycle.quota, vector_bytes(1, self._encoder.dim)
        for change in admitted(gates.changes(items), gates.seen, quota, self._manifest, scope, gone, width):
            counted.add(change)
            sample.extend(change.new[: _SAMPLE_CHUNKS - len(sample)])
        price = self._settings.spend.embedding_per_mtok
        return counted.report(gates, gone, tokens_per_s=pace(sample), usd_per_mtok=price)


def plan_without_index(
    settings: Settings, items: Sequence[SourceItem], scope: Scope, *, gone: Sequence[DocumentRecord], checksum: bool
) -> PlanReport:
    """A plan by manifest, embedding cache and model alone, beside the process that owns the index."""
    limits = settings.ingestion
    with ExitStack() as opened:
        manifest = opened.enter_context(closing(open_manifest(settings, current_store(settings.home))))
        cache = opened.enter_context(closing(open_embedding_cache(settings.home, settings.embedding_cache)))
        pool = GuardedPool(
            prepare,
            workers=limits.convert_workers or usable_cores(),
            timeout_s=limits.convert_timeout_s,
            memory_mb=limits.convert_memory_mb,
        )
        opened.callback(pool.close)
        encoder = load_encoder(settings.embedding)
        planner = Planner(settings, encoder, manifest, cache, pool)
        known, model = manifest.documents(scope), recipe_of(settings, encoder.fingerprint).model
        return planner.plan(items, known, scope, gone=gone, checksum=checksum, pace=lambda _: manifest.pace(model))


def require_affordable(plan: PlanReport, max_cost_usd: Decimal) -> None:
    """:raises TooExpensive: if embedding would cost more."""
    cost = plan.embedding.cost_usd
    if cost > max_cost_usd:
        raise TooExpensive(
            f"embedding {plan.embedding.tokens} tokens would cost ${cost:.4f}, ${max_cost_usd:.4f} are allowed",
            remedy="Raise --max-cost, or leave documents out: `ragsaver plan` shows what each would take",
        )
