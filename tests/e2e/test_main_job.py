"""The main job as a user runs it: processes, files, HTTP, nothing simulated."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests import commands
from tests.commands import as_json, run, serving

GUIDE = """# Parrot handbook

## Feeding

A grey parrot eats forty grams of seeds each day. Fresh water must be changed every morning.

## Travel

Parrots need an export permit before they may cross a border. The permit is issued by the veterinary office.
"""


@pytest.fixture(autouse=True)
def nothing_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "complete", commands.afresh)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "parrots.md").write_text(GUIDE)
    (tmp_path / "docs" / "cats.txt").write_text("Cats sleep sixteen hours a day, mostly in the sun.")
    return tmp_path


@pytest.fixture
def served(project: Path):
    with serving(project, alone=True) as url:
        yield url


def test_ingest_ask_and_ingest_again(project: Path):
    first = as_json(project, "ingest", "docs")
    assert first["documents"]["added"] == 2
    assert first["chunks"]["embedded"] == first["chunks"]["total"] > 0

    answer = as_json(project, "ask", "How many grams of seeds does a grey parrot eat each day?")
    assert "forty grams" in answer["answer"]
    assert answer["citations"][0]["source"] == "docs/parrots.md"
    assert answer["citations"][0]["quote"] in GUIDE
    assert answer["route"]["tier"] == "extractive"
    assert sum(line["saved_usd"] for line in answer["receipt"]["lines"]) == pytest.approx(
        answer["receipt"]["saved_usd"]
    )

    again = as_json(project, "ingest", "docs")
    assert (again["documents"]["unchanged"], again["chunks"]["embedded"]) == (2, 0)
    report = as_json(project, "verify", "--vectors")
    assert (report["missing"], report["orphaned"], report["altered"]) == (0, 0, 0)
    assert report["vectors"] == report["points"] > 0


def test_a_question_that_the_documents_do_not_answer_gets_no_guess(project: Path):
    run(project, "ingest", "docs")
    answer = as_json(project, "ask", "Which quantum chromodynamics coupling did the accelerator measure?")
    assert answer["answer"] is None
    assert answer["reason"]


def test_an_edit_embeds_what_changed_and_prune_forgets(project: Path):
    run(project, "ingest", "docs")
    guide = project / "docs" / "parrots.md"
    guide.write_text(GUIDE.replace("forty", "fifty"))
    (project / "docs" / "cats.txt").unlink()
    report = as_json(project, "ingest", "docs", "--prune")
    assert (report["documents"]["changed"], report["documents"]["deleted"]) == (1, 1)
    assert report["chunks"]["embedded"] == 1


def test_while_serve_runs_the_commands_go_through_it(project: Path, served: str):
    assert as_json(project, "ingest", "docs")["documents"]["added"] == 2
    assert "forty grams" in as_json(project, "ask", "How many grams of seeds does a grey parrot eat?")["answer"]
    assert as_json(project, "search", "export permit", "--top-k", "1")["passages"][0]["source"] == "docs/parrots.md"
    explained = as_json(project, "search", "export permit", "--top-k", "1", "--explain")["debug"]
    assert (explained["passages"][0]["source"], explained["passages"][0]["rank"]) == ("docs/parrots.md", 1)
    told = run(project, "search", "export permit", "--top-k", "1", "--explain").stdout
    assert "Fusion: minmax" in told and "left out: beyond the first 1" in told
    assert as_json(project, "verify")["missing"] == 0
    assert "empty" in as_json(project, "ask", " ", code=2)["error"]["problem"]


def test_ctrl_c_ends_the_server_well_and_leaves_the_index_to_others(project: Path):
    with serving(project, stop=signal.SIGINT, alone=True):
        run(project, "ingest", "docs")
    assert as_json(project, "verify")["documents"] == 2


def test_rest(project: Path, served: str):
    with httpx.Client(base_url=served, timeout=60) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready"}
        posted = client.post(
            "/v1/documents", json={"documents": [{"source": "owls.md", "text": "# Owls\n\nOwls hunt voles at night."}]}
        )
        assert posted.json()["documents"]["added"] == 1

        answer = client.post(
            "/v1/query", json={"query": "What do owls hunt at night?"}, headers={"x-request-id": "abcdefgh"}
        )
        assert "voles" in answer.json()["answer"]
        assert answer.headers["x-request-id"] == answer.json()["request_id"] == "abcdefgh"
        assert answer.headers["x-ragsaver-cost"] == "0"

        streamed = client.post("/v1/query", json={"query": "What do owls hunt at night?", "stream": True})
        kinds = [line for line in streamed.text.splitlines() if line.startswith("event: ")]
        assert kinds == ["event: delta", "event: result"]  # the free tier's answer comes in one piece

        for response, status in (
            (client.post("/v1/query", json={"query": ""}), 400),
            (client.post("/v1/query", json={"query": "x" * 9000}), 413),
            (client.post("/v1/query", json={"question": "x"}), 422),
            (client.post("/v1/query", content=b"{", headers={"content-type": "application/json"}), 422),
            (client.post("/v1/query", json={"query": "x", "pipeline": "nope"}), 400),
            (client.get("/nothing"), 404),
            (client.post("/v1/local/ingest", json={"paths": ["/"], "cwd": "/"}), 401),
            (client.post("/v1/documents", content=b"x" * (17 * 2**20)), 413),
        ):
            assert response.status_code == status, response.text
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["request_id"] == response.headers["x-request-id"]


def test_bad_input_is_named_with_its_remedy(project: Path):
    for arguments, words in (
        (("ingest", "nowhere"), "no such file"),
        (("ask", ""), "empty"),
        (("ask", "x" * 9000), "allowed"),
        (("ask", os.fsdecode(b"which \xff?")), "not valid UTF-8"),
        (("ask", "hello", "--pipeline", "../../etc/passwd"), "no pipeline"),
        (("search", "x", "--collection", "a/b"), "can't name"),
        (("search", "x", "--top-k", "0"), "top_k must be within 1 to 1000"),
        (("search", "x", "--top-k", "many"), "valid integer"),
        (("ingest", "docs", "--prunes"), "No such option"),
        (("ask",), "Missing argument"),
        (("serve", "--port", "99999999"), "port"),
    ):
        assert words in run(project, *arguments, code=2).stderr
    (project / "hollow").mkdir()
    assert "no document that can be read" in run(project, "ingest", "hollow", code=2).stderr
    (project / "ragsaver.yaml").write_text("context:\n  budget: 5\n")
    assert (
        "ragsaver.yaml:2: unknown key `context.budget`. Allowed here: budget_tokens"
        in run(project, "ask", "x", code=2).stderr
    )


def test_files_that_are_not_what_they_say_fail_alone(project: Path):
    (project / "docs" / "binary.md").write_bytes(bytes(range(256)) * 40)
    (project / "docs" / "fake.pdf").write_text("<html>no pdf</html>")
    (project / "docs" / "zip.txt").write_bytes(b"PK\x03\x04rest")
    (project / "docs" / "empty.md").write_text("")
    Path(os.fsdecode(bytes(project / "docs") + b"/name\xff.md")).write_text("text")
    report = as_json(project, "ingest", "docs", code=3)
    assert (report["documents"]["added"], report["documents"]["failed"]) == (2, 5)
    assert {Path(error["source"]).name for error in report["errors"]} == {
        "binary.md",
        "fake.pdf",
        "zip.txt",
        "empty.md",
        "name\\udcff.md",
    }
    again = as_json(project, "ingest", "docs", code=3)
    assert (again["documents"]["unchanged"], again["documents"]["failed"]) == (2, 5)


def test_init_writes_a_project_that_runs(tmp_path: Path):
    run(tmp_path, "init")
    (tmp_path / "notes.md").write_text(GUIDE)
    run(tmp_path, "ingest", "notes.md")
    assert "forty" in as_json(tmp_path, "ask", "How many grams of seeds does a grey parrot eat each day?")["answer"]
    assert "--force" in run(tmp_path, "init", code=2).stderr
    assert "notes.md/project: the system refused" in run(tmp_path, "init", "notes.md/project", code=2).stderr
    assert as_json(tmp_path, "doctor")["ok"]
    broken = (
        (tmp_path / "pipelines" / "query.yaml").read_text().replace("top_k", "topk").replace("packer.doc", "paker.doc")
    )
    (tmp_path / "pipelines" / "second.yaml").write_text(broken)
    told = next(row for row in as_json(tmp_path, "doctor", code=2)["checks"] if row["check"] == "pipeline")
    assert not told["ok"] and "second.yaml:" in told["detail"] and "Did you mean `packer`?" in told["detail"]


def test_questions_in_another_script_get_no_guess(project: Path):
    run(project, "ingest", "docs")
    for question in ("鹦鹉每天吃多少克种子？", "🦜" * 50, "\x07\x1b[31m"):
        assert as_json(project, "ask", question)["answer"] is None


def test_help_is_quick_because_it_imports_no_haystack():
    code = "import sys, ragsaver.cli.main; print([m for m in ('haystack','numpy','onnxruntime','sqlalchemy','fastapi') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
