"""The caches as a user meets them: commands in processes of their own, a server with its headers and metrics."""

from pathlib import Path

import httpx
import pytest

from tests.commands import as_json, run, serving
from tests.redis_server import redis_server

QUESTION = "Who issues the export permit for parrots?"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "parrots.md").write_text(
        "# Parrots\n\nThe export permit for parrots is issued by the office.\n"
    )
    run(tmp_path, "ingest", "docs")
    return tmp_path


@pytest.mark.parametrize("backend", ["sqlite", "redis"])
def test_processes_share_answers_until_they_are_cleared(backend: str, project: Path, tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        wishes = {"RAGSAVER_CACHE__BACKEND": backend, "RAGSAVER_CACHE__REDIS_URL": url}
        assert as_json(project, "ask", QUESTION, **wishes)["route"]["cache"] == "miss"
        assert as_json(project, "ask", QUESTION, **wishes)["route"]["cache"] == "hit"
        told = as_json(project, "cache", "stats", **wishes)
        assert (told["backend"], told["answers"]["entries"]) == (backend, 1)
        assert as_json(project, "cache", "clear", "--collection", "other", **wishes)["cleared"]["answers"] == 0
        assert as_json(project, "cache", "clear", **wishes)["cleared"]["answers"] == 1
        assert as_json(project, "ask", QUESTION, **wishes)["route"]["cache"] == "miss"
    assert "memory of each process" in run(project, "cache", "stats", code=2, RAGSAVER_CACHE__BACKEND="memory").stderr


def test_a_server_says_whether_an_answer_was_there(project: Path):
    with serving(project) as url:

        def asked(**headers: str) -> str | None:
            answer = httpx.post(f"{url}/v1/query", json={"query": QUESTION}, headers=headers, timeout=60)
            assert answer.json()["answer"]
            return answer.headers.get("x-ragsaver-cache")

        assert [asked(), asked()] == ["miss", "hit"]
        no_cache, no_store = {"cache-control": "no-cache"}, {"cache-control": "no-store"}
        assert [asked(**no_cache), asked(**no_store), asked()] == ["miss", None, "hit"]
        metrics = httpx.get(f"{url}/metrics").text
        assert 'ragsaver_cache_hits_total{cache="answer"} 2.0' in metrics
        (project / "docs" / "parrots.md").write_text(
            "# Parrots\n\nThe export permit for parrots is issued by nobody.\n"
        )
        run(project, "ingest", "docs")
        assert asked() == "miss"
