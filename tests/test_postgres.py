"""A PostgreSQL that several processes share: nothing is done twice or by halves, and what is wrong is told."""

import json
import re
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from ragsaver.errors import MissingExtra, SettingsError, StorageError, StorageUnavailable
from ragsaver.index.scope import Scope
from ragsaver.ingestion.identity import Fingerprints
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.manifest import DocumentRecord, Manifest
from ragsaver.ingestion.opening import asked_server, jobs_place, open_manifest
from ragsaver.ingestion.queued_document import NewDocument
from ragsaver.ingestion.turns import Priority
from ragsaver.postgres import PostgresSchema
from ragsaver.settings import DatabaseSettings, Settings, SpendSettings
from ragsaver.settings_file import load_settings
from tests.commands import as_json
from tests.databases import URL, asking, needs_postgres, schemas
from tests.databases import database as kept_in

SCOPE = Scope("acme", "docs")
PROCESSES = 4

# Each does its work when it is told to, and says on its last line what it did.
BEGIN = """
import json, random, sys, uuid
from pydantic import SecretStr
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.jobs import JobStore
from ragsaver.ingestion.manifest import Manifest
from ragsaver.postgres import PostgresSchema
url, name, given = SecretStr(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
"""
WORK = {
    "open": """
print("ready", flush=True); sys.stdin.readline()
for n in range(10):
    JobStore(PostgresSchema(url, f"{name}_{n}_jobs")).close()
    Manifest(PostgresSchema(url, f"{name}_{n}_manifest")).close()
print("[]")
""",
    "claim": """
jobs = JobStore(PostgresSchema(url, name))
print("ready", flush=True); sys.stdin.readline()
mine = []
while some := jobs.documents.claim(State.QUEUED, "me", limit=random.randint(1, 8), lease_s=60):
    mine += [one.id for one in some]
print(json.dumps(mine))
""",
    "send": """
jobs = JobStore(PostgresSchema(url, name))
print("ready", flush=True); sys.stdin.readline()
sent = 0
while some := jobs.documents.to_send(State.QUEUED, lease_s=60, lost=True):
    sent += some
print(json.dumps({"sent": sent}))
""",
    # All that happens to documents, in any order; held so shortly that others take over what is under way.
    "everything": """
stages = {State.QUEUED: State.CONVERTED, State.CONVERTED: State.EMBEDDED, State.EMBEDDED: State.APPLIED}
jobs = JobStore(PostgresSchema(url, name))
documents = jobs.documents
print("ready", flush=True); sys.stdin.readline()
ended = []
while any(documents.waiting(state) for state in stages):
    holder = uuid.uuid4().hex
    for state, after in random.sample(sorted(stages.items()), 3):
        documents.bury(state, 1000)
        documents.line_up(state)
        lost = documents.to_send(state, lease_s=random.random() / 50, lost=random.random() < 0.5)
        documents.unsend(state, lost // 2)
        some = documents.claim(state, holder, limit=8, lease_s=random.random() / 50)
        jobs.hold_on([holder], random.random() / 50)
        random.shuffle(some)
        for one in some:
            if random.random() < 0.2:
                documents.put_back(one.id, holder, wait_s=0.0, error=None, tried=True)
            elif documents.forward(one.id, state, after, lease_s=random.random() / 50) and after is State.APPLIED:
                ended.append(one.id)
print(json.dumps(ended))
""",
    "texts": """
jobs = JobStore(PostgresSchema(url, name))
print("ready", flush=True); sys.stdin.readline()
mine = []
for start in range(0, len(given), 40):
    some = given[start : start + 60]
    random.shuffle(some)
    mine += jobs.texts.claim("p", some, str(random.random()), 60)
print(json.dumps(mine))
""",
}


@pytest.fixture
def server():
    with kept_in("postgres") as made:
        yield made


@pytest.fixture
def jobs(server: DatabaseSettings):
    made = JobStore(jobs_place(Settings(database=server)))
    yield made
    made.close()


