"""Where nobody asks what each leg thought of a passage, the engine makes one order of both and answers with that alone.

Half of the hits never leave it, and the passages' payloads come with the order: at a server that is one request in
place of two. The order and the scores are those of `fuse`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from ragsaver.components.fusion import RRF_K, Fusion, in_order, squashed
from ragsaver.index.blend import Blend
from ragsaver.index.protocol import Leg, VectorIndex
from ragsaver.index.words import word_encoder
from ragsaver.settings import RetrievalSettings

# Passages beyond those wanted: some say the same as a better one, and leave their place to the next.
_MORE = 10
_ALIKE = 3  # letters in which a word and its stem begin alike, with few exceptions


class Blended(NamedTuple):
    """What an engine found.

    :ivar fused: ids and scores as `fuse` gives them, best first.
    :ivar carried: what they carry, by id.
    """

    fused: Sequence[tuple[str, float]]
    carried: Mapping[str, Mapping[str, Any]]


def blend_of(index: VectorIndex, fusion: Fusion, lexical_weight: float, settings: RetrievalSettings) -> Blend | None:
    """What the engine is to do; None where it can't, or where the legs are wanted for a second search."""
    if index.words is None or why_here(fusion, lexical_weight, settings, index.blends):
        return None
    return _blend(fusion, lexical_weight)


def why_here(
    fusion: Fusion, lexical_weight: float, settings: RetrievalSettings, blends: Callable[[Blend], bool]
) -> str | None:
    """Why the legs are fused here though nobody looks at them; None where an engine may.

    :param blends: whether the engine can make one order of both legs so.
    """
    if fusion not in (Fusion.RRF, Fusion.DBSF):
        return f"no engine knows {fusion}"
    if settings.feedback_passages:
        return "`retrieval.feedback_passages` needs the scores of each leg"
    if not blends(_blend(fusion, lexical_weight)):
        return f"the engine can't with a BM25 share of {lexical_weight:g}"
    return None


def _blend(fusion: Fusion, lexical_weight: float) -> Blend:
    return Blend("rrf" if fusion is Fusion.RRF else "dbsf", lexical_weight, RRF_K)


def most_of(top_k: int) -> int:
    """How many passages the engine is asked for."""
    return top_k + _MORE


def blended(index: VectorIndex, question: str, hits: Leg, fusion: Fusion) -> Blended | None:
    """What an engine found; None where it can't be told whether BM25 found anything: then its share is the vectors'."""
    if not _has_known_words(index, question, hits):
        return None
    top = RRF_K + 1 if fusion is Fusion.RRF else 1
    scores = {key: squashed(fusion, score * top) for key, score in hits.scores().items()}
    return Blended(in_order(scores), {hit.id: hit.payload for hit in hits})


def _has_known_words(index: VectorIndex, question: str, hits: Sequence[Any]) -> bool:
    """Whether BM25 found something, or was not asked. To make words of a whole passage takes as long as all the rest,
    so those that begin like one of the question's are looked at first.
    """
    assert index.words is not None
    encoder = word_encoder(index.words)
    asked = set(encoder.embed_query(question).indices)
    if not asked or not hits:
        return not asked
    texts = [str(hit.payload.get("text", "")) for hit in hits]
    begins = {word[:_ALIKE] for word in question.casefold().split()}
    likely = (" ".join(word for word in text.casefold().split() if word[:_ALIKE] in begins) for text in texts)
    return any(
        not asked.isdisjoint(encoder.embed_document(text).indices) for text in chain(filter(None, likely), texts[:1])
    )
