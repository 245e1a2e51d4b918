"""`ragsaver migrate` under servers that share an index in a Qdrant server: each moves by itself, and nothing is lost."""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.commands import as_json, committed_documents, environment, serving, started
from tests.e2e.zebras import DOCUMENTS, NEW, Client, Poster, ask, make, search, sources, stream
from tests.prepared import Process
from tests.qdrant_server import StandIn, qdrant_server


@pytest.fixture
def server() -> Iterator[StandIn]:
    with qdrant_server() as started:
        yield started


def at(server: StandIn) -> str:
    index = {"engine": "qdrant", "url": server.url, "grpc_port": None}
    return f"index: {json.dumps(index)}\n"


@pytest.fixture
def project(tmp_path: Path, server: StandIn) -> Path:
    make(tmp_path, at(server))
    return tmp_path


def collections(server: StandIn) -> list[str]:
    return [one.name for one in server.client.get_collections().collections]


def test_servers_answer_through_the_switch_from_one_half_at_a_time_and_lose_no_document(project: Path, server: StandIn):
    poster = Poster()
    with serving(project) as url, serving(project) as other:
        clients = [Client(search, url), Client(search, other), Client(ask, url), Client(stream, url)]
        posting = Client(poster, other)
        for client in (*clients, posting):
            client.start()
        (project / "ragsaver.yaml").write_text(NEW + at(server))
        for client in clients[:2]:
            client.one_more()
        report = as_json(project, "migrate")
        assert report["switched"] and report["waiting"] is None
        for searching in clients[:2]:
            while searching.answers[-1] != "new":
                searching.one_more()
        posting.one_more()
        first, second, *others = [client.stop() for client in clients]
        posts = posting.stop()
        for answers in (first, second):
            assert set(answers) == {"old", "new"} and answers == sorted(answers, reverse=True), answers
        assert [set(one) for one in others] == [{"answered"}, {"answered"}]
        assert set(posts) == {"posted"}
        assert as_json(project, "ingest", "docs")["documents"]["unchanged"] == DOCUMENTS
        assert sources(project) == {*(f"docs/{n:02}.md" for n in range(DOCUMENTS)), *poster.posted}
    assert len(collections(server)) == 2
    checked = as_json(project, "verify", RAGSAVER_INDEX__KEEP_REPLACED_S="0")
    assert (checked["documents"], checked["missing"], checked["orphaned"]) == (DOCUMENTS + len(poster.posted), 0, 0)
    assert len(collections(server)) == 1
    assert not list((project / ".ragsaver").glob("manifest.sqlite*"))


def test_a_server_whose_own_settings_mean_something_else_says_so_and_moves_once_they_are_mended(
    project: Path, server: StandIn
):
    new = {"RAGSAVER_CHUNKING__MIN_WORDS": "20", "RAGSAVER_CHUNKING__MAX_WORDS": "60"}
    with started(project) as (process, url, _), httpx.Client(base_url=url) as client:
        assert as_json(project, "migrate", **new)["switched"]
        while "its own settings mean another index" not in process.stderr.readline():
            assert process.poll() is None
        assert search(client) == "old"
        (project / "ragsaver.yaml").write_text(NEW.splitlines()[1] + "\n" + at(server))
        searching = Client(search, url)
        searching.start()
        searching.one_more()
        while searching.answers[-1] != "new":
            searching.one_more()
        answers = searching.stop()
        assert answers == sorted(answers, reverse=True)
        assert Poster()(client) == "posted"


def test_a_server_that_is_started_in_the_middle_serves_the_old_half_and_moves_at_the_end(
    project: Path, server: StandIn
):
    (project / "ragsaver.yaml").write_text(NEW + at(server))
    migration = Process(
        ["-m", "ragsaver", "migrate", "--json"],
        project,
        environment(project, RAGSAVER_INGESTION__BATCH_CHUNKS="2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while not committed_documents(project / ".ragsaver" / "store-1"):
        assert migration.poll() is None, migration.communicate()
        threading.Event().wait(0.02)
    migration.kill()
    migration.communicate()
    with serving(project, says="the old one serves") as url, httpx.Client(base_url=url) as client:
        assert search(client) == "old"
        poster = Poster()
        assert poster(client) == "posted"
        assert as_json(project, "migrate")["switched"]
        assert poster(client) == "posted"
        searching = Client(search, url)
        searching.start()
        searching.one_more()
        assert set(searching.stop()) == {"new"}
        assert sources(project) == {*(f"docs/{n:02}.md" for n in range(DOCUMENTS)), *poster.posted}
