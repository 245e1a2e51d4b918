"""What the embedded engine is told: of which vectors a shard is, how they are made smaller, what payload it indexes."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import qdrant_edge as qdrant

from ragsaver.index.hnsw import HNSW_EF
from ragsaver.index.keys import DENSE, EARLIER_LISTED, EARLIER_STATE, GROUPS, LEXICAL, LISTED_IN, SCOPE
from ragsaver.index.quantization import Quantization


def edge_config(dim: int, quantization: Quantization | None) -> qdrant.EdgeConfig:
    """The configuration of a shard."""
    smaller = _quantized(quantization) if quantization else None
    return qdrant.EdgeConfig(
        vectors={DENSE: qdrant.EdgeVectorParams(dim, qdrant.Distance.Dot, quantization_config=smaller)},
        sparse_vectors={LEXICAL: qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf)},
        # The engine keeps Python's lock while it searches, so a thread of its own helps nobody: to hand a search over
        # and back costs what a core has at hand, an eighth of a question's retrieval.
        max_search_threads=1,
    )


def dense_search(quantization: Quantization | None) -> qdrant.SearchParams:
    """How vectors are looked for; candidates found by their smaller copies are compared by their whole vectors."""
    smaller = None
    if quantization:
        smaller = qdrant.QuantizationSearchParams(rescore=True, oversampling=quantization.oversampling)
    return qdrant.SearchParams(hnsw_ef=HNSW_EF, quantization=smaller)


def index_payload(shard: qdrant.EdgeShard) -> None:
    """Index what filters name, as far as a shard does not have it yet."""
    wanted: dict[str, Any] = {
        SCOPE: qdrant.KeywordIndexParams(is_tenant=True),
        GROUPS: qdrant.PayloadSchemaType.Keyword,
    }
    there = shard.info().payload_schema
    for key, schema in wanted.items():
        if key not in there:
            shard.update(qdrant.UpdateOperation.create_field_index(key, schema))


def take_over(shard: qdrant.EdgeShard, note: Callable[[Mapping[str, Collection[str]]], None]) -> None:
    """Let an earlier version's shard be one of this version's.

    Earlier versions let each point say that it is listed, and the first of them in another way.

    :param note: told which points are not, by their scopes' keys.
    """
    there = shard.info().payload_schema
    for key in (EARLIER_STATE, LISTED_IN):
        if key in there:
            note(_unlisted_in(shard, key))
            shard.update(qdrant.UpdateOperation.delete_field_index(key))  # until then it is begun anew
            return


def _unlisted_in(shard: qdrant.EdgeShard, key: str) -> dict[str, set[str]]:
    said: Any = qdrant.IsEmptyCondition(key)
    if key == EARLIER_STATE:
        said = qdrant.Filter(must_not=[qdrant.FieldCondition(key, match=qdrant.MatchValue(EARLIER_LISTED))])
    lacking = qdrant.Filter(must=[said])
    limit = max(shard.count(qdrant.CountRequest(exact=True, filter=lacking)), 1)
    records, _ = shard.scroll(
        qdrant.ScrollRequest(limit=limit, filter=lacking, with_payload=[SCOPE], with_vector=False)
    )
    found: dict[str, set[str]] = {}
    for record in records:
        found.setdefault(str((record.payload or {}).get(SCOPE)), set()).add(str(record.id))
    return found


def _quantized(wanted: Quantization) -> Any:
    match wanted.kind:
        case "int8":
            return qdrant.ScalarQuantizationConfig(qdrant.ScalarType.Int8, quantile=0.99, always_ram=True)
        case "binary":
            return qdrant.BinaryQuantizationConfig(always_ram=True)
        case "product":
            return qdrant.ProductQuantizationConfig(qdrant.CompressionRatio.X16, always_ram=True)
        case "turbo":
            return qdrant.TurboQuantQuantizationConfig(bits=qdrant.TurboQuantBitSize.Bits4, always_ram=True)
