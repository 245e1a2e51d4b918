"""Is a point what the manifest knows of it? Told by making its fingerprints again from what it carries."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragsaver.index.keys import DOCUMENT_ID, METADATA, PAGE_STARTS
from ragsaver.ingestion.identity import Fingerprints, carried_hash, place_hash
from ragsaver.models.embedded_text import embed_texts, embedded_hash

# Of vectors of length 1: what half precision rounds is a hundredth of it, what a model's batches change a tenth.
_APART_AT_MOST = 0.15


def is_as_known(
    payload: Mapping[str, Any],
    document_id: str,
    prints: Fingerprints,
    metadata: Mapping[str, Any] | None,
    model_fingerprint: str | None,
) -> bool:
    """Whether a point says what its fingerprints say: its text, headings, title, metadata, source and place.

    :param payload: all that it carries.
    :param metadata: its document's, as the manifest has it; None where it has none.
    :param model_fingerprint: None where the text can't be held against what was embedded.
    """
    place = [payload.get(key) for key in ("source", "ordinal", "page", PAGE_STARTS)]
    return (
        payload.get(DOCUMENT_ID) == document_id
        and payload.get("chunk_hash") == prints.embedded
        and place_hash(*place) == prints.place
        and _carries(payload, prints.carried, metadata)
        and (model_fingerprint is None or _says(payload, prints.embedded, model_fingerprint))
    )


def is_near(vector: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two vectors, (dim,) float32 each, may be of one text: as long as each other, and in one direction."""
    return vector.shape == other.shape and float(np.linalg.norm(vector - other)) <= _APART_AT_MOST


def _carries(payload: Mapping[str, Any], carried: str, metadata: Mapping[str, Any] | None) -> bool:
    said = payload.get(METADATA) or {}
    known = said if metadata is None else metadata
    if not isinstance(known, Mapping):
        return False
    return carried_hash(payload.get("title"), payload.get("heading"), known) == carried and _alike(said, known)


def _says(payload: Mapping[str, Any], embedded: str, model_fingerprint: str) -> bool:
    text, heading, title = (payload.get(key) for key in ("text", "heading", "title"))
    if not (isinstance(text, str) and isinstance(heading, str) and isinstance(title, str)):
        return False
    return any(embedded_hash(model_fingerprint, one) == embedded for one in embed_texts(text, heading, title))


def _alike(one: Any, other: Any) -> bool:
    """Equal, but for a number's last digits: an engine's JSON need not keep them."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other)
    return bool(one == other)
