"""A budget is a ceiling for ingestions, as users meet it: commands, a server that does their work, posts, a watcher."""

import json
from pathlib import Path

import httpx
import pytest

from tests.commands import as_json, run, serving
from tests.e2e.test_keep_watching import Watcher, watching

PRICE = {"RAGSAVER_SPEND__EMBEDDING_PER_MTOK": "1000"}
TYPE = "urn:ragsaver:problem:budget-exceeded"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("The guide speaks of zebras.")
    (tmp_path / "docs" / "b.md").write_text("Owls hunt.")
    return tmp_path


def limited(usd: float) -> dict[str, str]:
    return {**PRICE, "RAGSAVER_SPEND__BUDGETS": f'[{{"scope": "tenant", "period": "month", "limit_usd": {usd:f}}}]'}


def cost(project: Path, name: str) -> float:
    return as_json(project, "plan", f"docs/{name}", **PRICE)["embedding"]["cost_usd"]


def spent(project: Path, **more: str) -> tuple[float, float]:
    (line,) = as_json(project, "budgets", **more)["budgets"]
    return line["spent_usd"], line["held_usd"]


def test_a_command_brings_in_what_has_room_and_says_what_waits(project: Path):
    first = cost(project, "a.md")
    short = limited(first)
    planned = as_json(project, "plan", "docs", **short)
    assert planned["refused"]["budget"] == "tenant default per month"
    assert planned["refused"]["remaining_usd"] == first
    assert "what has no room in it would wait" in run(project, "plan", "docs", **short).stdout
    told = as_json(project, "ingest", "docs", code=2, **short)
    assert told["error"]["type"] == TYPE and planned["refused"]["resets_at"] in told["error"]["remedy"]
    assert "docs/b.md" in told["error"]["problem"]
    counts = told["report"]["documents"]
    assert (counts["seen"], counts["added"], counts["waiting"], counts["failed"]) == (2, 1, 1, 0)
    assert spent(project, **short) == (first, 0)
    said = run(project, "ingest", "docs", code=2, **short)
    assert "1 unchanged" in said.stdout and "1 wait" in said.stdout and "docs/b.md" in said.stderr
    assert as_json(project, "plan", "docs", **limited(1))["refused"] is None
    assert as_json(project, "ingest", "docs", **limited(1))["documents"]["added"] == 1
    assert as_json(project, "verify")["documents"] == 2


def test_a_server_answers_429_and_does_the_rest(project: Path):
    first = cost(project, "a.md")
    short = limited(first)
    with serving(project, **short) as url:
        told = as_json(project, "ingest", "docs", code=2, **short)
        assert told["error"]["type"] == TYPE and told["report"]["documents"]["waiting"] == 1
        posted = {"documents": [{"source": "c.md", "text": "Nobody has paid for this."}]}
        refused = httpx.post(f"{url}/v1/documents", json=posted, timeout=60)
        known = {"documents": [{"source": "d.md", "text": (project / "docs" / "a.md").read_text()}]}
        taken = httpx.post(f"{url}/v1/documents", json=known, timeout=60)
        (line,) = httpx.get(f"{url}/v1/budgets").json()["budgets"]
    assert refused.status_code == 429 and refused.json()["type"] == TYPE
    assert int(refused.headers["retry-after"]) > 1 and "c.md" in refused.json()["detail"]
    assert taken.status_code == 200 and taken.json()["documents"]["added"] == 1
    assert (line["spent_usd"], line["held_usd"]) == (first, 0)


def test_a_watcher_tells_it_once_and_goes_on(project: Path):
    first = cost(project, "a.md")
    with watching(project, **limited(first)) as watcher:
        told = refusal(watcher)
        assert told["report"]["documents"]["added"] == 1
        (project / "docs" / "b.md").unlink()
        (project / "docs" / "c.md").write_text((project / "docs" / "a.md").read_text())
        assert watcher.documents()["added"] == 1


def refusal(watcher: Watcher) -> dict:
    assert "docs/b.md" in watcher.line()
    told = json.loads(watcher.line())
    assert told["error"]["type"] == TYPE
    return told
