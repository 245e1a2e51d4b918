"""When does the free tier answer? Fits its confidence that there is an answer, and checks it. JSON on the last line.

How often what it shows is right is `extractive_right.py`'s.

Half of the questions fit a logistic regression, the other half give the figures. Questions with an answer are the
answerable ones of SQuAD and those of Cranfield, each asked of its own corpus. Without one: each asked of the other
corpus (foreign), and SQuAD's with their own passage taken away (near: the rest of the article is still there).
SQuAD's adversarial questions, which change a word so that the passage no longer answers, are not fitted: no count of
words can tell them apart; their figure is given as it is.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ragsaver.settings import Settings, quiet_haystack

DECISION = 0.5
ANSWERED_LIMIT, FOREIGN_LIMIT = 0.8, 0.02


def main() -> None:
    """Ask, fit, check."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    quiet_haystack()
    from ragsaver.components import extractive
    from ragsaver.eval.dataset import load_dataset

    squad, cranfield = load_dataset(given.data / "squad"), load_dataset(given.data / "cranfield")
    answerable = [query for query in squad.queries if query.answers]
    adversarial = [query for query in squad.queries if not query.answers]
    of_squad = asked(squad, {"answerable": answerable, "near": answerable, "foreign": cranfield.queries,
                             "adversarial": adversarial})  # fmt: skip
    of_cranfield = asked(cranfield, {"answerable": cranfield.queries, "foreign": answerable})
    groups = {
        "answerable": [*of_squad["answerable"], *of_cranfield["answerable"]],
        "foreign": [*of_squad["foreign"], *of_cranfield["foreign"]],
        "near": of_squad["near"],
    }
    fitting, checking = ({name: rows[start::2] for name, rows in groups.items()} for start in (0, 1))
    weights = fit(fitting)
    in_code = [extractive.INTERCEPT, extractive.COSINE, extractive.COVERAGE, extractive.SENTENCE_COVERAGE]
    checking["adversarial"] = of_squad["adversarial"]
    answered = {name: share_answered(rows, in_code) for name, rows in checking.items()}
    result = {
        "fitted": [round(float(weight), 1) for weight in weights],
        "in_code": in_code,
        "questions": {name: len(rows) for name, rows in checking.items()},
        "answered": answered,
        "ok": bool(np.allclose(weights, in_code, atol=0.2))
        and answered["answerable"] >= ANSWERED_LIMIT
        and answered["foreign"] <= FOREIGN_LIMIT,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def asked(dataset, groups) -> dict[str, list[tuple[np.ndarray, bool]]]:
    """By group of questions, each question's signals (1, cosine, coverage, sentence coverage) and whether the
    sentence holds a gold answer."""
    from ragsaver.components.extractive import best_span, signals
    from ragsaver.components.packer import ContextPacker
    from ragsaver.components.retriever import HybridRetriever
    from ragsaver.eval.harness import indexed

    def rows(name: str, queries) -> Iterator[tuple[np.ndarray, bool]]:
        for query in queries:
            own = {document for document, grade in dataset.judged.get(query.id, {}).items() if grade > 0}
            found = list(retriever.run(query.text)["documents"])
            if name == "near":
                found = [passage for passage in found if passage.meta["source"] not in own]
            packed = packer.run(query.text, list(found))["documents"]
            best = best_span(query.text, packed)
            seen = best and signals(query.text, packed[best[0]], best[1])
            if not best or not seen:
                yield np.array([1.0, 0.0, 0.0, 0.0]), False
                continue
            right = any(answer.casefold() in best[1].casefold() for answer in query.answers)
            yield np.array([1.0, seen.cosine, seen.coverage, seen.sentence_coverage]), right

    with indexed(dataset, Settings(home=Path("unused"))) as runtime:
        retriever, packer = HybridRetriever(), ContextPacker()
        retriever.bind(runtime.resources)
        packer.bind(runtime.resources)
        return {name: list(rows(name, queries)) for name, queries in groups.items()}


def fit(groups: dict[str, list[tuple[np.ndarray, bool]]]) -> np.ndarray:
    """Half of the weight on questions with an answer."""
    share = {"answerable": 0.5, "foreign": 0.25, "near": 0.25}
    x = np.concatenate([[row for row, _ in rows] for rows in groups.values()])
    y = np.concatenate([np.full(len(rows), float(name == "answerable")) for name, rows in groups.items()])
    weight = np.concatenate([np.full(len(rows), share[name] / len(rows)) for name, rows in groups.items()])
    return fit_logistic(x, y, weight)


def fit_logistic(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Logistic regression by Newton's method; only how weights stand to each other counts."""
    weight = weight / weight.mean()
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ beta))
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x
        beta += np.linalg.solve(hessian + 1e-6 * np.eye(len(beta)), x.T @ (weight * (y - p)))
    return beta


def share_answered(rows: Sequence[tuple[np.ndarray, bool]], weights: Sequence[float]) -> float:
    """Share of questions whose confidence reaches one half."""
    return round(float(np.mean([1 / (1 + np.exp(-row @ weights)) >= DECISION for row, _ in rows])), 3)


if __name__ == "__main__":
    main()
