"""Which model and which word statistics built this index? Vectors of two models are never compared."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ragsaver.errors import ModelMismatch, StorageError
from ragsaver.index.words import WordSettings

FORMAT = 1
# Settings that shape how BM25 sees a text.
OF_WORDS = "`index.language`, `index.bm25_avg_words`, `index.bm25_k1`, `index.bm25_b`"
# What else can be done about an index that was built otherwise.
MIGRATE = "run `ragsaver migrate` to build a new index from the documents and put it in this one's place"


@dataclass(frozen=True, slots=True)
class IndexIdentity:
    """What an index was built with; points made otherwise don't belong in it."""

    model_name: str
    fingerprint: str
    dim: int
    language: str
    bm25_avg_words: float
    # an index from before these were recorded has the engine's own
    bm25_k1: float = 1.2
    bm25_b: float = 0.75
    format: int = FORMAT

    @property
    def words(self) -> WordSettings:
        """How BM25 sees its texts."""
        return WordSettings(self.language, self.bm25_avg_words, self.bm25_k1, self.bm25_b)


def claim(folder: Path, wanted: IndexIdentity) -> None:
    """Record the identity of a new index, or check that of an old one.

    :raises ModelMismatch: naming both models and the remedy.
    """
    file = folder / "identity.json"
    if not file.exists():
        try:
            draft = file.with_suffix(".new")
            draft.write_text(json.dumps(asdict(wanted)), encoding="utf-8")
            draft.replace(file)
        except OSError as error:
            raise StorageError(f"can't be written: {error.strerror}", where=str(folder)) from error
        return
    require_same(
        _read(file),
        wanted,
        where=str(folder),
        otherwise=MIGRATE,
    )


def require_same(found: IndexIdentity, wanted: IndexIdentity, *, where: str, otherwise: str) -> None:
    """Check what an index was built with.

    :param otherwise: what else can be done than to set the settings back.
    :raises ModelMismatch: naming both models and the remedy.
    """
    if found == wanted:
        return
    if (found.fingerprint, found.dim) != (wanted.fingerprint, wanted.dim):
        problem = (
            f"the index was built by model `{found.model_name}` ({found.fingerprint[:12]}), "
            f"the settings name `{wanted.model_name}` ({wanted.fingerprint[:12]})"
        )
    else:
        problem = f"the index was built with another {OF_WORDS} or format"
    raise ModelMismatch(
        problem, where=where, remedy=f"Set `embedding` and `index` back to what built it, or {otherwise}"
    )


def read_identity(folder: Path) -> IndexIdentity | None:
    """What an index was built with; None if there is no index.

    :raises StorageError: if it can't be read.
    """
    file = folder / "identity.json"
    return _read(file) if file.exists() else None


def _read(file: Path) -> IndexIdentity:
    try:
        return IndexIdentity(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f"its identity can't be read: {error}",
            where=str(file),
            remedy=f"Delete {file.parent} and run `ragsaver verify` for each collection: it brings back what is in",
        ) from error
