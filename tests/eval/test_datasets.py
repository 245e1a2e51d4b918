"""A dataset loads, is measured through the real pipeline, or says which line is wrong."""

import json
from pathlib import Path

import pytest

from ragsaver.errors import UsageError
from ragsaver.eval.context import evaluate_context
from ragsaver.eval.dataset import load_dataset
from ragsaver.eval.retrieval import evaluate_retrieval
from ragsaver.settings import Settings
from tests.commands import as_json, run

CORPUS = [
    {"_id": "d1", "title": "Parrots", "text": "A grey parrot eats forty grams of seeds each day."},
    {"_id": "d2", "title": "Cats", "text": "Cats sleep sixteen hours a day, mostly in the sun."},
    {"_id": "d3", "title": "", "text": "The office issues <b>permits</b> & stamps them."},
]
QUERIES = [
    {"_id": "q1", "text": "How much does a parrot eat?", "answers": ["forty grams"]},
    {"_id": "q2", "text": "How long do cats sleep?", "answers": ["sixteen  Hours"]},
    {"_id": "q3", "text": "Who issues permits?", "answers": ["a minister"]},
    {"_id": "q4", "text": "Nobody judged this one"},
]
JUDGEMENTS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\nq3\td3\t1\n"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, CORPUS)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, QUERIES)))
    (folder / "qrels.tsv").write_text(JUDGEMENTS)
    return folder


def test_retrieval_is_measured_over_the_judged_queries(dataset: Path, tmp_path: Path):
    report = evaluate_retrieval(dataset, Settings(home=tmp_path / "untouched"))
    assert (report.queries, report.ndcg_at_10, report.recall_at_100, report.mrr_at_10) == (3, 1.0, 1.0, 1.0)
    assert report.tokens_per_query > 20 and report.latency_ms.p95 >= report.latency_ms.p50 > 0
    assert not (tmp_path / "untouched").exists()


def test_context_counts_gold_answers_case_and_spaces_aside(dataset: Path, tmp_path: Path):
    report = evaluate_context(dataset, Settings(home=tmp_path), 200)
    assert (report.queries, report.answer_in_context) == (3, round(2 / 3, 4))
    assert 0 < report.tokens_per_query <= 200


def test_a_wrong_judgement_lowers_the_score(dataset: Path, tmp_path: Path):
    (dataset / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    assert evaluate_retrieval(dataset, Settings(home=tmp_path)).ndcg_at_10 < 1


def test_the_first_judgement_counts_where_there_is_no_header(dataset: Path):
    (dataset / "qrels.tsv").write_text("q1\td1\t1\nq2\td2\t2\n")
    assert load_dataset(dataset).judged == {"q1": {"d1": 1}, "q2": {"d2": 2}}


def test_answers_that_are_one_text_are_refused_and_not_taken_for_its_letters(dataset: Path):
    (dataset / "queries.jsonl").write_text('{"_id": "q1", "text": "How much?", "answers": "forty grams"}')
    with pytest.raises(UsageError, match="`answers` is no list of texts"):
        load_dataset(dataset)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_the_line_that_is_not_utf_8_is_named(dataset: Path, name: str):
    with (dataset / name).open("ab") as file:
        file.write(b"\n\xff\xfe\n")
    with pytest.raises(UsageError, match=name):
        load_dataset(dataset)


def test_judgements_may_lie_in_beir_s_folder(dataset: Path):
    (dataset / "qrels").mkdir()
    (dataset / "qrels.tsv").rename(dataset / "qrels" / "test.tsv")
    assert load_dataset(dataset).judged["q2"] == {"d2": 2}


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("corpus.jsonl", '{"_id": "a"}\n{not json', r"corpus\.jsonl:2: is not JSON"),
        ("corpus.jsonl", '{"text": "a"}', r"corpus\.jsonl:1: has no `_id`"),
        ("corpus.jsonl", '["a"]', r"corpus\.jsonl:1: is no JSON object"),
        ("queries.jsonl", '{"_id": "q1"}', r"queries\.jsonl:1: has no `text`"),
        ("qrels.tsv", "head\nq1 d1 1", r"qrels\.tsv:2: must be query-id, corpus-id and grade"),
        ("qrels.tsv", "head\nq1\td1\thigh", r"qrels\.tsv:2"),
        ("corpus.jsonl", None, "is missing"),
        ("qrels.tsv", None, "has neither"),
        ("qrels.tsv", "head\n", "no query has a relevant document"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(dataset: Path, tmp_path: Path, file: str, text: str | None, said: str):
    if text is None:
        (dataset / file).unlink()
    else:
        (dataset / file).write_text(text)
    with pytest.raises(UsageError, match=said):
        evaluate_retrieval(dataset, Settings(home=tmp_path))


def test_the_commands_print_what_scripts_read(dataset: Path, tmp_path: Path):
    measured = as_json(tmp_path, "eval", "retrieval", "--dataset", str(dataset))
    assert set(measured) == {
        "queries", "ndcg@10", "recall@10", "recall@100", "mrr@10", "rerank_rate", "tokens_per_query", "latency_ms",
        "cost_usd_per_query",
    }  # fmt: skip
    packed = as_json(tmp_path, "eval", "context", "--dataset", str(dataset), "--budget-tokens", "100")
    assert set(packed) == {"queries", "answer_in_context", "tokens_per_query"}
    assert "no such dataset folder" in run(tmp_path, "eval", "context", "--dataset", "nowhere", code=2).stderr
    assert (
        "at least 1"
        in run(tmp_path, "eval", "context", "--dataset", str(dataset), "--budget-tokens", "0", code=2).stderr
    )