def at_once(work: str, server: DatabaseSettings, given: list[str] = []) -> Counter[str]:  # noqa: B006
    """What processes that do the same at the same moment did, together."""
    schema = server.schema_name if work == "open" else f"{server.schema_name}_jobs"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN + WORK[work], server.url.get_secret_value(), schema, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    done: Counter[str] = Counter()
    for process in started:
        said, errors = process.communicate(timeout=120)
        assert errors == ""
        done.update(json.loads(said))
    return done


def queued(
    jobs: JobStore,
    number: int,
    lease_s: float = 0.0,
    scope: Scope = SCOPE,
    priority: Priority = Priority.NORMAL,
) -> list[str]:
    job = jobs.create(scope, None, 10_000, priority=priority)
    jobs.add(job, [NewDocument(f"{n}.md", text=f"Text {n}.") for n in range(number)], first=0, lease_s=lease_s)
    return [f"{job}-{n}" for n in range(number)]


def end_connections(server: DatabaseSettings) -> None:
    """As a server does that is shut down, or an administrator."""
    with asking(server) as connection:
        connection.execute(
            sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ragsaver' AND pid <> pg_backend_pid() AND query LIKE '%' || :ours || '%'"),
            {"ours": server.schema_name},
        ).all()  # fmt: skip


@needs_postgres
def test_processes_that_open_new_schemas_at_once_all_get_them(server: DatabaseSettings):
    at_once("open", server)


@needs_postgres
def test_an_index_that_a_newer_ragsaver_has_is_added(jobs: JobStore, server: DatabaseSettings):
    schema = f"{server.schema_name}_jobs"
    asked = sa.text(f"SELECT count(*) FROM pg_indexes WHERE schemaname = '{schema}'")
    with asking(server) as connection:
        before = connection.scalar(asked)
        connection.execute(sa.text(f"DROP INDEX {schema}.documents_in_line"))
        JobStore(jobs.place).close()
        assert connection.scalar(asked) == before


@needs_postgres
def test_a_document_is_claimed_by_one_process(jobs: JobStore, server: DatabaseSettings):
    ids = queued(jobs, 200, lease_s=60)
    assert at_once("claim", server) == Counter(ids)


@needs_postgres
def test_whatever_processes_do_at_once_each_document_ends_once_and_nobody_waits_for_ever(jobs: JobStore, server):
    ids = [
        one
        for priority in Priority
        for tenant in ("ants", "bees")
        for one in queued(jobs, 25, scope=Scope(tenant, "docs"), priority=priority)
    ]
    assert at_once("everything", server) == Counter(ids)
    with jobs._database.reading() as connection:
        table = sa.table("documents", sa.column("round"), sa.column("holder"), schema=f"{server.schema_name}_jobs")
        assert set(connection.execute(sa.select(table)).all()) == {(None, None)}


@needs_postgres
def test_a_message_is_sent_by_one_process(jobs: JobStore, server: DatabaseSettings):
    queued(jobs, 3000)
    assert at_once("send", server) == {"sent": 3000}


@needs_postgres
def test_a_text_is_embedded_by_one_process_and_claims_never_wait_for_each_other(jobs: JobStore, server):
    hashes = [f"{n:032x}" for n in range(400)]
    assert at_once("texts", server, hashes) == Counter(hashes)


@needs_postgres
def test_a_connection_that_ends_in_a_transaction_leaves_nothing_half_done(jobs: JobStore, server: DatabaseSettings):
    (first, second) = queued(jobs, 2)
    with pytest.raises(StorageError, match="can't be written"), jobs._database.writing() as connection:
        table = sa.table("documents", sa.column("state"), schema=f"{server.schema_name}_jobs")
        assert connection.execute(sa.update(table).values(state=State.DEAD)).rowcount == 2
        end_connections(server)
        connection.execute(sa.update(table).values(state=State.FAILED))
    assert jobs.documents.waiting(State.QUEUED) == 2
    assert [one.id for one in jobs.documents.claim(State.QUEUED, "me", limit=1, lease_s=60)] == [first]
    assert jobs.documents.forward(second, State.QUEUED, State.CONVERTED)


