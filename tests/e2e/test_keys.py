"""Keys from the command line to the server: made, used from elsewhere, rotated, revoked; this user's commands go on."""

import json
import time
from pathlib import Path

import httpx
import pytest

from tests.commands import as_json, run, serving

GUIDE = "# Owls\n\nOwls hunt voles at night.\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "owls.md").write_text(GUIDE)
    run(tmp_path, "ingest", "docs")
    return tmp_path


def status(url: str, secret: str | None = None) -> int:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return httpx.post(f"{url}/v1/search", json={"query": "owls"}, headers=headers, timeout=30).status_code


def eventually(url: str, secret: str | None, wanted: int) -> bool:
    """A server looks again for keys every two seconds."""
    until = time.monotonic() + 30
    while status(url, secret) != wanted and time.monotonic() < until:
        time.sleep(0.2)
    return status(url, secret) == wanted


def test_a_key_s_whole_life_while_the_server_runs(project: Path):
    with serving(project) as url:
        assert status(url) == 200
        made = as_json(project, "keys", "create", "--principal", "ana", "--expires", "90d")
        secret, id = made["secret"], made["key"]["id"]
        assert eventually(url, None, 401) and status(url, secret) == 200
        # What this user does here goes on without a key.
        assert as_json(project, "search", "owls")["passages"]
        assert as_json(project, "ask", "What do owls hunt?")["answer"]
        assert as_json(project, "ingest", "docs")["documents"]["unchanged"] == 1
        rotated = as_json(project, "keys", "rotate", id, "--overlap", "1h")["secret"]
        assert eventually(url, rotated, 200) and status(url, secret) == 200
        (shown,) = as_json(project, "keys", "list")["keys"]
        assert (shown["id"], shown["state"], shown["principal"]) == (id, "good", "ana") and shown["last_used_at"]
        run(project, "keys", "revoke", id)
        assert eventually(url, rotated, 401) and status(url) == 401
    listing = run(project, "keys", "list").stdout + json.dumps(as_json(project, "keys", "list"))
    assert secret not in listing and rotated not in listing


def test_others_are_listened_to_only_if_there_is_a_key(project: Path):
    refused = run(project, "serve", "--host", "0.0.0.0", "--port", "0", code=2).stderr
    assert "ragsaver keys create" in refused
    secret = run(project, "keys", "create", "--principal", "ana").stdout.strip()
    with serving(project, "--host", "0.0.0.0") as url:
        here = url.replace("0.0.0.0", "127.0.0.1")
        assert (status(here), status(here, secret)) == (401, 200)
        assert as_json(project, "search", "owls")["passages"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--principal", ""], "is no name"),
        (["--principal", "a/b"], "is no name"),
        (["--principal", "a", "--tenant", "a b"], "is no name"),
        (["--principal", "a", "--scopes", "query,all"], "no scope `all`"),
        (["--principal", "a", "--scopes", ""], "for something"),
        (["--principal", "a", "--expires", "soon"], "no length of time"),
        (["--principal", "a", "--expires", "0d"], "would let nobody in"),
        (["--principal", "a", "--pipelines", "nothing"], "no pipeline `nothing`"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(tmp_path: Path, arguments: list[str], says: str):
    assert says in run(tmp_path, "keys", "create", *arguments, code=2).stderr
    assert as_json(tmp_path, "keys", "list")["keys"] == []
