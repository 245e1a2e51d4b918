"""Fit and check what the packer takes a sentence to be worth (`ragsaver/components/sentence_worth.json`).

Of each question's sentences, those that hold a gold answer are to score best: a softmax over the sentences, with the
weights that make the answers likeliest (scipy's L-BFGS). Two sets, short articles (SQuAD) and long documentation pages
(tests/data/docs_questions), the second counted `--docs-weight` times since it is small. Each set is cut into five
parts: the printed shares are those of parts that the weights were not fitted on, beside those of the shipped weights.
Both by the words alone, and by the vectors of tokens too (`context.match: tokens`).
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from doc_questions import QUESTIONS, load_questions, plain
from numpy.typing import NDArray
from scipy.optimize import minimize

from ragsaver.components import sentence_worth
from ragsaver.components.budget_filling import choose
from ragsaver.components.document_values import text_of
from ragsaver.components.packer import ContextPacker
from ragsaver.components.retriever import HybridRetriever
from ragsaver.components.sentence_match import matches
from ragsaver.components.sentence_worth import FEATURES, TOKEN_FEATURES, Candidate, features
from ragsaver.eval.dataset import load_dataset
from ragsaver.eval.harness import indexed
from ragsaver.ingestion.order import IngestOrder
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings

FOLDS, L2, COMPLETE_FROM = 5, 1e-3, 0.8
BUDGETS = (100, 200, 400, 800)
WEIGHTS = Path("ragsaver/components/sentence_worth.json")


class Case(NamedTuple):
    """A question, its candidates, their features and which sentences hold an answer."""

    question: str
    answers: list[str]
    candidates: list[Candidate]
    features: NDArray[np.float64]
    holds: NDArray[np.bool_]


def case_of(question: str, answers: Sequence[str], candidates: list[Candidate]) -> Case:
    """Look for the answers in the candidates' sentences."""
    wanted = [plain(answer) for answer in answers]
    texts = [plain(one.text) for candidate in candidates for one in candidate.sentences]
    holds = np.array([any(answer in text for answer in wanted) for text in texts], dtype=bool)
    return Case(question, wanted, candidates, features(question, candidates), holds)


def fit(cases: Sequence[Case], times: Sequence[float]) -> NDArray[np.float64]:
    """The weights that make the answers likeliest.

    :param times: that each case counts.
    """
    known = [(one, count) for one, count in zip(cases, times, strict=True) if one.holds.any()]
    rows = np.concatenate([one.features for one, _ in known])
    holds = np.concatenate([one.holds for one, _ in known]).astype(float)
    sizes = [len(one.holds) for one, _ in known]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    of = np.repeat(np.arange(len(known)), sizes)
    counts = np.array([count for _, count in known])
    counts = counts / counts.sum()

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = rows @ weights
        grown = np.exp(scores - np.maximum.reduceat(scores, starts)[of])
        whole, right = np.add.reduceat(grown, starts), np.add.reduceat(grown * holds, starts) + 1e-12
        value = counts @ (np.log(whole) - np.log(right)) + L2 * weights @ weights
        slope = rows.T @ (counts[of] * (grown / whole[of] - grown * holds / right[of])) + 2 * L2 * weights
        return float(value), slope

    return np.asarray(minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x)


def answered(cases: Sequence[Case], weights: NDArray[np.float64]) -> dict[str, float]:
    """Share of the cases of which a packed sentence or run of sentences holds an answer, by budget."""
    hits = dict.fromkeys(BUDGETS, 0)
    for one in cases:
        worth = sentence_worth.by_candidate((one.features @ weights).tolist(), one.candidates)
        for budget in BUDGETS:
            chosen = choose(worth, one.candidates, budget, COMPLETE_FROM)
            context = plain(
                " … ".join(
                    " ".join(candidate.sentences[n].text for n in mine)
                    for candidate, mine in zip(one.candidates, chosen, strict=True)
                )
            )
            hits[budget] += any(answer in context for answer in one.answers)
    return {str(budget): round(found / len(cases), 4) for budget, found in hits.items()}