@needs_postgres
def test_a_process_that_is_killed_in_a_transaction_leaves_nothing_half_done_and_holds_nobody_up(
    jobs: JobStore, server: DatabaseSettings
):
    ids = queued(jobs, 2)
    code = """
with jobs._database.writing() as connection:
    table = sa.table("documents", sa.column("state"), schema=name)
    connection.execute(sa.update(table).values(state="dead"))
    print("ready", flush=True); sys.stdin.readline()
"""
    opened = "import sqlalchemy as sa\njobs = JobStore(PostgresSchema(url, name))"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{BEGIN}\n{opened}\n{code}", URL, f"{server.schema_name}_jobs", "[]"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate()
    assert [one.id for one in jobs.documents.claim(State.QUEUED, "me", limit=2, lease_s=60)] == ids


@needs_postgres
def test_connections_that_the_server_closed_meanwhile_are_opened_again(jobs: JobStore, server: DatabaseSettings):
    ids = queued(jobs, 1)
    end_connections(server)
    assert jobs.documents.late(State.QUEUED) == 1
    end_connections(server)
    assert [one.id for one in jobs.documents.claim(State.QUEUED, "me", limit=1, lease_s=60)] == ids


@needs_postgres
def test_jobs_and_manifest_of_several_projects_share_a_database(jobs: JobStore, server: DatabaseSettings, tmp_path):
    queued(jobs, 3)
    with kept_in("postgres") as other:
        for project, source in ((server, "a.md"), (other, "b.md")):
            with closing(open_manifest(Settings(home=tmp_path, database=project), tmp_path)) as manifest:
                manifest.commit(SCOPE, [record(source)])
                assert set(manifest.documents(SCOPE)) == {source}
        with closing(JobStore(jobs_place(Settings(database=other)))) as others:
            assert others.documents.waiting(State.QUEUED) == 0


def record(source: str, size: int = 3) -> DocumentRecord:
    return DocumentRecord(
        id=f"id of {source[:9]}", source=source, location=None, size=size, version="", content_hash="h",
        metadata_hash="m", config="c", generation=1, ingested_at=1.5, chunks=(Fingerprints("c1", "e", "c", "p"),),
    )  # fmt: skip


@needs_postgres
def test_a_source_may_be_long_a_file_large_and_a_text_have_any_character(jobs, server, tmp_path: Path):
    (one,) = [record("https://example.org/" + "".join(f"{n:x}" for n in range(5000)), size=5 * 2**30)]
    with closing(open_manifest(Settings(home=tmp_path, database=server), tmp_path)) as manifest:
        manifest.commit(SCOPE, [one])
        assert manifest.document(SCOPE, one.source) == one
    text, metadata = "before\0after \N{OWL}", {"a\0b": "c\0d"}
    job = jobs.create(SCOPE, None, 10)
    assert jobs.add(job, [NewDocument("a.md", text=text, metadata=metadata)], first=0, lease_s=60) == 1
    (held,) = jobs.documents.claim(State.QUEUED, "me", limit=1, lease_s=60)
    assert (held.text, held.metadata) == (text, metadata)
    jobs.documents.put_back(held.id, "me", wait_s=0, error="a \0 is in it", tried=True)
    assert jobs.report(job, SCOPE.tenant, SpendSettings()).progress[0].error == "a \N{REPLACEMENT CHARACTER} is in it"


def changed(**parts: object) -> DatabaseSettings:
    address = sa.make_url(URL).set(**parts)
    return DatabaseSettings(url=SecretStr(address.render_as_string(hide_password=False)))


@needs_postgres
@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"password": "s3cret"}, "password authentication failed.*Correct user and password"),
        ({"username": "nobody"}, "password authentication failed.*Correct user and password"),
        ({"database": "nowhere"}, 'database "nowhere" does not exist.*createdb -O ragsaver nowhere'),
        ({"port": 1}, "Connection refused.*Start the server"),
        ({"host": "no-such-host.invalid"}, "no-such-host.invalid:.*Start the server"),
    ],
)
def test_a_server_that_does_not_let_us_in_is_named_without_the_password(parts, words, tmp_path: Path):
    settings = changed(**parts)
    with pytest.raises(StorageError, match=words) as caught:
        Manifest(PostgresSchema(settings.url, "never"))
    address = sa.make_url(settings.url.get_secret_value())
    assert f"postgresql://{address.host}:{address.port}/{address.database}" in str(caught.value)
    assert isinstance(caught.value, StorageUnavailable) == ("Start the server" in words)
    assert address.password not in f"{caught.value!r} {caught.value} {settings!r}"


