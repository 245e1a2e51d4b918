"""When the free tier says how sure it is, is it right so often? Fits that, and checks it by articles. JSON at the end.

SQuAD's questions, asked of its corpus. Right: the shown sentence holds a gold answer. Half of the weight is on
questions with an answer, a quarter on the same ones with their own passage taken away (`near`), a quarter on
Cranfield's questions (`foreign`): whatever is shown for these is wrong. A question is judged by weights that have seen
none of its article. `adversarial` ones, where a changed word makes the passage no answer, are neither fitted nor in the
table.

Each where what sentences are worth is counted by words, and by tokens too.

`before` is the confidence that the documents hold an answer, which was taken for that it is right.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from extractive import fit_logistic

from ragsaver.components import extractive
from ragsaver.settings import Settings, quiet_haystack

SHARES = {"answerable": 0.5, "near": 0.25, "foreign": 0.25}
BINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
LEVELS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.97)
FOLDS, GOAL, SAMPLE_EVERY = 8, 0.95, 4
WAYS = {"words": extractive.RIGHT_BY_WORDS, "tokens": extractive.RIGHT_BY_TOKENS}


def main() -> None:
    """Ask, fit, check."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments.add_argument("--rows", type=Path, help="folder: what was found for the questions, kept between runs")
    arguments.add_argument("--sample", type=Path, help="folder for every fourth of them, for the tests")
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    result: dict[str, Any] = {way: one_way(way, given.data, given.rows, given.sample) for way in WAYS}
    result["ok"] = all(result[way]["ok"] for way in WAYS)
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def one_way(way: str, data: Path, kept: Path | None, sample: Path | None) -> dict[str, Any]:
    """All of it, where what sentences are worth is counted in that way."""
    file = kept / f"{way}.json" if kept else None
    if file and file.exists():
        rows = json.loads(file.read_text())
    else:
        rows = asked(data, way)
        if file:
            file.write_text(json.dumps(rows))
    if sample:
        some = [row for name in SHARES for row in [one for one in rows if one["group"] == name][::SAMPLE_EVERY]]
        lines = [json.dumps([row["group"], *row["signs"], row["right"]]) for row in some]
        (sample / f"extractive_right_{way}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return measured(rows, WAYS[way])


def asked(data: Path, way: str) -> list[dict[str, Any]]:
    """Each question's group, article, signs (cosine, coverage, sentence's coverage, lead) and whether what is shown is
    right.
    """
    quiet_haystack()
    from ragsaver.components.extractive import best_span, lead_of, signals
    from ragsaver.components.packer import ContextPacker
    from ragsaver.components.retriever import HybridRetriever
    from ragsaver.eval.dataset import load_dataset
    from ragsaver.eval.harness import indexed

    squad, cranfield = load_dataset(data / "squad"), load_dataset(data / "cranfield")
    rows: list[dict[str, Any]] = []
    settings = Settings.model_validate({"home": "unused", "context": {"match": way}})
    with indexed(squad, settings) as runtime:
        retriever, packer = HybridRetriever(), ContextPacker()
        retriever.bind(runtime.resources)
        packer.bind(runtime.resources)

        def read(group, query, article, found) -> None:
            packed = packer.run(query.text, list(found))["documents"]
            best = best_span(query.text, packed)
            seen = best and signals(query.text, packed[best[0]], best[1], lead_of(packed))
            signs = [seen.cosine, seen.coverage, seen.sentence_coverage, seen.lead] if seen else [0.0] * 4
            holds = any(answer.casefold() in best[1].casefold() for answer in query.answers) if seen else False
            right = holds and group == "answerable"
            rows.append({"group": group, "article": article, "signs": [round(one, 4) for one in signs], "right": right})

        for number, query in enumerate([*squad.queries, *cranfield.queries]):
            own = {one for one, grade in squad.judged.get(query.id, {}).items() if grade > 0}
            article = min(own).rpartition("-")[0] if own else f"none {number % FOLDS}"
            found = list(retriever.run(query.text)["documents"])
            if query.answers:
                read("answerable", query, article, found)
                read("near", query, article, [one for one in found if one.meta["source"] not in own])
            else:
                read("adversarial" if number < len(squad.queries) else "foreign", query, article, found)
    return rows


def measured(rows: list[dict[str, Any]], in_code: tuple[float, ...]) -> dict[str, Any]:
    """The fit, and what it comes to."""
    signs = np.array([[1.0, *row["signs"]] for row in rows])
    group, article = (np.array([row[name] for row in rows]) for name in ("group", "article"))
    right = np.array([row["right"] for row in rows], dtype=float)
    weight = np.zeros(len(rows))
    for name, share in SHARES.items():
        weight[group == name] = share / (group == name).sum()
    names = sorted(set(article))
    fold = np.array([names.index(one) % FOLDS for one in article])
    with_lead, without = [0, 1, 2, 3, 4], [0, 1, 2, 3]
    before = (extractive.INTERCEPT, extractive.COSINE, extractive.COVERAGE, extractive.SENTENCE_COVERAGE)
    judged = {"before": 1 / (1 + np.exp(-signs[:, without] @ np.array(before)))}
    for told, columns in (("after", with_lead), ("without_lead", without)):
        judged[told] = np.zeros(len(rows))
        for one in range(FOLDS):
            beta = fit_logistic(signs[fold != one][:, columns], right[fold != one], weight[fold != one])
            judged[told][fold == one] = 1 / (1 + np.exp(-signs[fold == one][:, columns] @ beta))
    fitted = fit_logistic(signs, right, weight)
    fitted_without = fit_logistic(signs[:, without], right, weight)
    return {
        "fitted": [round(float(one), 2) for one in fitted],
        "fitted_without_lead": [round(float(one), 2) for one in fitted_without],
        "in_code": list(in_code),
        "questions": {name: int((group == name).sum()) for name in (*SHARES, "adversarial")},
        "reliability": {told: reliability(p, right, weight) for told, p in judged.items()},
        "from": {told: {str(level): at_least(level, p, right, weight, group) for level in LEVELS}
                 for told, p in judged.items()},
        "ok": bool(
            np.allclose(fitted, in_code, atol=0.05)
            and at_least(GOAL, judged["after"], right, weight, group)["right"] >= GOAL
        ),
    }  # fmt: skip


def reliability(p, right, weight) -> list[dict[str, float]]:
    """By bins of what is stated: mean of that, share that is right, and how many questions."""
    table = []
    for low, high in pairwise(BINS):
        mine = (p >= low) & ((p < high) | (high == 1.0)) & (weight > 0)
        if mine.any():
            of = weight[mine] / weight[mine].sum()
            stated, share = float(of @ p[mine]), float(of @ right[mine])
            table.append({"from": low, "stated": round(stated, 3), "right": round(share, 3), "n": int(mine.sum())})
    return table


def at_least(level, p, right, weight, group) -> dict[str, float]:
    """Share of each group that is answered from a level on, and how many of these answers are right: of those with an
    answer, and of all in their shares.
    """
    sure, own = p >= level, group == "answerable"
    told = {name: round(float(sure[group == name].mean()), 3) for name in (*SHARES, "adversarial")}
    if sure[own].any():
        told["right_of_answerable"] = round(float(right[sure & own].mean()), 3)
        told["right"] = round(float(weight[sure] @ right[sure] / weight[sure].sum()), 3)
    return told


if __name__ == "__main__":
    main()
