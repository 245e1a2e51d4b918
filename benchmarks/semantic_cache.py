"""How often is a question known in other words, and how often wrongly? Fits `ragsaver/caching/agreement.json`.

    python benchmarks/semantic_cache.py PAIRS.jsonl [--write] [--vectors FILE.npz]

PAIRS has a pair of questions a line: `a`, `b`, `same` (0 or 1). Each pair stands for a question `b` that is asked when
`a` was answered: it is a hit if the rule says that both ask the same, and a false one if `same` is 0.

Five folds; questions that stand in several pairs are in one fold with them. Weights and the threshold for a ceiling of
false hits are fitted on four folds and judged on the fifth. Beside it GPTCache's rule, similarity alone, with its
threshold fitted likewise. Labels are noisy: `same_words` says what they say of pairs that differ in no word, so the
surest hits were read one by one (`semantic_cache_read.json`); `as_read` judges by that, with what can be argued about
taken for false and for right. A pair that was not read keeps its label.
"""

import argparse
import json
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragsaver.caching.agreement import FEATURES, differing_words, features, may_agree, taken_apart
from ragsaver.models.registry import load_encoder
from ragsaver.settings import Settings

FOLDS = 5
CEILINGS = (0.01, 0.02, 0.03, 0.05, 0.1)
LOOKED_AT_FROM = 0.75  # cosine
WORD_AT_LEAST = 25  # pairs that a word must differ in, to have a weight
RIDGE = 3.0
READ = Path(__file__).with_name("semantic_cache_read.json")
TARGET = Path(__file__).resolve().parents[1] / "ragsaver" / "caching" / "agreement.json"

Floats = NDArray[np.float64]


def main() -> None:
    """Fit, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--write", action="store_true", help="write the weights fitted on all pairs")
    parser.add_argument("--ceiling", type=float, default=0.01, help="of false hits, as read, for what is written")
    parser.add_argument("--show", type=int, default=0, help="tell the false hits among so many, to read them")
    parser.add_argument("--vectors", type=Path, help="kept between runs")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.pairs.read_text(encoding="utf-8").splitlines()]
    same = np.array([row["same"] for row in rows], dtype=np.float64)
    cosine = cosines(rows, arguments.vectors)
    apart = [(taken_apart(row["a"], None), taken_apart(row["b"], None)) for row in rows]
    may = np.array([c >= LOOKED_AT_FROM and may_agree(*pair) for c, pair in zip(cosine, apart, strict=True)])
    base = np.array([[*features(*pair, float(c)), 1.0] for c, pair in zip(cosine, apart, strict=True)])
    words = [differing_words(*pair) for pair in apart]
    fold = folds(rows)

    score = np.full(len(rows), -np.inf)
    inner: list[Floats] = []
    for n in range(FOLDS):
        train, test = may & (fold != n), fold == n
        weights, known = fitted(base, words, same, train)
        score[test & may] = scores(base, words, weights, known, test & may)
        inner.append(out_of_fold(base, words, same, fold, may, without=n))

    identical = np.array([one.words == other.words for one, other in apart])
    result = {
        "pairs": len(rows),
        "same": int(same.sum()),
        "may_agree": int(may.sum()),
        "same_words": {"pairs": int(identical.sum()), "labelled_different": int((identical & (same == 0)).sum())},
        "fitted_for": fitted_for(score, inner, cosine, same, fold),
        "curve": {"ours": curve(score, same), "similarity": curve(cosine, same)},
        "as_read": {
            taken_for: {
                "fitted_for": fitted_for(score, inner, cosine, labels, fold),
                "curve": {"ours": curve(score, labels), "similarity": curve(cosine, labels)},
            }
            for taken_for, labels in (("arguable_false", as_read(same, 0)), ("arguable_right", as_read(same, 1)))
        },
    }
    for place, n in enumerate(np.argsort(-score, kind="stable")[: arguments.show]):
        if not same[n]:
            print(place, rows[n]["a"], "|", rows[n]["b"], file=sys.stderr)
    if arguments.write:
        weights, known = fitted(base, words, same, may)
        limit = threshold(score, as_read(same, 1), arguments.ceiling)
        written = {
            "features": list(FEATURES),
            "weights": [round(float(w), 4) for w in weights[: len(FEATURES) + 1]],
            "words": {w: round(float(weights[len(FEATURES) + 1 + at]), 4) for w, at in sorted(known.items())},
            "at_least": round(limit, 4),
            "cosine_at_least": LOOKED_AT_FROM,
        }
        TARGET.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result))


def as_read(same: Floats, arguable: int) -> Floats:
    """The labels, but for the pairs that were read."""
    told = json.loads(READ.read_text(encoding="utf-8"))
    labels = same.copy()
    labels[told["another"]], labels[told["alike"]], labels[told["arguable"]] = 0, 1, arguable
    return labels


def fitted_for(
    score: Floats, inner: list[Floats], cosine: Floats, same: Floats, fold: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """Hits and false ones of each fold, with the threshold that the others give for each ceiling."""
    hits: dict[str, Counter[str]] = {f"{c:g}": Counter() for c in CEILINGS}
    for n in range(FOLDS):
        test = fold == n
        for ceiling in CEILINGS:
            for name, own, limit in (
                ("ours", score, threshold(inner[n][~test], same[~test], ceiling)),
                ("similarity", cosine, threshold(cosine[~test], same[~test], ceiling)),
            ):
                taken = test & (own >= limit)
                hits[f"{ceiling:g}"][f"{name}_hits"] += int(taken.sum())
                hits[f"{ceiling:g}"][f"{name}_false"] += int((taken & (same == 0)).sum())
    return {c: shown(found, int(same.sum())) for c, found in hits.items()}


def cosines(rows: list[dict[str, str]], kept: Path | None) -> Floats:
    """Of each pair's questions, by the bundled model."""
    questions = sorted({row[side] for row in rows for side in "ab"})
    if kept and kept.exists():
        vectors = np.load(kept)["vectors"]
    else:
        encoder = load_encoder(Settings().embedding)
        parts = [encoder.encode(questions[at : at + 1000], query=True) for at in range(0, len(questions), 1000)]
        vectors = np.concatenate(parts)
        if kept:
            np.savez(kept, vectors=vectors)
    place = {question: n for n, question in enumerate(questions)}
    first, second = ([place[row[side]] for row in rows] for side in "ab")
    return np.einsum("ij,ij->i", vectors[first], vectors[second]).astype(np.float64)


