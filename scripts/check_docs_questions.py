"""Check the questions about Haystack's documentation against the documents themselves.

Every source must exist, every answer must stand in its source's text (case and white space aside), not in its title
or a heading, not in the question and not in more than a quarter of all documents, and `place` must be the third of the
source in which an answer first stands. Prints what is wrong, then JSON counts on the last line; 1 if anything is.
"""

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = ROOT / "tests" / "data" / "docs_questions" / "questions.jsonl"
DOCUMENTS = ROOT.parent / "shared" / "data" / "docs-history" / "3.0"

FIELDS = {"_id": str, "text": str, "source": str, "answers": list, "place": str}
PLACES = ("start", "middle", "end")
MOST_DOCUMENTS = 0.25  # the share of all documents that an answer may stand in
MOST_ANSWERS = 3
MOST_WORDS = 8
MARKUP = re.compile(r"[`*\[\]|]")  # an answer across markup is lost when the markup is


def main() -> int:
    """Check the questions: 1 if any is wrong, 2 if there are no documents."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--docs", type=Path, default=DOCUMENTS, help="the folder of documents")
    arguments.add_argument("--questions", type=Path, default=QUESTIONS, help="the questions, one JSON object per line")
    given = arguments.parse_args()
    documents = read_documents(given.docs)
    if not documents:
        print(f"{given.docs}: no .mdx files; name their folder with --docs", file=sys.stderr)
        return 2
    try:
        rows = read_questions(given.questions)
    except ValueError as error:
        print(error)
        print(json.dumps(counts([], documents, [str(error)])))
        return 1
    wrong = wrong_shapes(rows)
    if not wrong:
        wrong = wrong_answers(rows, documents)
    for line in wrong:
        print(line)
    print(json.dumps(counts(rows, documents, wrong)))
    return 1 if wrong else 0


def read_documents(folder: Path) -> dict[str, str]:
    """The text of each document by its path below the folder."""
    paths = sorted(folder.rglob("*.mdx"))
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def read_questions(path: Path) -> list[dict[str, Any]]:
    """The questions in the order of the file.

    :raises ValueError: if a line is no JSON object.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number}: not a JSON object")
        rows.append(row)
    return rows


def wrong_shapes(rows: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the rows, whatever the documents say."""
    wrong = []
    seen: Counter[str] = Counter(str(row.get("_id")) for row in rows)
    texts: Counter[str] = Counter(folded(str(row.get("text"))) for row in rows)
    for number, row in enumerate(rows, 1):
        place = f"line {number} ({row.get('_id')})"
        if set(row) != set(FIELDS) or any(type(row[name]) is not FIELDS[name] or not row[name] for name in FIELDS):
            wrong.append(f"{place}: needs {', '.join(FIELDS)}, none empty, and nothing else")
            continue
        if seen[row["_id"]] > 1:
            wrong.append(f"{place}: its id is not unique")
        if texts[folded(row["text"])] > 1:
            wrong.append(f"{place}: the question is asked twice")
        if row["place"] not in PLACES:
            wrong.append(f"{place}: place is none of {', '.join(PLACES)}")
        if not all(isinstance(answer, str) and answer.strip() for answer in row["answers"]):
            wrong.append(f"{place}: answers are strings that are not empty")
            continue
        if len(row["answers"]) > MOST_ANSWERS:
            wrong.append(f"{place}: more than {MOST_ANSWERS} answers")
        for answer in row["answers"]:
            if len(answer.split()) > MOST_WORDS or MARKUP.search(answer):
                wrong.append(f"{place}: {answer!r} has more than {MOST_WORDS} words, or markup")
            if folded(answer) in folded(row["text"]):
                wrong.append(f"{place}: the question holds its answer {answer!r}")
    return wrong


def wrong_answers(rows: list[dict[str, Any]], documents: dict[str, str]) -> list[str]:
    """What is wrong with the sources, answers and places of rows whose shape is right."""
    wrong = []
    texts = {source: folded(text) for source, text in documents.items()}
    most = int(MOST_DOCUMENTS * len(documents))
    for number, row in enumerate(rows, 1):
        place, source = f"line {number} ({row['_id']})", row["source"]
        if source not in texts:
            wrong.append(f"{place}: there is no document {source}")
            continue
        titles = headings(documents[source])
        for answer in row["answers"]:
            wanted = folded(answer)
            if wanted not in texts[source]:
                wrong.append(f"{place}: {answer!r} does not stand in {source}")
            if any(wanted in title for title in titles):
                wrong.append(f"{place}: {answer!r} stands in a heading of {source}")
            if (found := sum(wanted in text for text in texts.values())) > most:
                wrong.append(f"{place}: {answer!r} stands in {found} documents, more than {most}")
        if (third := first_third(row["answers"], texts[source])) not in (None, row["place"]):
            wrong.append(f"{place}: place is {row['place']}, but an answer first stands in the {third}")
    return wrong


def headings(text: str) -> list[str]:
    """The title and the headings of a document, folded; lines of code that begin with # are none."""
    found, in_code = [], False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code and line.startswith(("title:", "#")):
            found.append(folded(line))
    return found


def first_third(answers: list[str], text: str) -> str | None:
    """The third of the folded text where an answer first stands; None where none does."""
    found = [position for answer in answers if (position := text.find(folded(answer))) >= 0]
    return PLACES[min(found) * 3 // len(text)] if found else None


def folded(text: str) -> str:
    """The text with case and white space made alike."""
    return " ".join(text.casefold().split())


def counts(rows: list[dict[str, Any]], documents: dict[str, str], wrong: list[str]) -> dict[str, Any]:
    """What there is, in numbers."""
    sources = {str(row.get("source")) for row in rows}
    places = Counter(str(row.get("place")) for row in rows)
    return {
        "questions": len(rows),
        "sources": len(sources),
        "documents": len(documents),
        "places": {place: places[place] for place in PLACES},
        "folders": dict(sorted(Counter(source.split("/")[0] for source in sources).items())),
        "wrong": len(wrong),
    }


if __name__ == "__main__":
    sys.exit(main())