@needs_postgres
def test_a_user_who_may_make_no_schema_is_told_which_right_is_missing(server: DatabaseSettings):
    role, password = f"{server.schema_name}_reader", "pw"
    with asking(server) as connection:
        connection.execute(sa.text(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'"))
        right = f'GRANT CREATE ON DATABASE "postgres" TO "{role}"'
        reader = changed(username=role, password=password)
        try:
            with pytest.raises(StorageError, match=right):
                Manifest(PostgresSchema(reader.url, server.schema_name))
            with pytest.raises(StorageError, match=right):
                asked_server(Settings(database=reader.model_copy(update={"schema_name": server.schema_name})))
        finally:
            connection.execute(sa.text(f"DROP ROLE {role}"))


@needs_postgres
def test_doctor_names_the_server_and_says_what_is_wrong_with_it(server: DatabaseSettings, tmp_path: Path):
    def told(settings: DatabaseSettings, code: int) -> tuple[bool, str]:
        more = {"RAGSAVER_DATABASE__URL": settings.url.get_secret_value()}
        rows = as_json(tmp_path, "doctor", code=code, RAGSAVER_DATABASE__SCHEMA_NAME=server.schema_name, **more)[
            "checks"
        ]
        return next((row["ok"], row["detail"]) for row in rows if row["check"] == "database")

    address = sa.make_url(URL)
    ok, detail = told(server, 0)
    assert ok and re.fullmatch(
        rf"PostgreSQL \S+ at postgresql://127.0.0.1:{address.port}/postgres, schemas \S+", detail
    )
    assert schemas(server) == []
    wrong = changed(password="s3cret")
    ok, detail = told(wrong, 2)
    assert not ok and "password authentication failed" in detail and "s3cret" not in detail


@needs_postgres
def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch):
    import socket

    monkeypatch.setattr("ragsaver.postgres_driver._SILENT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = changed(port=silent.getsockname()[1])
        with pytest.raises(StorageError, match="timed out"):
            Manifest(PostgresSchema(settings.url, "never"))


@needs_postgres
def test_tls_is_taken_as_the_url_says(server: DatabaseSettings):
    asked = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    with asking(server) as connection:
        certificate = connection.scalar(sa.text("SHOW ssl_cert_file"))
        if connection.scalar(sa.text("SHOW ssl")) != "on":
            pytest.skip("this server has no certificate")
    secure = {"sslmode": "verify-full", "sslrootcert": certificate}
    for query, encrypted in (
        ({"sslmode": "disable"}, False),
        ({}, True),
        ({"sslmode": "require"}, True),
        (secure, True),
    ):
        with asking(changed(query=query)) as connection:
            assert connection.scalar(sa.text(asked)) is encrypted
    with pytest.raises(StorageError, match="certificate verify failed"):
        Manifest(PostgresSchema(changed(query={"sslmode": "verify-full"}).url, "never"))


@pytest.mark.parametrize(("query", "words"), [("sslmode=maybe", "no sslmode `maybe`"), ("a=b", "`a` can't be set")])
def test_what_the_url_can_t_say_is_refused(query: str, words: str):
    with pytest.raises(SettingsError, match=words):
        Manifest(PostgresSchema(SecretStr(f"postgresql://u:pw@127.0.0.1/d?{query}"), "never"))


def test_without_the_driver_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pg8000", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ragsaver\[postgres\]'"):
        Manifest(PostgresSchema(SecretStr("postgresql://u:pw@127.0.0.1/d"), "never"))


@pytest.mark.parametrize(
    "url",
    ["mysql://u:s3cret@h/d", "postgresql://u:s3cret@h", "postgresql://u:s3#cret@h/d", "postgresql://u@h:s3cret/d"],
)
def test_a_url_that_is_none_is_refused_and_not_shown(url: str, tmp_path: Path):
    with pytest.raises(SettingsError, match="RAGSAVER_DATABASE__URL.*postgresql://USER:PASSWORD@HOST") as caught:
        load_settings(tmp_path, {"RAGSAVER_DATABASE__URL": url})
    assert "s3" not in str(caught.value)
