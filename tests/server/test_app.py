"""The REST surface in the process: schemas, limits, ids, errors that tell and errors that keep their insides."""

import pytest
from fastapi.testclient import TestClient

from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app

TOKEN = "owner-token"


@pytest.fixture
def access(runtime: Runtime):
    made = Access(LiveRuntime(runtime), TOKEN)
    yield made
    made.close()


@pytest.fixture
def client(access: Access):
    with TestClient(create_app(access), raise_server_exceptions=False) as made:
        yield made


def post(client: TestClient, *documents: dict):
    return client.post("/v1/documents", json={"documents": list(documents)})


def test_a_document_that_fails_is_told_and_the_rest_go_in(client: TestClient):
    report = post(client, {"source": "a.md", "text": "Owls hunt voles."}, {"source": "b.md", "text": "  "}).json()
    assert (report["documents"]["added"], report["documents"]["failed"]) == (1, 1)
    assert report["errors"][0]["source"] == "b.md"
    assert "holds no text" in report["errors"][0]["error"]


def test_posting_the_same_text_again_embeds_nothing(client: TestClient):
    document = {"source": "a.md", "text": "Owls hunt voles."}
    assert post(client, document).json()["chunks"]["embedded"] == 1
    again = post(client, document).json()
    assert (again["documents"]["unchanged"], again["chunks"]["embedded"]) == (1, 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"documents": []}, 422),
        ({"documents": [{"source": "", "text": "x"}]}, 422),
        ({"documents": [{"source": "a", "text": "x", "format": "exe"}]}, 422),
        ({"documents": [{"source": "a", "text": "x"}], "collection": "a/b"}, 422),
        ({"documents": [{"source": "a", "text": "x", "tenant": "other"}]}, 422),
        ({"documents": [{"source": "a", "text": "x"}, {"source": "a", "text": "y"}]}, 400),
    ],
)
def test_documents_that_make_no_sense_are_refused_with_a_problem(client: TestClient, body: dict, status: int):
    answer = client.post("/v1/documents", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail", "instance", "request_id"} <= set(problem)
    assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("character", "named"), [("\x1b", "U+001B"), ("\n", "U+000A"), ("\0", "U+0000"), ("\x9b", "U+009B")]
)
def test_a_name_with_a_control_character_is_refused(client: TestClient, character: str, named: str):
    answer = post(client, {"source": "a.md", "text": "Owls."}, {"source": f"b{character}.md", "text": "Voles."})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (400, "urn:ragsaver:problem:usage-error")
    assert problem["problem"] == f"its source has the control character {named} at position 1"
    assert problem["where"] == f"documents[1].source {f'b{character}.md'!a}"
    assert "leave the character out" in problem["remedy"]
    assert client.get("/v1/documents").json()["documents"] == []


def test_one_document_is_deleted_by_its_id_and_no_other(client: TestClient, runtime: Runtime):
    post(client, {"source": "a.md", "text": "Owls hunt voles."}, {"source": "b.md", "text": "Owls hunt mice."})
    client.post("/v1/documents", json={"documents": [{"source": "a.md", "text": "Owls."}], "collection": "other"})
    (listed,) = client.get("/v1/documents", params={"source": "a.md"}).json()["documents"]

    elsewhere = client.delete(f"/v1/documents/{listed['id']}", params={"collection": "other"})
    assert (elsewhere.status_code, elsewhere.json()["type"]) == (404, "urn:ragsaver:problem:document-not-found")
    gone = client.delete(f"/v1/documents/{listed['id']}").json()
    assert ([one["source"] for one in gone["documents"]], gone["chunks"]) == (["a.md"], 1)
    assert client.delete(f"/v1/documents/{listed['id']}").status_code == 404

    assert [one["source"] for one in client.get("/v1/documents").json()["documents"]] == ["b.md"]
    assert len(client.get("/v1/documents", params={"collection": "other"}).json()["documents"]) == 1
    found = client.post("/v1/search", json={"query": "owls"}).json()["passages"]
    assert [passage["source"] for passage in found] == ["b.md"]


HALF = b'[{"role": "user", "content": "a \\ud800 b"}, {"role": "assistant", "content": "x"}%s]'
LAST = b', {"role": "user", "content": "And then?"}'


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/query", b'{"query": "a \\ud800 b"}'),
        ("/v1/search", b'{"query": "a \\ud800 b"}'),
        ("/v1/estimate", b'{"query": "And then?", "history": %s}' % (HALF % b"")),
        ("/v1/chat/completions", b'{"model": "query", "messages": %s}' % (HALF % LAST)),
    ],
)
def test_halves_of_characters_are_refused_wherever_they_stand(client: TestClient, path: str, body: bytes):
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and "not valid UTF-8" in answer.text


def test_a_wrong_method_is_told_which_is_right(client: TestClient):
    for path in ("/v1/query", "/v1/chat/completions"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_the_pipeline_of_searches_is_asked_for_no_answer(client: TestClient):
    answer = client.post("/v1/query", json={"query": "What do owls hunt?", "pipeline": "search"})
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:ragsaver:problem:usage-error")
    assert "/v1/search" in answer.json()["remedy"]


def test_a_sane_request_id_is_kept_and_another_replaced(client: TestClient):
    assert client.get("/healthz", headers={"x-request-id": "mine-12345"}).headers["x-request-id"] == "mine-12345"
    assert client.get("/healthz", headers={"x-request-id": "a b\t<c>"}).headers["x-request-id"].startswith("req_")


def test_the_owner_s_routes_need_the_owner_s_token(client: TestClient, tmp_path):
    body = {"paths": [str(tmp_path)], "cwd": str(tmp_path)}
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN[:-1]}):
        assert client.post("/v1/local/ingest", json=body, headers=headers).status_code == 401
        assert client.post("/v1/local/verify", json={}, headers=headers).status_code == 401
    assert (
        client.post(
            "/v1/local/verify", json={"vectors": True}, headers={"authorization": f"Bearer {TOKEN}"}
        ).status_code
        == 200
    )


