"""How often does the packed context hold the answer, at which budget, beside whole passages? JSON on the last line.

The questions of tests/data about long documents. The plain recipe takes whole passages in the fused order while they
fit the same budget, the last one cut at its end; the packer takes sentences. Both get the same passages, and both pay
for a passage's heading, which shows where it stands. A third gives the packer's money to outlines of the documents used
most as well, at a tenth of a fresh token's price: the questions come one after another, each at the same money.
`packed` is by tokens too, the default; `by_words` with `context.match: words`. `pack_ms` is of 50 passages, as most of
a running service are: their tokens kept in memory, and `from_disk_ms` where they are in the cache's file. `--budgets`
without a number measures times alone.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from doc_questions import QUESTIONS, answered, load_questions
from haystack import Document

from ragsaver.components.evidence import Evidence, gathering
from ragsaver.components.packer import ContextPacker
from ragsaver.components.retriever import HybridRetriever
from ragsaver.components.stable_context import StableContext
from ragsaver.ingestion.order import IngestOrder
from ragsaver.models.protocol import Encoder
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings

BUDGETS = (100, 200, 400, 800, 1600)
PASSAGES, MS_LIMIT = 50, 10.0


def _settings(home: Path) -> Settings:
    """A model with a price, which is never asked."""
    price = {"input_per_mtok": 1, "cached_input_per_mtok": 0.1, "output_per_mtok": 4}
    return Settings.model_validate(
        {
            "home": home,
            "generation": {"models": [{"name": "priced"}]},
            "spend": {"prices": {"priced": price}},
        }
    )


def _packed(
    runtime: Runtime, packer: ContextPacker, questions: Sequence[dict[str, Any]], found: Sequence[list[Document]]
) -> list[list[Document]]:
    """What a packer makes of each question's passages."""
    packer.bind(runtime.resources)
    return [
        list(packer.run(question["text"], passages)["documents"])
        for question, passages in zip(questions, found, strict=True)
    ]


def _outlined(
    runtime: Runtime, packer: ContextPacker, questions: Sequence[dict[str, Any]], found: Sequence[list[Document]]
) -> list[list[str]]:
    """What questions that come one after another have in front of them, outlines and packed passages."""
    runtime.resources.favourites.forget()
    outlines = StableContext()
    outlines.bind(runtime.resources)
    contexts = []
    for question, passages in zip(questions, found, strict=True):
        stable = list(outlines.run(question["text"])["documents"])
        packed = packer.run(question["text"], passages, stable)["documents"]
        contexts.append([one.content or "" for one in packed])
    return contexts


def main() -> None:
    """Ingest the documents, and pack for every question at every budget."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--docs", type=Path, default=Path("../shared/data/docs-history/3.0"))
    arguments.add_argument("--questions", type=Path, default=QUESTIONS)
    arguments.add_argument("--budgets", type=int, nargs="*", default=BUDGETS)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    questions = load_questions(given.questions)
    with tempfile.TemporaryDirectory() as home, open_runtime(_settings(Path(home)), "benchmark") as runtime:
        runtime.ingestor.ingest(IngestOrder(paths=(str(given.docs),)), runtime.scope())
        retriever, many = HybridRetriever(), HybridRetriever(top_k=PASSAGES)
        for component in (retriever, many):
            component.bind(runtime.resources)
        found = [list(retriever.run(question["text"])["documents"]) for question in questions]
        fifty = [list(many.run(question["text"])["documents"]) for question in questions]
        rows = []
        for budget in given.budgets:
            packer, by_words = ContextPacker(budget_tokens=budget), ContextPacker(budget_tokens=budget, match="words")
            packed, unmatched = (_packed(runtime, one, questions, found) for one in (packer, by_words))
            whole = [plain_recipe(passages, budget, runtime.resources.encoder) for passages in found]
            rows.append(
                {
                    "budget_tokens": budget,
                    "packed": answered(questions, [[one.content or "" for one in some] for some in packed]),
                    "by_words": answered(questions, [[one.content or "" for one in some] for some in unmatched]),
                    "packed_tokens": round(
                        statistics.fmean(sum(one.meta["tokens"] for one in some) for some in packed)
                    ),
                    "plain": answered(questions, whole),
                    "outlined": answered(questions, _outlined(runtime, packer, questions, found)),
                }
            )
        packer, by_words = ContextPacker(), ContextPacker(match="words")
        for component in (packer, by_words):
            component.bind(runtime.resources)
        asked = list(zip([question["text"] for question in questions], fifty, strict=True))
        took_ms = [pack_ms(packer, text, some) for text, some in asked]
        by_words_ms = [pack_ms(by_words, text, some) for text, some in asked]
        tokens = runtime.resources.reranking.tokens
        from_disk_ms = [pack_ms(packer, text, some, tokens.forget) for text, some in asked]
        in_found = answered(questions, [[one.content or "" for one in some] for some in found])
    result = {
        "questions": len(questions),
        "answer_in_passages": in_found,
        "rows": rows,
        "pack_passages": PASSAGES,
        "pack_ms": round(statistics.median(took_ms), 2),
        "pack_ms_limit": MS_LIMIT,
        "from_disk_ms": round(statistics.median(from_disk_ms), 2),
        "by_words_ms": round(statistics.median(by_words_ms), 2),
        "load": round(os.getloadavg()[0], 1),
        "ok": all(row["packed"] >= row["plain"] for row in rows) and statistics.median(took_ms) < MS_LIMIT,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def plain_recipe(passages: Sequence[Document], budget: int, encoder: Encoder) -> list[str]:
    """Whole passages while they fit, and the words of the next one that do."""
    texts: list[str] = []
    left = budget
    headings = encoder.count_tokens([str(passage.meta.get("heading", "")) for passage in passages])
    for passage, heading in zip(passages, headings, strict=True):
        text = passage.content or ""
        tokens = int(passage.meta["tokens"])
        left -= heading
        if tokens > left:
            words = text.split(" ")
            texts.append(" ".join(words[: len(words) * max(0, left) // tokens]))
            break
        texts.append(text)
        left -= tokens
    return texts


def pack_ms(
    packer: ContextPacker, question: str, passages: Sequence[Document], forget: Callable[[], None] = lambda: None
) -> float:
    """Milliseconds to pack what was packed before, as most passages of a running service were, for a question whose
    vectors are there.
    """
    with gathering(Evidence()):
        packer.run(question, list(passages))
        forget()
        started = time.perf_counter()
        packer.run(question, list(passages))
        return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
