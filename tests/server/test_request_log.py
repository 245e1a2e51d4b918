"""Each request leaves one line, of a real server, that says what it came to; no line of it has a secret."""

import json
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.commands import as_json, run, serving
from tests.openai_server import Script, openai_server

KEY = "sEcr3t+key/of=the$endpoint"
PASSWORD = "hunter2-of-the-url"
QUESTION = "Who issues the permits for fishing in the lake of Bern?"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "permits.md").write_text(
        "# Permits\n\nThe office of Bern issues permits for fishing in the lake.\n"
    )
    return tmp_path


def configure(project: Path, url: str = "", **logging: object) -> None:
    model = {"name": "tiny", "base_url": url, "api_key": KEY, "max_retries": 0, "timeout_s": 10}
    asked = {"models": [model], "extractive_first": False} if url else {}
    told = {"file": "log/requests.jsonl", "format": "json", **logging}
    (project / "ragsaver.yaml").write_text(json.dumps({"generation": asked, "logging": told}))


def lines(project: Path) -> list[dict]:
    return [json.loads(line) for line in (project / "log" / "requests.jsonl").read_text().splitlines()]


def ask(url: str, question: str = QUESTION, **more: object) -> httpx.Response:
    return httpx.post(f"{url}/v1/query", json={"query": question, **more}, timeout=60)


def test_each_request_leaves_one_line_that_says_what_it_came_to(project: Path):
    with openai_server(Script()) as endpoint:
        configure(project, endpoint)
        run(project, "ingest", "docs")
        with serving(project, RAGSAVER_LOGGING__LEVEL="info") as url:
            answer = httpx.post(f"{url}/v1/query", json={"query": QUESTION}, headers={"x-request-id": "mine-12345"})
            ask(url, stream=True)
            httpx.post(f"{url}/v1/search", json={"query": QUESTION})
            ask(url, " ")
            httpx.get(f"{url}/nowhere")
            httpx.get(f"{url}/healthz")
            httpx.post(f"{url}/v1/query", json={"query": QUESTION}, headers={"host": "evil.example"})
            httpx.post(f"{url}/v1/query", content=b"x" * (17 * 2**20))
    told = [line for line in lines(project) if line["event"] == "request"]
    assert [(line["path"], line.get("status"), line["outcome"]) for line in told] == [
        ("/v1/query", 200, "answered"),
        ("/v1/query", 200, "answered"),
        ("/v1/search", 200, "done"),
        ("/v1/query", 400, "refused"),
        ("/nowhere", 404, "refused"),
        ("/v1/query", 403, "refused"),
        ("/v1/query", 413, "refused"),
    ]
    first = told[0]
    assert first["request_id"] == "mine-12345"
    assert (first["tenant"], first["pipeline"], first["tier"]) == ("default", "query", answer.json()["route"]["tier"])
    assert first["cost_usd"] == answer.headers["x-ragsaver-cost"]
    assert first["latency_ms"] > 0 and first["level"] == "info"
    assert (first["cache"], told[1]["cache"], told[1]["cost_usd"]) == ("miss", "hit", "0")
    assert told[2]["pipeline"] == "search"
    assert told[3]["problem"] == "urn:ragsaver:problem:usage-error"
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", line["request_id"]) for line in told[1:])
    assert stat.S_IMODE((project / "log" / "requests.jsonl").stat().st_mode) == 0o600
    assert QUESTION not in (project / "log" / "requests.jsonl").read_text()
    assert not (project / ".ragsaver" / "content.sqlite").exists()


def test_the_principal_of_a_key_is_in_the_line_and_the_key_is_not(project: Path):
    configure(project)
    run(project, "ingest", "docs")
    made = as_json(project, "keys", "create", "--principal", "bob", "--tenant", "acme")
    with serving(project, RAGSAVER_LOGGING__LEVEL="info") as url:
        for secret in (made["secret"], made["secret"][:-1] + "x", "sk-someone-else-s-key-1234"):
            headers = {"authorization": f"Bearer {secret}", "cookie": "session=hunter2"}
            httpx.post(f"{url}/v1/query", json={"query": QUESTION}, headers=headers)
            httpx.get(f"{url}/{secret}?key={secret}", headers=headers)
    text = (project / "log" / "requests.jsonl").read_text()
    told = lines(project)
    assert (told[0]["tenant"], told[0]["principal"], told[0]["key_id"]) == ("acme", "bob", made["key"]["id"])
    assert made["secret"] not in text and made["secret"].split("_", 2)[2] not in text
    assert "hunter2" not in text and "someone-else" not in text


def test_by_default_lines_go_to_stderr_for_people(project: Path):
    with serving(project, RAGSAVER_LOGGING__LEVEL="info", says="status=404") as url:
        assert httpx.get(f"{url}/nowhere").status_code == 404


