"""The questions about long documents of tests/data, and whether a text answers one."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

QUESTIONS = Path("tests/data/docs_questions/questions.jsonl")


def load_questions(file: Path) -> list[dict[str, Any]]:
    """Each with `text` and `answers`."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def answered(questions: Sequence[dict[str, Any]], contexts: Sequence[Sequence[str]]) -> float:
    """Share of the questions of which an answer stands in one of the texts for it."""
    there = [
        any(plain(answer) in plain(text) for answer in question["answers"] for text in context)
        for question, context in zip(questions, contexts, strict=True)
    ]
    return round(statistics.fmean(there), 4)


def plain(text: str) -> str:
    """Case and white space aside."""
    return " ".join(text.lower().split())
