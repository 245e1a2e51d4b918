"""What would bringing documents in take, and is that too much? Asked before anything is spent, without the index."""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, closing
from decimal import Decimal

from ragsaver.caching.embeddings import EmbeddingCache
from ragsaver.caching.opening import open_embedding_cache, partition_of
from ragsaver.errors import TooExpensive
from ragsaver.index.scope import Scope
from ragsaver.index.store import current_store
from ragsaver.ingestion.asking import Summariser
from ragsaver.ingestion.cutting import cutters, recipe_of
from ragsaver.ingestion.estimating import Estimate, Kept, nothing_kept
from ragsaver.ingestion.foreseeing import Foreseen
from ragsaver.ingestion.gates import Gates
from ragsaver.ingestion.identity import IdentifiedChunk
from ragsaver.ingestion.kept_vectors import held_by
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.opening import open_manifest
from ragsaver.ingestion.outlining import to_outline, to_summarise
from ragsaver.ingestion.planning import Change
from ragsaver.ingestion.quota import admitted
from ragsaver.ingestion.report import PlanReport
from ragsaver.ingestion.sources import SourceItem
from ragsaver.ingestion.standing import vector_bytes
from ragsaver.ingestion.summarising import Summaries, open_summaries
from ragsaver.models.protocol import Encoder
from ragsaver.models.registry import load_encoder
from ragsaver.settings import Settings

# Texts that show how fast this machine embeds.
_SAMPLE_CHUNKS = 16

# Tokens of each of some texts.
Count = Callable[[Sequence[str]], list[int]]


class Planner:
    """Reads and cuts documents, and adds up what embedding and summarising them would take.

    :param summaries: of sections; None where none are wanted.
    :param kept: as `Estimate` has it.
    """

    def __init__(
        self,
        settings: Settings,
        encoder: Encoder,
        manifest: Manifest,
        cache: EmbeddingCache,
        summaries: Summaries | None,
        kept: Kept = nothing_kept,
    ) -> None:
        self._settings = settings
        self._encoder = encoder
        self._manifest = manifest
        self._cache = cache
        self._summaries = summaries
        self._kept = kept

    def plan(
        self,
        gates: Gates,
        items: Sequence[SourceItem],
        scope: Scope,
        *,
        gone: Sequence[DocumentRecord],
        pace: Callable[[Sequence[IdentifiedChunk]], float | None],
    ) -> PlanReport:
        """What ingesting the items would do.

        :param gates: where documents are cut, which know what is in.
        :param gone: documents that the same run takes away.
        :param pace: tokens a second, None where not known; a few of the chunks show it.
        """
        partition = partition_of(scope.tenant, self._settings.embedding_cache)
        counted = Estimate(self._cache, self._encoder, partition, self._summaries, self._kept)
        sample: list[IdentifiedChunk] = []
        quota, width = self._settings.lifecycle.quota, vector_bytes(1, self._encoder.dim)
        rule = self._settings.lifecycle.retention.get(scope.collection)
        foreseen = Foreseen(self._manifest, scope, rule, self._encoder.dim)
        for change in admitted(gates.changes(items), gates.seen, quota, self._manifest, scope, gone, width):
            counted.add(change, to_summarise(self._manifest, self._summaries, partition, change))
            foreseen.add(change)
            sample.extend(change.new[: _SAMPLE_CHUNKS - len(sample)])
        price = self._settings.spend.embedding_per_mtok
        noted = self._manifest.originals.noted(scope)
        expired = foreseen.expiries(gates.seen.touched, gone)
        return counted.report(gates, gone, expired, noted, tokens_per_s=pace(sample), usd_per_mtok=price)


def plan_without_index(
    settings: Settings,
    items: Sequence[SourceItem],
    scope: Scope,
    *,
    gone: Sequence[DocumentRecord],
    checksum: bool,
    include_expired: bool,
    summariser: Callable[[Count], Summariser] | None,
) -> PlanReport:
    """A plan by manifest, caches and model alone, beside the process that owns the index.

    :param summariser: makes the one who would be asked, of what counts tokens; None where none would.
    """
    with ExitStack() as opened:
        manifest = opened.enter_context(closing(open_manifest(settings, current_store(settings.home))))
        cache = opened.enter_context(closing(open_embedding_cache(settings.home, settings.embedding_cache)))
        pool = cutters(settings.ingestion)
        opened.callback(pool.close)
        encoder = load_encoder(settings.embedding)
        summaries = summariser and open_summaries(settings, summariser(encoder.count_tokens))
        if summaries:
            opened.callback(summaries.close)
        recipe = recipe_of(settings, encoder.fingerprint)
        gates = Gates(
            scope,
            to_outline(manifest, scope, manifest.documents(scope), summaries.name if summaries else None),
            recipe,
            pool,
            checksum=checksum,
            tombstones={} if include_expired else manifest.tombstones.of(scope),
            rule=settings.lifecycle.retention.get(scope.collection),
        )

        def kept(changes: Sequence[Change], lacking: Collection[str]) -> set[str]:
            alike = (manifest.alike(scope, change.record.content_hash) for change in changes)
            return held_by(*(change.old for change in changes), *alike, *gone).intersection(lacking)

        planner = Planner(settings, encoder, manifest, cache, summaries, kept)
        return planner.plan(gates, items, scope, gone=gone, pace=lambda _: manifest.pace(recipe.model))


def require_affordable(plan: PlanReport, max_cost_usd: Decimal) -> None:
    """:raises TooExpensive: if embeddings and summaries would cost more."""
    if plan.cost_usd > max_cost_usd:
        sections = plan.summaries.sections
        summaries = f", and summarising {sections} sections up to ${plan.summaries.cost_usd:.4f}" if sections else ""
        raise TooExpensive(
            f"embedding {plan.embedding.tokens} tokens would cost ${plan.embedding.cost_usd:.4f}{summaries}, "
            f"${max_cost_usd:.4f} are allowed",
            remedy="Raise --max-cost, or leave documents out: `ragsaver plan` shows what each would take",
        )
