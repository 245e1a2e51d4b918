"""Names, texts and questions of people who try: prefixes of each other, escapes, filters, other scripts."""

import unicodedata
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ragsaver.errors import UsageError
from ragsaver.index.blend import Blend
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.protocol import ChunkPoint, VectorIndex
from ragsaver.index.scope import Scope
from tests.index.points import DIM

_USUAL = ("a", "aa", "a.", "A", "a b", " a", "a ", "acme", "acme-2", "b", "*", "%", "_", "..", "null", "default")
_FOREIGN = ("caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9"), "\u0430", "租户", "🦉")
_CRAFTED = ("' OR '1'='1", '"}},{"should":[{}', "a*", "scope", "a\\u002fb", "a%2Fb", "a:b", "$ne", "a,b")
REFUSED = ("", "a/b", "a/", "/a", "a\0", "a\n", "a\0b", "\ud800", "a\u200b", "\u202ea")


def scope_or_none(tenant: str, collection: str) -> Scope | None:
    """A name that could be read as another's is refused before anything is asked."""
    try:
        return Scope(tenant, collection)
    except UsageError:
        return None


NAMES = st.one_of(st.sampled_from([*_USUAL, *_FOREIGN, *_CRAFTED, *REFUSED]), st.text(max_size=6))
_ALLOWED = st.one_of(
    st.sampled_from([*_USUAL, *_FOREIGN, *_CRAFTED]),
    st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=6).filter(str.isprintable),
)
SCOPES = st.builds(Scope, _ALLOWED, _ALLOWED)
# One of them, and another that is nearly the same or anything else.
PAIRS = st.one_of(
    st.tuples(SCOPES, SCOPES),
    st.builds(lambda a, b, other: (Scope(a, other), Scope(b, other)), _ALLOWED, _ALLOWED, _ALLOWED),
    st.builds(lambda a, b, other: (Scope(other, a), Scope(other, b)), _ALLOWED, _ALLOWED, _ALLOWED),
    st.builds(lambda a, b: (Scope(a, b), Scope(b, a)), _ALLOWED, _ALLOWED),
).filter(lambda pair: pair[0] != pair[1])

_WORDS = st.sampled_from(
    [
        *("zebra", "horse", "the", "secret", "budget", "acme", "scope", "listed", "a/b", "*", "''", "%", "租户"),
        *("{}", '{"must":[]}', "filter=none", "ignore the filter", "tenant:a", "DROP TABLE points", "caf\u00e9"),
    ]
)
TEXTS = st.lists(_WORDS, min_size=1, max_size=6).map(" ".join)
CORPORA = st.lists(TEXTS, min_size=1, max_size=5)
QUESTIONS = st.one_of(TEXTS, st.text(min_size=1, max_size=20).filter(str.isprintable))

GROUPS = st.lists(
    st.sampled_from(["hr", "h", "HR", "hr,it", "it", "*", " hr", "[]", "null", "' OR '1'='1", "租户"]),
    max_size=3,
    unique=True,
)


def vector_of(text: str) -> np.ndarray:
    """(DIM,) float32, L2-normalised; the same for the same text."""
    values = np.full(DIM, 0.01, dtype=np.float32)
    for word in text.split():
        values[sum(word.encode()) % DIM] += 1.0
    return values / np.linalg.norm(values)


def points_of(texts: Sequence[str], **payload: Any) -> list[ChunkPoint]:
    """One point for each text."""
    return [ChunkPoint(str(uuid.uuid4()), "doc", vector_of(text), text, {"text": text, **payload}) for text in texts]


def all_that_is_seen(index: VectorIndex, scope: Scope, question: str, ids: Sequence[str]) -> dict[str, Any]:
    """Whatever an index tells somebody, scores to the bit.

    Cosines of the client's local mode are numpy's, whose last bits depend on how many rows it multiplies; where they are
    all alike, distributions are made of nothing but those bits.

    :param ids: of points to ask for by name.
    """
    places = 17 if isinstance(index, EdgeIndex) else 6
    legs = index.search(scope, question, vector_of(question), 100)
    return {
        "dense": sorted((round(hit.score, places), hit.id, hit.payload["text"]) for hit in legs.dense),
        "lexical": sorted((hit.score, hit.id, hit.payload["text"]) for hit in legs.lexical),
        # by distributions: ranks of passages that score alike are dealt out anew with each search
        "blended": sorted(
            (hit.id, hit.payload["text"], round(hit.score, 6) if isinstance(index, EdgeIndex) else "")
            for hit in index.blended(scope, question, vector_of(question), 100, Blend("dbsf", 0.5), 100)
        ),
        "best": [hit.score for hit in index.search(scope, question, vector_of(question), 2).lexical],
        "count": index.count(scope),
        "ids": dict(index.ids(scope)),
        "payloads": index.payloads(scope, ids),
        "vectors": {one: vector.tobytes() for one, vector in index.vectors(scope, ids).items()},
        "stored": {one.id: dict(one.payload) for some in index.stored(scope) for one in some},
    }
