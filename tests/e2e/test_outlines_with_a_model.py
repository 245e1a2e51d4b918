"""A project whose outlines a language model writes: planned, limited, paid for once, here and through the server."""

from pathlib import Path

import pytest

from tests.commands import as_json, run, serving
from tests.openai_server import Script, openai_server

SAID = "Parrots need a permit of the office."
TEXT = "Parrots need an export permit before they may cross a border. The office issues it. "


@pytest.fixture
def script() -> Script:
    return Script(reply=SAID)


@pytest.fixture
def project(tmp_path: Path, script: Script):
    (tmp_path / "docs").mkdir()
    for n in range(3):
        (tmp_path / "docs" / f"{n}.md").write_text(f"# Page {n}\n\nThis is page {n}. {TEXT * 12}")
    with openai_server(script) as url:
        (tmp_path / "ragsaver.yaml").write_text(
            f"""generation:
  models:
    - {{name: tiny, base_url: "{url}"}}
outline:
  summary_model: tiny
  summary_min_words: 100
spend:
  prices:
    tiny: {{input_per_mtok: 1, cached_input_per_mtok: 0.5, output_per_mtok: 10}}
"""
        )
        yield tmp_path


def test_what_is_planned_is_limited_paid_for_once_and_shown(project: Path, script: Script):
    plan = as_json(project, "plan", "docs")["summaries"]
    assert plan["sections"] == 3 and plan["cost_usd"] > 0.0036
    assert "3 sections to summarise" in run(project, "plan", "docs").stdout
    error = as_json(project, "ingest", "docs", "--max-cost", "0.0001", code=2)["error"]
    assert "summarising 3 sections" in error["problem"]
    assert script.requests == []

    report = as_json(project, "ingest", "docs", "--max-cost", "1")
    assert report["summaries"] == {
        "made": 3,
        "cached": 0,
        "lacking": 0,
        "calls": 3,
        "tokens": 360,
        "cost_usd": 0.00084,
        "saved_usd": 0.0,
    }
    assert report["receipt"]["tokens"] == {"input": 180, "cached_input": 120, "output": 60, "reasoning": 0}
    (line,) = as_json(project, "outline", "docs/0.md")["lines"]
    assert line["sentence"] == SAID and line["summarised"]

    (project / "docs" / "0.md").rename(project / "docs" / "again.md")
    with serving(project):
        told = as_json(project, "ingest", "docs", "--prune", "--checksum")
        assert told["summaries"]["cached"] == 1
        (project / "docs" / "1.md").write_text(f"# Page 1\n\nThis is another page. {TEXT * 12}")
        assert as_json(project, "ingest", "docs")["summaries"]["made"] == 1
    assert len(script.requests) == 4


def test_an_endpoint_that_is_down_keeps_no_document_out_and_is_told(project: Path, script: Script):
    script.statuses = [401] * 3
    done = run(project, "ingest", "docs")
    assert "3 documents: 3 added" in done.stdout and "3 sections without a summary" in done.stderr
    assert "refused the API key" in done.stderr
    assert "Parrots need" in run(project, "outline", "docs/0.md").stdout
    assert as_json(project, "ingest", "docs")["summaries"]["made"] == 3


def test_a_model_that_is_not_configured_is_refused_by_name(project: Path):
    error = as_json(project, "ingest", "docs", code=2, RAGSAVER_OUTLINE__SUMMARY_MODEL="huge")["error"]
    assert "outline.summary_model" in error["problem"] and "tiny" in error["remedy"]
