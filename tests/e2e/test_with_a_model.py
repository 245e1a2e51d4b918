"""A language model behind an OpenAI-compatible endpoint: the whole way from question to bill."""

import json
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from tests.commands import as_json, run, serving
from tests.openai_server import Script, openai_server

QUESTION = "Who issues the export permit for parrots?"
PERMIT = "The permit is issued by the veterinary office."
GUIDE = f"# Parrots\n\n## Travel\n\nParrots need an export permit before they may cross a border. {PERMIT}\n"


@pytest.fixture
def script():
    return Script(reply="The veterinary office issues it [1].")


@pytest.fixture
def project(tmp_path: Path, script: Script):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "parrots.md").write_text(GUIDE)
    with openai_server(script) as url:
        (tmp_path / "ragsaver.yaml").write_text(
            f"""generation:
  extractive_first: false
  models:
    - {{name: tiny, base_url: "{url}", max_retries: 0}}
spend:
  prices:
    tiny: {{input_per_mtok: 1, cached_input_per_mtok: 0.5, output_per_mtok: 10}}
"""
        )
        run(tmp_path, "ingest", "docs")
        yield tmp_path


def test_the_answer_cites_its_source_and_the_receipt_has_the_bill(project: Path, script: Script):
    result = as_json(project, "ask", QUESTION)
    assert result["answer"] == script.reply
    assert result["citations"] == [
        {"source": "docs/parrots.md", "heading": "Parrots > Travel", "page": None, "quote": PERMIT}
    ]
    assert result["route"]["tier"] == "small"
    receipt = result["receipt"]
    assert receipt["tokens"] == {"input": 60, "cached_input": 40, "output": 20, "reasoning": 0}
    # 60 tokens at 1 dollar a million, 40 at half of that, 20 at ten dollars
    assert Decimal(str(receipt["cost_usd"])) == Decimal("0.00028")
    assert receipt["saved_usd"] == pytest.approx(receipt["baseline_usd"] - receipt["cost_usd"])
    assert sum(line["saved_usd"] for line in receipt["lines"]) == pytest.approx(receipt["saved_usd"])
    assert "No language model" not in run(project, "ask", QUESTION).stderr


def test_the_prompt_holds_the_passages_as_data_and_the_question_last(project: Path, script: Script):
    as_json(project, "ask", QUESTION)
    system, user = script.requests[-1]["messages"]
    assert (system["role"], user["role"]) == ("system", "user")
    assert PERMIT in user["content"]
    assert user["content"].rstrip().endswith(QUESTION)


def test_a_model_that_abstains_gives_no_answer(project: Path, script: Script):
    script.reply = "The documents do not answer this question."
    result = as_json(project, "ask", QUESTION)
    assert (result["answer"], result["citations"]) == (None, [])
    assert result["reason"] == "the model found no answer in the passages"
    assert result["receipt"]["cost_usd"] > 0


def test_without_a_passage_no_model_is_asked(project: Path, script: Script):
    result = as_json(project, "ask", QUESTION, "--collection", "empty")
    assert (result["answer"], result["receipt"]["cost_usd"], script.requests) == (None, 0, [])
    assert "no model was asked" in result["route"]["reason"] and "ragsaver ingest" in result["reason"]
    assert "ragsaver ingest" in run(project, "search", QUESTION, "--collection", "empty").stderr


def test_a_mark_that_points_nowhere_is_dropped_and_said(project: Path, script: Script):
    script.reply = "The office does [7]."
    result = as_json(project, "ask", QUESTION)
    assert result["answer"] == "The office does."
    assert result["citations"] == []
    assert "named no source" in result["reason"]


def test_the_free_tier_answers_first_only_where_it_is_sure(project: Path, script: Script):
    asked = len(script.requests)
    free = as_json(project, "ask", PERMIT, RAGSAVER_GENERATION__EXTRACTIVE_FIRST="true")
    assert (free["route"]["tier"], free["receipt"]["cost_usd"], len(script.requests)) == ("extractive", 0, asked)
    unsure = as_json(project, "ask", "Who stamps papers of birds?", RAGSAVER_GENERATION__EXTRACTIVE_FIRST="true")
    assert (unsure["route"]["tier"], len(script.requests)) == ("small", asked + 1)


