"""How often does the packed context hold the answer, at which budget, beside whole passages? JSON on the last line.

The questions of tests/data about long documents. The plain recipe takes whole passages in the fused order while they
fit the same budget, the last one cut at its end; the packer takes sentences. Both get the same passages, and both pay
for a passage's heading, which shows where it stands.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from doc_questions import QUESTIONS, answered, load_questions
from haystack import Document

from ragsaver.components.packer import ContextPacker
from ragsaver.components.retriever import HybridRetriever
from ragsaver.ingestion.order import IngestOrder
from ragsaver.models.protocol import Encoder
from ragsaver.pipelines.runtime import open_runtime
from ragsaver.settings import Settings

BUDGETS = (100, 200, 400, 800, 1600)
PASSAGES, MS_LIMIT = 50, 10.0


def main() -> None:
    """Ingest the documents, and pack for every question at every budget."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--docs", type=Path, default=Path("../shared/data/docs-history/3.0"))
    arguments.add_argument("--questions", type=Path, default=QUESTIONS)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    questions = load_questions(given.questions)
    with tempfile.TemporaryDirectory() as home, open_runtime(Settings(home=Path(home)), "benchmark") as runtime:
        runtime.ingestor.ingest(IngestOrder(paths=(str(given.docs),)), runtime.scope())
        retriever, many = HybridRetriever(), HybridRetriever(top_k=PASSAGES)
        for component in (retriever, many):
            component.bind(runtime.resources)
        found = [list(retriever.run(question["text"])["documents"]) for question in questions]
        fifty = [list(many.run(question["text"])["documents"]) for question in questions]
        rows = []
        for budget in BUDGETS:
            packer = ContextPacker(budget_tokens=budget)
            packer.bind(runtime.resources)
            packed = [
                list(packer.run(question["text"], passages)["documents"])
                for question, passages in zip(questions, found, strict=True)
            ]
            whole = [plain_recipe(passages, budget, runtime.resources.encoder) for passages in found]
            rows.append(
                {
                    "budget_tokens": budget,
                    "packed": answered(questions, [[one.content or "" for one in some] for some in packed]),
                    "packed_tokens": round(
                        statistics.fmean(sum(one.meta["tokens"] for one in some) for some in packed)
                    ),
                    "plain": answered(questions, whole),
                }
            )
        packer = ContextPacker()
        packer.bind(runtime.resources)
        took_ms = [pack_ms(packer, question["text"], some) for question, some in zip(questions, fifty, strict=True)]
        in_found = answered(questions, [[one.content or "" for one in some] for some in found])
    result = {
        "questions": len(questions),
        "answer_in_passages": in_found,
        "rows": rows,
        "pack_passages": PASSAGES,
        "pack_ms": round(statistics.median(took_ms), 2),
        "pack_ms_limit": MS_LIMIT,
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


def pack_ms(packer: ContextPacker, question: str, passages: Sequence[Document]) -> float:
    """Milliseconds to pack what was packed before, as most passages of a running service were."""
    packer.run(question, list(passages))
    started = time.perf_counter()
    packer.run(question, list(passages))
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