def folds(rows: list[dict[str, str]]) -> NDArray[np.int64]:
    """A fold for each pair; pairs that share a question, directly or through others, have the same."""
    parent: dict[str, str] = {}

    def root(question: str) -> str:
        while parent.setdefault(question, question) != question:
            parent[question] = parent[parent[question]]
            question = parent[question]
        return question

    for row in rows:
        parent[root(row["a"])] = root(row["b"])
    roots = [root(row["a"]) for row in rows]
    order = np.random.default_rng(0).permutation(len(set(roots)))
    of = {one: int(order[n]) % FOLDS for n, one in enumerate(sorted(set(roots)))}
    return np.array([of[one] for one in roots])


def fitted(
    base: Floats, words: list[set[str]], same: Floats, train: NDArray[np.bool_]
) -> tuple[Floats, dict[str, int]]:
    """Logistic regression with a ridge, by Newton's method; which words have a weight, by their place."""
    at = np.flatnonzero(train)
    counted = Counter(word for n in at for word in words[n])
    known = {word: place for place, word in enumerate(sorted(w for w, c in counted.items() if c >= WORD_AT_LEAST))}
    design = matrix(base, words, known, at)
    scale = design[:, : base.shape[1]].std(0)
    scale[-1] = 1.0
    scale[scale == 0] = 1.0
    design[:, : base.shape[1]] /= scale
    ridge = np.full(design.shape[1], RIDGE)
    ridge[base.shape[1] - 1] = 1e-6
    weights = np.zeros(design.shape[1])
    for _ in range(12):
        likely = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (same[at] - likely) - ridge * weights
        curvature = (design * (likely * (1 - likely))[:, None]).T @ design + np.diag(ridge)
        weights += np.linalg.solve(curvature, gradient)
    weights[: base.shape[1]] /= scale
    return weights, known


def matrix(base: Floats, words: list[set[str]], known: dict[str, int], at: NDArray[np.int64]) -> Floats:
    made = np.zeros((len(at), base.shape[1] + len(known)))
    made[:, : base.shape[1]] = base[at]
    for row, n in enumerate(at):
        for word in words[n]:
            if word in known:
                made[row, base.shape[1] + known[word]] = 1.0
    return made


def scores(
    base: Floats, words: list[set[str]], weights: Floats, known: dict[str, int], which: NDArray[np.bool_]
) -> Floats:
    return matrix(base, words, known, np.flatnonzero(which)) @ weights


def out_of_fold(
    base: Floats, words: list[set[str]], same: Floats, fold: NDArray[np.int64], may: NDArray[np.bool_], without: int
) -> Floats:
    """Scores of pairs by weights that were fitted without them and without a whole fold."""
    found = np.full(len(same), -np.inf)
    halves = fold % 2 == 0
    for half in (halves, ~halves):
        weights, known = fitted(base, words, same, may & (fold != without) & ~half)
        which = may & (fold != without) & half
        found[which] = scores(base, words, weights, known, which)
    return found


def threshold(score: Floats, same: Floats, ceiling: float) -> float:
    """The lowest score from which on no more than that share is false."""
    order = np.argsort(-score, kind="stable")
    order = order[np.isfinite(score[order])]
    false = np.cumsum(1 - same[order]) / np.arange(1, len(order) + 1)
    last = np.flatnonzero((false <= ceiling) & np.append(np.diff(score[order]) < 0, True))
    return float(score[order][last[-1]]) if len(last) else math.inf


def curve(score: Floats, same: Floats) -> list[dict[str, float]]:
    """Hits and the share of false ones, the surest pairs first."""
    order = np.argsort(-score, kind="stable")
    false = np.cumsum(1 - same[order])
    return [
        {"hits": hits, "false": round(float(false[hits - 1] / hits), 4)}
        for hits in (50, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000)
        if np.isfinite(score[order[hits - 1]])
    ]


def shown(found: Counter[str], same: int) -> dict[str, float]:
    told: dict[str, float] = {}
    for name in ("ours", "similarity"):
        hits, false = found[f"{name}_hits"], found[f"{name}_false"]
        told[f"{name}_hits"] = hits
        told[f"{name}_false_share"] = round(false / hits, 4) if hits else 0.0
        told[f"{name}_of_same"] = round((hits - false) / same, 4)
    return told


if __name__ == "__main__":
    main()
