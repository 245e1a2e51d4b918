"""An index in a server, as a user sees it: ingest and ask, move it there and back, and what is refused."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from ragsaver.cli.main import app
from ragsaver.models import registry
from ragsaver.models.onnx_encoder import OnnxEncoder
from tests.commands import as_json, environment, run, serving
from tests.qdrant_grpc import grpc_port
from tests.qdrant_server import StandIn, qdrant_server

QUESTION = "What do owls hunt at night?"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/owls.md").write_text("# Owls\n\nOwls hunt voles at night, and the voles know it.\n")
    (tmp_path / "docs/bees.md").write_text("# Bees\n\nBees dance to tell the others where flowers are.\n")
    return tmp_path


@pytest.fixture
def server() -> Iterator[StandIn]:
    with qdrant_server() as started:
        yield started


def at(server: StandIn, **more: str) -> dict[str, str]:
    return {"QDRANT_URL": server.url, "RAGSAVER_INDEX__GRPC_PORT": "null", "RAGSAVER_INDEX__DEADLINE_S": "1", **more}


def in_server(server: StandIn) -> dict[str, str]:
    return at(server, RAGSAVER_INDEX__ENGINE="qdrant")


def test_ingest_and_ask_work_alike_and_nothing_of_the_index_is_here(project: Path, server: StandIn):
    first = as_json(project, "ingest", "docs", **in_server(server))
    again = as_json(project, "ingest", "docs", **in_server(server))
    assert (first["documents"]["added"], again["documents"]["unchanged"], again["chunks"]["embedded"]) == (2, 2, 0)
    answer = as_json(project, "ask", QUESTION, **in_server(server))
    assert "voles" in answer["answer"]
    assert not (project / ".ragsaver/index").exists()
    assert as_json(project, "verify", **in_server(server)) == {
        "documents": 2,
        "points": 2,
        "missing": 0,
        "orphaned": 0,
        "readers": 0,
        "altered": 0,
        "vectors": 0,
        "repaired": 0,
    }
    alone = str(project / "alone")
    as_json(project, "ingest", "docs", RAGSAVER_HOME=alone)
    embedded = as_json(project, "search", QUESTION, RAGSAVER_HOME=alone)["passages"]
    found = as_json(project, "search", QUESTION, **in_server(server))["passages"]
    assert [(one["source"], one["text"]) for one in found] == [(one["source"], one["text"]) for one in embedded]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in embedded], abs=1e-4)


def test_commands_write_while_a_server_answers(project: Path, server: StandIn):
    with serving(project, **in_server(server)):
        assert as_json(project, "ingest", "docs", **in_server(server))["documents"]["added"] == 2
        with serving(project, **in_server(server)):
            deleted = as_json(project, "documents", "delete", "--source", "docs/bees.md", **in_server(server))
    assert len(deleted["documents"]) == 1
    checks = {row["check"]: row for row in as_json(project, "doctor", **in_server(server))["checks"]}
    assert f"Qdrant 1.19.1 at {server.url}, collection ragsaver" in checks["index"]["detail"]
    assert checks["owner"]["detail"] == "nobody owns an index in a server"


def test_an_answer_that_is_streamed_is_looked_for_on_the_event_loop_which_ends_well(project: Path, server: StandIn):
    as_json(project, "ingest", "docs", **in_server(server))
    with grpc_port(server) as port:
        by_grpc = {**in_server(server), "RAGSAVER_INDEX__GRPC_PORT": str(port)}
        with serving(project, **by_grpc) as url:
            for question in (QUESTION, f"Tell me: {QUESTION}"):
                streamed = httpx.post(f"{url}/v1/query", json={"query": question, "stream": True}, timeout=60)
                assert "voles" in streamed.text
    assert sum(name == "QueryBatch" for _, name, _ in server.asked) >= 2


def test_the_client_s_local_mode_needs_no_server_and_has_an_owner(project: Path):
    (project / "ragsaver.yaml").write_text("index:\n  engine: qdrant\n  url: file:qdrant\n")
    assert as_json(project, "ingest", "docs")["documents"]["added"] == 2
    assert (project / "qdrant").is_dir()
    with serving(project):
        assert "voles" in as_json(project, "ask", QUESTION)["answer"]


def test_an_index_goes_to_the_server_and_back_without_the_model(
    project: Path, server: StandIn, monkeypatch: pytest.MonkeyPatch
):
    as_json(project, "ingest", "docs")
    embedded = as_json(project, "search", QUESTION)["passages"]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the model is not needed")

    monkeypatch.setattr(OnnxEncoder, "__init__", refuse)
    monkeypatch.setattr(registry, "load_encoder", refuse)
    monkeypatch.chdir(project)
    for name, value in environment(project, **at(server)).items():
        monkeypatch.setenv(name, value)
    pushed = CliRunner().invoke(app, ["index", "push"])
    assert pushed.exit_code == 0 and "2 points: 2 copied, 0 were there, 0 removed" in pushed.output, pushed.output
    assert "2 points: 0 copied, 2 were there" in CliRunner().invoke(app, ["index", "push"]).output
    monkeypatch.setenv("RAGSAVER_HOME", str(project / "elsewhere"))
    assert CliRunner().invoke(app, ["index", "pull"]).exit_code == 0
    monkeypatch.undo()

    there = as_json(project, "search", QUESTION, **in_server(server))["passages"]
    assert [(one["source"], one["text"]) for one in there] == [(one["source"], one["text"]) for one in embedded]
    assert as_json(project, "verify", **in_server(server))["missing"] == 0
    assert as_json(project, "ingest", "docs", **in_server(server))["documents"]["unchanged"] == 2
    pulled = as_json(project, "index", "pull", RAGSAVER_HOME=str(project / "elsewhere"), **at(server))
    assert (pulled["direction"], pulled["points"], pulled["copied"], pulled["unchanged"]) == ("pull", 2, 0, 2)
    assert [(one["tenant"], one["collection"], one["points"]) for one in pulled["scopes"]] == [
        ("default", "default", 2)
    ]


def test_after_a_migration_at_the_server_pull_push_and_doctor_mean_the_new_collection(project: Path, server: StandIn):
    as_json(project, "ingest", "docs", **in_server(server))
    german = {"RAGSAVER_INDEX__LANGUAGE": "german"}
    assert as_json(project, "migrate", **in_server(server), **german)["switched"]
    names = [one.name for one in server.client.get_collections().collections]
    (new,) = [name for name in names if name != "ragsaver"]
    checks = {row["check"]: row for row in as_json(project, "doctor", **in_server(server), **german)["checks"]}
    assert checks["index"]["detail"].endswith(f"collection {new}")
    for way in ("pull", "push"):
        moved = as_json(project, "index", way, **at(server), **german)
        assert (moved["points"], moved["copied"]) == (2, 2 if way == "pull" else 0)
    assert as_json(project, "verify", **in_server(server), **german)["missing"] == 0
    assert as_json(project, "search", QUESTION, **german)["passages"]


def test_a_collection_that_was_emptied_goes_from_the_server_and_others_stay(project: Path, server: StandIn):
    elsewhere = {"RAGSAVER_HOME": str(project / "another project")}
    for collection, home in (("kept", {}), ("dropped", {}), ("another", elsewhere)):
        as_json(project, "ingest", "docs", "--collection", collection, **home)
        as_json(project, "index", "push", **at(server, **home))
    as_json(project, "documents", "delete", "--under", "docs", "--collection", "dropped")

    assert "default/dropped: 2 points are there" in run(project, "index", "push", code=2, **at(server)).stderr
    pushed = as_json(project, "index", "push", "--prune", **at(server))
    assert (pushed["points"], pushed["removed"]) == (2, 2)
    assert pushed["left"] == [{"tenant": "default", "collection": "another", "points": 2}]
    assert "default/another: 2 points are only there, and stay" in run(project, "index", "push", **at(server)).stdout
    for collection, count in (("kept", 2), ("dropped", 0), ("another", 2)):
        found = as_json(project, "search", QUESTION, "--collection", collection, **in_server(server))["passages"]
        assert len(found) == count, collection


def test_what_the_embedded_index_has_lost_is_not_taken_for_emptied(project: Path, server: StandIn):
    as_json(project, "ingest", "docs", "--collection", "kept")
    as_json(project, "ingest", "docs", "--collection", "lost", **in_server(server))
    pushed = as_json(project, "index", "push", "--prune", **at(server))
    assert (pushed["removed"], pushed["left"]) == (0, [{"tenant": "default", "collection": "lost", "points": 2}])


def test_a_move_says_what_it_needs(project: Path, server: StandIn):
    assert "no embedded index" in run(project, "index", "push", code=2, **at(server)).stderr
    assert "no index at the server" in run(project, "index", "pull", code=2, **at(server)).stderr
    as_json(project, "ingest", "docs")
    assert "QDRANT_URL" in run(project, "index", "push", code=2).stderr
    with serving(project):
        assert "held by `ragsaver serve`" in run(project, "index", "push", code=2, **at(server)).stderr
    run(project, "index", "push", **at(server))
    other = at(server, RAGSAVER_INDEX__LANGUAGE="german", RAGSAVER_HOME=str(project / "german"))
    as_json(project, "ingest", "docs", **other)
    assert "index.collection" in run(project, "index", "push", code=2, **other).stderr
    elsewhere = {**other, "RAGSAVER_INDEX__ENGINE": "qdrant"}
    assert "built with another `index.language`" in run(project, "ingest", "docs", code=2, **elsewhere).stderr


def test_what_an_index_in_a_server_can_not_do_is_said(project: Path, server: StandIn):
    as_json(project, "ingest", "docs", **in_server(server))
    missing = run(project, "ingest", "docs", code=2, RAGSAVER_INDEX__ENGINE="qdrant").stderr
    assert "`index.engine: qdrant` needs a server" in missing
    server.failures = [503] * 1000
    told = as_json(project, "search", QUESTION, code=2, **in_server(server))["error"]
    assert (told["type"], told["where"]) == ("urn:ragsaver:problem:index-unavailable", server.url)
