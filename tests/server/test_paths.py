"""Who asks over HTTP is told what failed, and not where on the server's machine it is; its own user is told that too."""

import pytest

from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.paths import is_path, without_paths
from tests.openai_server import Script, openai_server
from tests.server.paying import QUESTION, served, tiny

CHAT = {"model": "query", "messages": [{"role": "user", "content": QUESTION["query"]}]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/me/spend.sqlite: can't be written", "spend.sqlite: can't be written"),
        ("[Errno 13] Permission denied: '/tmp/my data/prices.json'", "[Errno 13] Permission denied: 'prices.json'"),
        ("see /usr/share/index/shard-3. Then go on", "see shard-3. Then go on"),
        ("/etc/ragsaver.yaml:12: unknown key", "ragsaver.yaml:12: unknown key"),
        ("Ask POST /v1/query, see /docs", "Ask POST /v1/query, see /docs"),
        ("http://127.0.0.1:8000/home/v1 and postgresql://db:5432/tmp", None),
        ("read and/or write, 3/usr, a//b, /", None),
        ("handbook/tmp/a.md is a source", None),
    ],
)
def test_paths_become_names_and_addresses_stay(text: str, told: str | None):
    assert without_paths(text) == (text if told is None else told)


def test_a_known_path_may_have_spaces():
    assert without_paths("the lock /tmp/a b/c d.lock is there", "/tmp/a b/c d.lock") == "the lock c d.lock is there"
    assert not is_path("/v1/query") and not is_path("tmp") and is_path("/tmp")


def test_no_problem_names_a_path_of_the_server_but_to_its_own_user(runtime: Runtime, caplog: pytest.LogCaptureFixture):
    home = runtime.settings.home
    (home / "spend.sqlite").mkdir()
    with openai_server(Script()) as url, served(runtime, [tiny(url)]) as (client, _):
        asked = [
            client.post("/v1/query", json=QUESTION),
            client.post("/v1/query", json={**QUESTION, "stream": True}),
            client.post("/v1/chat/completions", json=CHAT),
            client.post("/v1/chat/completions", json={**CHAT, "stream": True}),
            client.get("/v1/usage"),
            client.get("/v1/budgets"),
            client.get("/v1/receipts/req_12345678"),
        ]
        own = client.get("/v1/usage", headers={"authorization": "Bearer token"})
    for answer in asked:
        assert "ledger can't be" in answer.text, answer.text
        assert str(home) not in answer.text and "/tmp" not in answer.text
        request_id = answer.headers["x-request-id"]
        assert any(request_id in line and str(home) in line for line in caplog.messages)
    assert asked[4].json()["where"] == "spend.sqlite"
    assert own.json()["where"] == str(home / "spend.sqlite")


def test_a_pipeline_that_cannot_be_read_is_named_without_its_folders(runtime: Runtime):
    folder = runtime.settings.pipelines_dir
    folder.mkdir()
    (folder / "mine.yaml").write_text("components: {")
    with served(runtime, []) as (client, _):
        answer = client.post("/v1/query", json={**QUESTION, "pipeline": "mine"})
    assert answer.status_code == 500 and "mine.yaml" in answer.json()["where"]
    assert str(folder) not in answer.text