@pytest.mark.parametrize("status", [401, 429, 500])
def test_an_endpoint_that_fails_is_named(project: Path, script: Script, status: int):
    script.statuses = [status]
    error = as_json(project, "ask", QUESTION, code=2)["error"]
    assert "tiny" in json.dumps(error) and error["remedy"]
    spent = as_json(project, "usage")["total"]["cost_usd"]
    assert error["cost_usd"] == spent and (spent > 0) == (status == 500)
    with serving(project) as url:
        script.statuses = [status]
        through = as_json(project, "ask", QUESTION, code=2)["error"]
        script.statuses = [status]
        said = run(project, "ask", QUESTION, code=2).stderr
        assert httpx.get(f"{url}/v1/usage").json()["total"]["calls"] == 3
    assert through["cost_usd"] == spent
    assert (f"spent on it all the same: ${spent:.6f}" in said) == (status == 500)


def test_a_cheap_answer_that_fails_its_check_is_escalated_and_a_wish_begins_higher(project: Path, script: Script):
    script.reply = "The harbour master of Lisbon issues it [1]."
    better = Script(reply="The veterinary office issues it [1].")
    with openai_server(better) as url:
        settings = (project / "ragsaver.yaml").read_text()
        one_more = f"""    - {{name: huge, base_url: "{url}", max_retries: 0}}\nspend:\n  prices:\n"""
        prices = "    huge: {input_per_mtok: 10, output_per_mtok: 100}\n"
        (project / "ragsaver.yaml").write_text(settings.replace("spend:\n  prices:\n", one_more + prices))
        with serving(project) as url:
            result = httpx.post(f"{url}/v1/query", json={"query": QUESTION}, timeout=60).json()
            assert result["answer"] == better.reply
            assert result["route"]["tier"] == "large" and "the name Lisbon" in result["route"]["reason"]
            lines = result["receipt"]["lines"]
            assert [line["item"] for line in lines if line["stage"] == "route"] == ["small: tiny", "large: huge"]
            # 60 fresh and 40 cached tokens in, 20 out, of either
            assert result["receipt"]["cost_usd"] == pytest.approx(0.00028 + 0.003)

            other = {"query": "Who issues the permit for parrots?"}
            better.statuses = [500]
            result = httpx.post(f"{url}/v1/query", json=other, timeout=60).json()
            assert result["answer"] == script.reply and result["route"]["tier"] == "small"
            assert result["reason"].endswith("read the answer with care")
            result = httpx.post(f"{url}/v1/query", json=other, timeout=60).json()
            assert result["answer"] == better.reply, "what was doubted is not kept"

            asked, wish = len(script.requests), {"X-RagSaver-Quality": "maximum"}
            why = {"query": "Why do parrots need an export permit?"}
            result = httpx.post(f"{url}/v1/query", json=why, headers=wish, timeout=60).json()
            assert (result["route"]["tier"], len(script.requests)) == ("large", asked)


def test_doctor_asks_the_endpoint(project: Path, script: Script):
    assert as_json(project, "doctor")["ok"]
    script.statuses = [401]
    checks = {row["check"]: row for row in as_json(project, "doctor", code=2)["checks"]}
    assert not checks["generation"]["ok"] and "refused the API key" in checks["generation"]["detail"]


def test_a_stream_over_rest_is_the_answer_in_pieces_then_the_result(project: Path, script: Script):
    with serving(project) as url:
        events = streamed(url, QUESTION)
        kinds = [kind for kind, _ in events]
        assert kinds == ["delta"] * (len(kinds) - 1) + ["result"] and len(kinds) > 3
        result = json.loads(events[-1][1])
        assert "".join(data for kind, data in events if kind == "delta").strip() == result["answer"]
        assert result["citations"][0]["quote"] == PERMIT
        assert result["receipt"]["tokens"] == {"input": 60, "cached_input": 40, "output": 20, "reasoning": 0}

        again = streamed(url, QUESTION)
        assert [kind for kind, _ in again] == ["delta", "result"]
        assert json.loads(again[-1][1])["route"]["cache"] == "hit"

        script.cut_after = 2
        *_, (kind, data) = streamed(url, f"Now: {QUESTION}")
        assert kind == "error"
        assert json.loads(data)["status"] == 502 and "on the bill" in data

        script.cut_after = None
        script.statuses = [500]
        answer = httpx.post(f"{url}/v1/query", json={"query": f"Then: {QUESTION}"}, timeout=60)
        assert answer.status_code == 502
        assert answer.headers["content-type"] == "application/problem+json"


def streamed(url: str, question: str) -> list[tuple[str, str]]:
    """The events of a streamed answer: kind and data."""
    body = {"query": question, "stream": True}
    events: list[tuple[str, str]] = []
    kind = ""
    with httpx.stream("POST", f"{url}/v1/query", json=body, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((kind, line.removeprefix("data: ")))
    return events
