"""Does the engine's BM25 rank as rank_bm25 does, on real questions? JSON on the last line.

Whole documents, the same stems and the same average length for both. `same_weights` adds one under the logarithm of
rank_bm25's word weights, as the engine does: what is left then is rounding. `own_weights` takes them as they are. Needs
the extra `lexical`.
"""

import argparse
import json
import math
import re
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rank_bm25 import BM25Okapi

from ragsaver.eval.dataset import Dataset, load_dataset
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import ChunkPoint
from ragsaver.index.scope import Scope
from ragsaver.index.words import WordSettings, word_encoder

TOP, DIM, SCOPE = 10, 4, Scope("benchmark", "documents")
SAME_LIMIT = 0.999
_VECTOR = np.eye(DIM, dtype=np.float32)[0]
_COUNTING = WordSettings("english", 1.0, 1.2, 0.75)


class LikeLucene(BM25Okapi):
    """rank_bm25 with one added under the logarithm."""

    def _calc_idf(self, nd: dict[int, int]) -> None:
        for word, count in nd.items():
            self.idf[word] = math.log(1 + (self.corpus_size - count + 0.5) / (count + 0.5))


def main() -> None:
    """Ask each data set's questions of both."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments.add_argument("--datasets", nargs="+", default=["cranfield", "squad"])
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    result: dict[str, Any] = {name: compared(load_dataset(given.data / name)) for name in given.datasets}
    result |= {"same_limit": SAME_LIMIT, "ok": all(one["same_weights"] >= SAME_LIMIT for one in result.values())}
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def compared(dataset: Dataset) -> dict[str, float]:
    """Shares of the engine's first ten that rank_bm25 has among its own, the mean of all questions."""
    texts = [f"{one.title}\n{one.text}" for one in dataset.corpus]
    tokens = [stems(text) for text in texts]
    oracles = {"same_weights": LikeLucene(tokens, k1=1.2), "own_weights": BM25Okapi(tokens, k1=1.2)}
    shares: dict[str, list[float]] = {name: [] for name in oracles}
    for asked, ours in ranked(texts, statistics.mean(map(len, tokens)), [one.text for one in dataset.queries]):
        for name, oracle in oracles.items():
            shares[name].append(shared(ours, oracle.get_scores(sorted(set(stems(asked))))))
    means = {name: round(statistics.mean(of), 4) for name, of in shares.items()}
    return {"questions": len(shares["own_weights"]), **means}


def ranked(texts: Sequence[str], average: float, questions: Sequence[str]) -> Iterator[tuple[str, dict[int, float]]]:
    """Each question that has a word of the corpus, with the engine's best by number."""
    ids = [f"00000000-0000-0000-0000-{n:012d}" for n in range(len(texts))]
    with tempfile.TemporaryDirectory() as folder:
        index = EdgeIndex(Path(folder), IndexIdentity("m", "f" * 8, DIM, "english", average))
        index.upsert(SCOPE, [ChunkPoint(one, one, _VECTOR, text, {}) for one, text in zip(ids, texts, strict=True)])
        index.list_and_delete(SCOPE, ids, [])
        for question in questions:
            hits = index.search(SCOPE, question, _VECTOR, TOP).lexical
            if hits:
                yield question, {int(hit.id.rpartition("-")[2]): hit.score for hit in hits}
        index.close()


def shared(ours: dict[int, float], theirs: NDArray[np.float64]) -> float:
    """How many of ours score as well as the last of as many of theirs: equal scores may stand in any order."""
    last = np.sort(theirs)[-len(ours)]
    return sum(bool(theirs[one] >= last - 1e-3) for one in ours) / len(ours)


def stems(text: str) -> list[int]:
    """As the engine sees a text: stems without stop words, in order."""
    encoder = word_encoder(_COUNTING)
    return [stem for word in re.findall(r"\w+", text) for stem in encoder.embed_query(word).indices]


if __name__ == "__main__":
    main()
