"""The compose file is valid, and each service can be watched and keeps its data."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa
import yaml

from ragsaver.access.secret import read
from ragsaver.index import server_collection
from ragsaver.settings_file import load_settings
from tests.commands import as_json, run, started
from tests.databases import URL, needs_postgres
from tests.qdrant_server import qdrant_server
from tests.redis_server import COMPOSE as FILE

ROOT = Path(__file__).resolve().parents[2]
TEST_FILE = ROOT / "docker-compose.test.yml"
COMPOSE, TESTING = (yaml.safe_load(file.read_text()) for file in (FILE, TEST_FILE))


@pytest.mark.parametrize("file", [FILE, TEST_FILE], ids=lambda file: file.name)
def test_it_is_a_compose_file_by_the_specification(file: Path):
    """Whose schema comes with check-jsonschema: nothing is fetched."""
    pytest.importorskip("check_jsonschema")
    by_schema = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    done = subprocess.run(by_schema, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_has_a_health_check_and_what_it_needs():
    services = COMPOSE["services"]
    assert {"first-key", "api", "converter", "embedder", "redis", "qdrant", "postgres"} == set(services)
    for name, service in services.items():
        assert (service["restart"] == "no") == (name == "first-key")
        assert name == "first-key" or service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert service.get("build") or ":" in service["image"], name
        assert "profiles" not in service, name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in COMPOSE["volumes"], name
        assert set(service.get("depends_on", {})) <= set(services)


OURS = [name for name, service in COMPOSE["services"].items() if "build" in service]


@pytest.mark.parametrize("name", OURS)
def test_what_workers_share_is_in_servers_that_are_up_before_them(name: str, tmp_path: Path):
    services, service = COMPOSE["services"], COMPOSE["services"][name]
    filled = {key: re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value) for key, value in service["environment"].items()}
    settings = load_settings(tmp_path, filled)
    database = sa.make_url(settings.database.url.get_secret_value())
    broker = sa.make_url(settings.queue.broker_url.get_secret_value())
    asked = services[database.host]["environment"]
    assert (database.username, database.database) == (asked["POSTGRES_USER"], asked["POSTGRES_DB"])
    assert database.password == re.sub(r"\$\{\w+:-(\w+)\}", r"\1", asked["POSTGRES_PASSWORD"])
    assert settings.embedding_cache.backend == "redis"
    index = urlsplit(settings.index.url)
    assert (settings.index.shared, index.port) == (True, 6333)
    servers = (broker.host, database.host, index.hostname)
    needed = {host: {"condition": "service_healthy"} for host in servers}
    first = {"first-key": {"condition": "service_completed_successfully"}} if name == "api" else {}
    assert service["depends_on"] == needed | first


def test_the_first_start_makes_a_key_shows_it_once_and_ends_in_an_api_that_asks_for_it(tmp_path: Path):
    """By the command lines of the compose file, but for the port."""
    serve, make = (COMPOSE["services"][name]["command"][1:] for name in ("api", "first-key"))
    serve[serve.index("8765")] = "0"
    assert serve[:3] == ["serve", "--host", "0.0.0.0"]
    assert "there is no API key" in run(tmp_path, *serve, code=2).stderr
    made = run(tmp_path, *make)
    secret = made.stdout.strip()
    assert read(secret) and "query, ingest" in made.stderr.replace("ingest, query", "query, ingest")
    again = run(tmp_path, *make)
    assert again.stdout == "" and "none is made" in again.stderr
    assert as_json(tmp_path, *make) == {"secret": None, "key": None}
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert secret.encode() not in kept and read(secret).secret.encode() not in kept
    with started(tmp_path, *serve[1:3], alone=True) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        documents = {"documents": [{"source": "a.md", "text": "Owls hunt at night."}]}
        asked = {None: 401, f"rsk_{'0' * 16}_{'A' * 43}": 401, secret: 200}
        for key, status in asked.items():
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            assert httpx.post(f"{url}/v1/documents", json=documents, headers=headers).status_code == status
        assert httpx.get(f"{url}/readyz").status_code == 200
        server.process.terminate()
        server.process.wait(30)
    key = as_json(tmp_path, "keys", "list")["keys"][0]
    run(tmp_path, "keys", "revoke", key["id"])
    assert "none is made" in run(tmp_path, *make).stderr, "what was revoked on purpose is not made again"


def test_the_server_of_the_index_keeps_tenants_apart():
    version = COMPOSE["services"]["qdrant"]["image"].partition(":v")[2]
    assert tuple(map(int, version.split(".")[:2])) >= server_collection._NEEDED_FOR_TENANT_IDF


def test_only_the_api_has_the_home():
    assert [name for name in OURS if "home:/data" in COMPOSE["services"][name].get("volumes", [])] == ["api"]


@needs_postgres
def test_the_database_is_healthy_when_it_answers_by_tcp():
    kind, *command = COMPOSE["services"]["postgres"]["healthcheck"]["test"]
    codes = [
        subprocess.run(command, env={**os.environ, "PGPORT": str(port)}, capture_output=True).returncode
        for port in (sa.make_url(URL).port, 1)
    ]
    assert (kind, codes) == ("CMD", [0, 2])


def test_nothing_is_reached_from_outside_the_machine():
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def stages() -> dict[str, list[str]]:
    """The lines of the Dockerfile by stage, those that a stage builds on among them; the last one is without a name."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("FROM "):
            base, _, name = line.removeprefix("FROM ").partition(" AS ")
            found[name] = [*found.get(base, [])]
        elif found:
            found[list(found)[-1]].append(line)
    return found


def test_the_service_that_tests_the_index_needs_what_is_there_and_disturbs_no_other():
    assert set(TESTING["services"]) == {"conformance"}
    service = TESTING["services"]["conformance"]
    assert not set(TESTING["services"]) & set(COMPOSE["services"])
    assert set(service["depends_on"]) == {urlsplit(service["environment"]["RAGSAVER_TEST_QDRANT_URL"]).hostname}
    assert set(service["depends_on"]) <= set(COMPOSE["services"])
    assert service["image"] != COMPOSE["services"]["api"]["image"]
    assert service["build"]["target"] in stages()
    assert list(stages())[-1] == "", "who names no target gets the last stage"


def test_what_that_service_runs_asks_the_server_that_it_is_told_with_no_file_but_those_of_its_image(tmp_path: Path):
    service = TESTING["services"]["conformance"]
    copied = [line.split()[1:-1] for line in stages()[service["build"]["target"]] if line.startswith("COPY ")]
    for name in (one for some in copied for one in some):
        (tmp_path / name).symlink_to(ROOT / name)
    python, *arguments = service["command"]
    assert python == "python"
    with qdrant_server() as server:
        done = subprocess.run(
            [sys.executable, *arguments, "-p", "no:cacheprovider", "-k", "server-rest and test_both_legs_find"],
            cwd=tmp_path,
            env={**os.environ, "RAGSAVER_TEST_QDRANT_URL": server.url, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert server.requests("/points/query/batch")
        assert server.client.get_collections().collections == []
