"""The questions about Haystack's documentation: their shape always, their answers where the documents are there."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_spec = importlib.util.spec_from_file_location("check_docs_questions", ROOT / "scripts" / "check_docs_questions.py")
assert _spec and _spec.loader
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)

DOCUMENTS = Path(os.environ.get("RAGSAVER_TEST_DOCS", check.DOCUMENTS))
ROW = {"_id": "d1", "text": "How many?", "source": "a.mdx", "answers": ["Ten at most"], "place": "end"}
TEXT = "---\ntitle: A\n---\n# A\nThe head.\n## Limits of size\n" + "More words. " * 20 + "There are ten\n  at most."


def test_the_questions_have_their_shape():
    rows = check.read_questions(check.QUESTIONS)
    assert check.wrong_shapes(rows) == []
    assert len(rows) >= 100
    assert len({row["source"] for row in rows}) >= 60


def test_the_answers_stand_in_their_documents():
    documents = check.read_documents(DOCUMENTS)
    if documents:  # they are not part of this repository
        assert check.wrong_answers(check.read_questions(check.QUESTIONS), documents) == []


def test_a_right_question_is_not_complained_of():
    assert check.wrong_shapes([ROW]) == []
    assert check.wrong_answers([ROW], others({"a.mdx": TEXT})) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answers": []}, "none empty"),
        ({"answers": [""]}, "not empty"),
        ({"answers": ["q", "x", "j", "z"]}, "more than 3"),
        ({"answers": ["one two three four five six seven eight nine"]}, "more than 8 words"),
        ({"answers": ["`ten`"]}, "markup"),
        ({"answers": ["how  MANY"]}, "holds its answer"),
        ({"place": "top"}, "place is none"),
        ({"place": 3}, "needs _id"),
        ({"more": 1}, "nothing else"),
    ],
)
def test_a_wrong_shape_is_told(change: dict[str, object], said: str):
    (line,) = check.wrong_shapes([ROW | change])
    assert "line 1 (d1)" in line
    assert said in line


def test_what_is_there_twice_is_told():
    assert [line.split(": ")[1] for line in check.wrong_shapes([ROW, ROW])] == [
        "its id is not unique",
        "the question is asked twice",
    ] * 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": "b.mdx"}, "no document b.mdx"),
        ({"answers": ["eleven"]}, "does not stand in a.mdx"),
        ({"answers": ["limits of"], "place": "start"}, "in a heading"),
        ({"answers": ["other"], "place": "end"}, "stands in 4 documents"),
        ({"place": "middle"}, "first stands in the end"),
    ],
)
def test_a_wrong_answer_is_told(change: dict[str, object], said: str):
    lines = check.wrong_answers([ROW | change], others({"a.mdx": TEXT + " The other."}))
    assert any(said in line for line in lines)


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        (json.dumps(ROW), 0, ""),
        (json.dumps(ROW | {"answers": ["eleven"]}), 1, "line 1 (d1): 'eleven' does not stand in a.mdx"),
        ("[]", 1, "line 1: not a JSON object"),
        ("{", 1, "line 1: Expecting"),
    ],
)
def test_the_last_line_counts_and_what_is_wrong_is_said_before(
    line: str, status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    for name, text in others({"a.mdx": TEXT}).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "q.jsonl").write_text(line + "\n")
    given = ["check", "--docs", str(tmp_path), "--questions", str(tmp_path / "q.jsonl")]
    monkeypatch.setattr(sys, "argv", given)
    assert check.main() == status
    *before, last = capsys.readouterr().out.splitlines()
    assert json.loads(last)["wrong"] == status
    assert "\n".join(before).startswith(said)
    assert bool(before) == bool(status)


def test_no_documents_is_an_error_that_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(sys, "argv", ["check", "--docs", str(tmp_path)])
    assert check.main() == 2
    assert "--docs" in capsys.readouterr().err


def others(documents: dict[str, str]) -> dict[str, str]:
    """The documents, with three more that say nothing of them."""
    return documents | {f"other{number}.mdx": "Of other things." for number in range(3)}