def checked(sets: dict[str, list[Case]], times: dict[str, float]) -> dict[str, dict[str, float]]:
    """The cross-validated shares of each set."""
    parts = {name: np.random.default_rng(0).permutation(len(cases)) % FOLDS for name, cases in sets.items()}
    found: dict[str, dict[str, float]] = {name: dict.fromkeys(map(str, BUDGETS), 0.0) for name in sets}
    for part in range(FOLDS):
        train = {
            name: [one for one, at in zip(cases, parts[name], strict=True) if at != part]
            for name, cases in sets.items()
        }
        weights = fit_all(train, times)
        for name, cases in sets.items():
            left = [one for one, at in zip(cases, parts[name], strict=True) if at == part]
            for budget, share in answered(left, weights).items():
                found[name][budget] += share * len(left) / len(cases)
    return {name: {budget: round(share, 4) for budget, share in shares.items()} for name, shares in found.items()}


def fit_all(sets: dict[str, list[Case]], times: dict[str, float]) -> NDArray[np.float64]:
    """Fit on several sets."""
    return fit(
        [one for cases in sets.values() for one in cases],
        [times[name] for name, cases in sets.items() for _ in cases],
    )


def cases_of(runtime: Runtime, questions: Sequence[tuple[str, Sequence[str]]]) -> Iterator[Case]:
    """Retrieve for each question, split what was found, and read it by the token."""
    retriever, packer = HybridRetriever(), ContextPacker()
    retriever.bind(runtime.resources)
    packer.bind(runtime.resources)
    for text, answers in questions:
        found = list(retriever.run(text)["documents"])
        case = case_of(text, answers, packer.candidates(found))
        tokens = matches(
            runtime.resources, text, [text_of(one) for one in found], case.candidates, runtime.scope().tenant
        )
        yield case._replace(features=np.hstack([case.features, tokens]))


@contextmanager
def _documents(folder: Path) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory() as home, open_runtime(_patient(home), "benchmark") as runtime:
        runtime.ingestor.ingest(IngestOrder(paths=(str(folder),)), runtime.scope())
        yield runtime


def main() -> None:
    """Fit, cross-validate and compare with what is shipped."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--squad", type=Path, default=Path("../shared/data/squad"))
    arguments.add_argument("--docs", type=Path, default=Path("../shared/data/docs-history/3.0"))
    arguments.add_argument("--questions", type=Path, default=QUESTIONS)
    arguments.add_argument("--docs-weight", type=float, default=6.0)
    arguments.add_argument("--write", action="store_true", help=f"write {WEIGHTS}")
    given = arguments.parse_args()
    squad = load_dataset(given.squad)
    with tempfile.TemporaryDirectory() as home, indexed(squad, _patient(home)) as runtime:
        asked = [(query.text, query.answers) for query in squad.queries if query.answers]
        sets = {"squad": list(cases_of(runtime, asked))}
    with _documents(given.docs) as runtime:
        questions = [(one["text"], one["answers"]) for one in load_questions(given.questions)]
        sets["docs"] = list(cases_of(runtime, questions))
    by_words = {
        name: [one._replace(features=one.features[:, : len(FEATURES)]) for one in cases] for name, cases in sets.items()
    }
    times = {"squad": 1.0, "docs": given.docs_weight}
    ways = {"weights": by_words, "weights_with_tokens": sets}
    fits = {way: fit_all(cases, times) for way, cases in ways.items()}
    told = {
        way: {name: round(float(one), 3) for name, one in zip(FEATURES + TOKEN_FEATURES, found, strict=False)}
        for way, found in fits.items()
    }
    if given.write:
        by = f"benchmarks/sentence_worth.py --docs-weight {given.docs_weight:g}"
        WEIGHTS.write_text(json.dumps({"fitted_by": by, **told}, indent=1) + "\n")
        sentence_worth.weights.cache_clear()
    result = {way: compared(cases, times, tokens=way != "weights") for way, cases in ways.items()}
    ok = all(one["ok"] for one in result.values())
    print(
        json.dumps({"questions": {name: len(cases) for name, cases in sets.items()}, **result, "fit": told, "ok": ok})
    )


def _patient(home: str) -> Settings:
    """Settings under which all passages are read, and none twice."""
    return Settings.model_validate({"home": home, "context": {"deadline_ms": 60_000}, "rerank": {"cache_mb": 2048}})


def compared(sets: dict[str, list[Case]], times: dict[str, float], *, tokens: bool) -> dict[str, Any]:
    """What weights reach on what they were not fitted on, and the shipped ones on all."""
    shipped = {name: answered(cases, sentence_worth.weights(tokens=tokens)) for name, cases in sets.items()}
    validated = checked(sets, times)
    return {
        "cross_validated": validated,
        "shipped": shipped,
        "ok": all(
            shipped[name][budget] >= share - 0.01
            for name, shares in validated.items()
            for budget, share in shares.items()
        ),
    }


if __name__ == "__main__":
    main()
