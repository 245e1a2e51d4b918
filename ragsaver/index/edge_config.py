"""What the embedded engine is told: of which vectors a shard is, how they are made smaller, what payload it indexes."""

from typing import Any

import qdrant_edge as qdrant

from ragsaver.index.edge_requests import scope_keys
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
        LISTED_IN: qdrant.PayloadSchemaType.Keyword,
        GROUPS: qdrant.PayloadSchemaType.Keyword,
    }
    there = shard.info().payload_schema
    for key, schema in wanted.items():
        if key not in there:
            shard.update(qdrant.UpdateOperation.create_field_index(key, schema))


def is_earlier(shard: qdrant.EdgeShard) -> bool:
    """Whether an earlier version has written it."""
    return EARLIER_STATE in shard.info().payload_schema


def take_over(shard: qdrant.EdgeShard) -> None:
    """Let the points of an earlier version's shard say that they are listed as they do now."""
    was_listed = qdrant.FieldCondition(EARLIER_STATE, match=qdrant.MatchValue(EARLIER_LISTED))
    for key in scope_keys(shard):
        of_scope = qdrant.FieldCondition(SCOPE, match=qdrant.MatchValue(key))
        listed = qdrant.Filter(must=[of_scope, was_listed])
        shard.update(qdrant.UpdateOperation.set_payload_by_filter(listed, {LISTED_IN: key}))
    said = qdrant.Filter(must_not=[qdrant.IsEmptyCondition(EARLIER_STATE)])
    shard.update(qdrant.UpdateOperation.delete_payload_by_filter(said, [EARLIER_STATE]))
    shard.flush()
    shard.update(qdrant.UpdateOperation.delete_field_index(EARLIER_STATE))  # until then it is begun anew


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
