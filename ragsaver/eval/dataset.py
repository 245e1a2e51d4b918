"""Datasets in BEIR's layout: `corpus.jsonl`, `queries.jsonl`, `qrels.tsv` or `qrels/test.tsv`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragsaver.errors import UsageError


@dataclass(frozen=True, slots=True)
class CorpusDocument:
    """One document to search in."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """One question, with gold answers where the dataset has them."""

    id: str
    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A corpus, its questions, and which documents were judged relevant (grade by document, by query)."""

    corpus: tuple[CorpusDocument, ...]
    queries: tuple[Query, ...]
    judged: dict[str, dict[str, int]]


def load_dataset(folder: Path) -> Dataset:
    """Read a dataset.

    :raises UsageError: naming the file and line that is wrong or missing.
    """
    if not folder.is_dir():
        raise UsageError("there is no such dataset folder", where=str(folder))
    corpus = tuple(
        CorpusDocument(str(_field(row, "_id", place)), str(row.get("title") or ""), str(row.get("text") or ""))
        for row, place in _rows(folder / "corpus.jsonl")
    )
    queries = tuple(
        Query(str(_field(row, "_id", place)), str(_field(row, "text", place)), _answers(row, place))
        for row, place in _rows(folder / "queries.jsonl")
    )
    return Dataset(corpus, queries, _judgements(folder))


def names_of(folders: Sequence[Path]) -> list[str]:
    """What the data sets are called.

    :raises UsageError: if two are called the same: what is measured of one would be taken for the other's.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise UsageError("two data sets have the same name", where=", ".join(map(str, folders)))
    return names


def judged_queries(dataset: Dataset, folder: Path) -> list[Query]:
    """The questions that have a relevant document.

    :raises UsageError: if there is none.
    """
    judged = [query for query in dataset.queries if any(g > 0 for g in dataset.judged.get(query.id, {}).values())]
    if not judged:
        raise UsageError("no query has a relevant document", where=str(folder))
    return judged


def _rows(file: Path) -> Iterator[tuple[dict[str, Any], str]]:
    if not file.is_file():
        raise UsageError("is missing", where=str(file), remedy="The dataset must be in BEIR's layout")
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = json.loads(line.decode())
                except ValueError as error:
                    raise UsageError(f"is not JSON: {error}", where=f"{file}:{number}") from None
                if not isinstance(row, dict):
                    raise UsageError("is no JSON object", where=f"{file}:{number}")
                yield row, f"{file}:{number}"


def _field(row: dict[str, Any], name: str, place: str) -> Any:
    if name not in row:
        raise UsageError(f"has no `{name}`", where=place)
    return row[name]


def _answers(row: dict[str, Any], place: str) -> tuple[str, ...]:
    answers = row.get("answers") or ()
    if not isinstance(answers, list | tuple) or not all(isinstance(one, str) for one in answers):
        raise UsageError("`answers` is no list of texts", where=place)
    return tuple(answers)


def _judgements(folder: Path) -> dict[str, dict[str, int]]:
    file = next((f for f in (folder / "qrels.tsv", folder / "qrels" / "test.tsv") if f.is_file()), None)
    if file is None:
        raise UsageError("has neither qrels.tsv nor qrels/test.tsv", where=str(folder))
    judged: dict[str, dict[str, int]] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            query, document, grade = line.decode().split("\t")
            judged.setdefault(query, {})[document] = int(grade)
        except ValueError:
            if number == 1:
                continue  # the header
            raise UsageError("must be query-id, corpus-id and grade", where=f"{file}:{number}") from None
    return judged