def test_the_server_s_insides_stay_inside(client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError("password=hunter2 at /etc/secret")

    monkeypatch.setattr(type(runtime.index), "search", broken)
    monkeypatch.setattr(type(runtime), "engine", broken)
    for answer in (client.get("/readyz"), client.post("/v1/query", json={"query": "x"})):
        assert answer.status_code == 500
        assert "hunter2" not in answer.text and "secret" not in answer.text
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_the_schema_names_every_public_route_and_hides_the_owner_s(client: TestClient):
    schema = client.get("/openapi.json").json()
    documents = {"/v1/documents", "/v1/documents/{document_id}"}
    probes = {"/healthz", "/readyz", "/metrics"}
    other = {"/v1/chat/completions", "/v1/models", "/v1/models/{model}"}
    other |= {"/v1/usage", "/v1/budgets", "/v1/receipts/{request_id}", "/v1/estimate"}
    assert {"/v1/query", "/v1/search", *other, *documents, "/v1/jobs/{job_id}", *probes} == set(schema["paths"])
    assert "AskResult" in schema["components"]["schemas"]
    assert "Problem" in schema["components"]["schemas"]


def test_a_server_that_is_told_to_stop_takes_no_more_documents(client: TestClient, access: Access):
    access.stopping.set()
    answer = post(client, {"source": "a.md", "text": "Owls hunt voles."})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:ragsaver:problem:stopped")
    access.stopping.clear()
    assert post(client, {"source": "a.md", "text": "Owls hunt voles."}).json()["documents"]["added"] == 1


def test_a_stream_that_fails_inside_ends_with_an_error_event(client: TestClient, runtime: Runtime, monkeypatch):
    monkeypatch.setattr(runtime.engine().pipeline, "stream", lambda inputs: 1 / 0)
    text = client.post("/v1/query", json={"query": "x", "stream": True}).text
    assert "event: error" in text and "division" not in text


def test_debug_tells_what_became_of_each_passage_and_nothing_of_other_collections(client: TestClient):
    copies = [{"source": name, "text": "Owls hunt voles at night, and sleep by day in a hollow tree."} for name in "ab"]
    post(client, *copies, {"source": "c", "text": "Mice sleep."})
    client.post(
        "/v1/documents", json={"documents": [{"source": "x", "text": "Owls elsewhere."}], "collection": "other"}
    )
    asked = {"query": "what do owls hunt?", "top_k": 1}
    assert "debug" not in client.post("/v1/search", json=asked).json()
    told = client.post("/v1/search", json={**asked, "debug": True}).json()["debug"]
    assert {one["source"] for one in told["passages"]} == {"a", "b", "c"}
    first, second, third = told["passages"]
    assert (first["rank"], first["left_out"], first["dense"]["rank"]) == (1, None, 1)
    assert first["tokens"] > 0
    assert second["rank"] is None and second["left_out"] == f"says the same as {first['source']}"
    assert third["lexical"] is None and (third["source"], third["left_out"]) == ("c", "beyond the first 1")
    answer = client.post("/v1/query", json={"query": "what do owls hunt?", "debug": True}).json()
    folded = next(one for one in answer["debug"]["passages"] if one["also_in"])
    assert [place["source"] for place in folded["also_in"]] == [{"a": "b", "b": "a"}[folded["source"]]]
    assert "debug" not in client.post("/v1/query", json={"query": "what do owls hunt?"}).json()


def test_what_is_wrong_with_a_pipeline_is_told_and_not_where_it_is_on_the_machine(client: TestClient, runtime: Runtime):
    folder = runtime.settings.pipelines_dir
    folder.mkdir()
    (folder / "mine.yaml").write_text("components:\n  a: {type: ragsaver.components.packer.ContextPaker}\n")
    (folder / "latin.yaml").write_bytes(b"\xff")
    for name, status, where in (
        ("nope", 400, "pipelines"),
        ("mine", 500, "pipelines/mine.yaml:2"),
        ("latin", 500, None),
    ):
        answer = client.post("/v1/query", json={"query": "owls?", "pipeline": name})
        problem = answer.json()
        assert (answer.status_code, problem["where"]) == (status, where or "pipelines/latin.yaml")
        assert str(folder.parent) not in answer.text and problem["problem"]


def test_a_search_keeps_to_the_time_and_the_freshness_that_its_caller_wants(client: TestClient):
    post(client, {"source": "a.md", "text": "Owls hunt voles."})
    hurried = client.post("/v1/search", json={"query": "owls"}, headers={"x-ragsaver-deadline": "0.000001"})
    assert (hurried.status_code, hurried.json()["type"]) == (504, "urn:ragsaver:problem:deadline-exceeded")

    def found(**headers: str) -> str:
        lines = client.post("/v1/search", json={"query": "owls"}, headers=headers).json()["receipt"]["lines"]
        return next(line["reason"] for line in lines if line["stage"] == "retrieve")

    first, again, fresh = found(), found(), found(**{"cache-control": "no-cache"})
    assert "found before" in again and first == fresh == "local index, no fee"
    headers = client.get("/openapi.json").json()["paths"]["/v1/search"]["post"]["parameters"]
    assert {one["name"] for one in headers} == {"x-ragsaver-deadline", "x-ragsaver-max-cost", "cache-control"}


def test_debug_does_not_go_with_a_stream(client: TestClient):
    answer = client.post("/v1/query", json={"query": "owls?", "debug": True, "stream": True})
    assert answer.status_code == 422