@contextmanager
def failing(reason: str) -> Iterator[str]:
    """An endpoint that tells its caller's key back with every failure, as some proxies do."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = f"{self.path} {self.headers['authorization']} {KEY}"
            if reason == "broken":
                self.wfile.write(f"HTTP/1.1 {told}\r\n\r\n".encode())
                return
            body = told.encode() if reason == "garbage" else json.dumps({"error": {"message": told}}).encode()
            self.send_response(200 if reason == "garbage" else int(reason))
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://me:{PASSWORD}@127.0.0.1:{server.server_port}/v1?key={KEY}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# A component of a team's own that raises what an HTTP client would, with all that it knows.
COMPONENT = f"""
import httpx
from haystack import component

@component
class Failing:
    @component.output_types(answers=list)
    def run(self, query: str):
        password = {PASSWORD!r}
        request = httpx.Request("GET", f"http://me:{{password}}@127.0.0.1:1/v1?key={KEY}", headers={{"x-api-key": {KEY!r}}})
        try:
            httpx.Response(500, request=request).raise_for_status()
        except httpx.HTTPError as error:
            raise ValueError(f"{{error}} {{dict(request.headers)}} sk-live-0123456789abcdef") from error
"""


@pytest.mark.parametrize("reason", ["500", "401", "200", "garbage", "broken"])
def test_no_secret_is_in_a_line_when_the_endpoint_fails(project: Path, reason: str):
    with failing(reason) as endpoint:
        configure(project, endpoint, level="debug", content="full")
        run(project, "ingest", "docs")
        with serving(project, RAGSAVER_LOGGING__LEVEL="debug") as url:
            refused, streamed = ask(url), ask(url, stream=True)
            assert refused.status_code == 502 and "127.0.0.1" in refused.json()["where"]
            assert "event: error" in streamed.text
            ask(url, f"Is {KEY} my key?")
        receipt = run(project, "spend", "receipt", refused.json()["request_id"]).stdout
        for told in (refused.text, streamed.text, receipt):
            assert PASSWORD not in told and KEY not in told
    told = [line for line in lines(project) if line["event"] == "request"]
    assert [line["outcome"] for line in told] == ["failed"] * 3
    assert {line["problem"] for line in told} <= {
        "urn:ragsaver:problem:generation-error",
        "urn:ragsaver:problem:cut-reply",  # a stream that says nothing that can be read
    }
    assert [line["level"] for line in told] == ["warning"] * 3
    assert_no_secret(project)


def test_no_secret_is_in_a_traceback(project: Path):
    configure(project, "http://me:hunter2-of-the-url@127.0.0.1:1/v1")
    (project / "team.py").write_text(COMPONENT)
    (project / "pipelines").mkdir()
    (project / "pipelines" / "bad.yaml").write_text("components:\n  a: {type: team.Failing, init_parameters: {}}\n")
    with serving(project, RAGSAVER_ALLOW_MODULES="[team]", RAGSAVER_LOGGING__LEVEL="debug") as url:
        answer = ask(url, pipeline="bad")
        assert answer.status_code == 500
    assert any(line["outcome"] == "failed" for line in lines(project) if line["event"] == "request")
    assert_no_secret(project)


def assert_no_secret(project: Path) -> None:
    kept = [project / "log" / "requests.jsonl", *(project / ".ragsaver").glob("content.*")]
    for file in kept:
        for secret in (KEY, PASSWORD, httpx.QueryParams({"key": KEY})["key"], "0123456789abcdef"):
            assert secret.encode() not in file.read_bytes(), (file.name, secret)


def test_content_is_kept_by_policy_shown_and_purged(project: Path):
    with openai_server(Script(reply="Ask bob@example.org in Bern [1].")) as endpoint:
        configure(project, endpoint, content="redacted")
        run(project, "ingest", "docs")
        with serving(project) as url:
            ask(url, f"{QUESTION} I am eve@example.org.")
            ask(url, QUESTION, stream=True)
        run(project, "ask", QUESTION)
    (third, second, first) = as_json(project, "logs", "show")["entries"]
    assert first["question"] == f"{QUESTION} I am [email]."
    assert first["answer"] == "Ask [email] in Bern [1]."
    assert "issues permits" in first["contexts"][0]
    assert (second["outcome"], second["contexts"]) == ("answered", first["contexts"])
    assert third["question"] == QUESTION
    assert [line["command"] for line in lines(project) if "command" in line] == ["ask"]
    assert as_json(project, "logs", "purge", "--tenant", "other")["deleted"] == 0
    assert as_json(project, "logs", "purge", "--tenant", "default", "--before", "2020-01-01")["deleted"] == 0
    assert as_json(project, "logs", "purge", "--tenant", "default")["deleted"] == 3
    assert as_json(project, "logs", "show")["entries"] == []
    run(project, "logs", "purge", code=2)
    run(project, "logs", "purge", "--before", "yesterday", code=2)
