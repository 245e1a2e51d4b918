"""Whatever is sent, a route answers by the contract: it never fails inside, and an error has its route's shape."""

import json

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.server.openai_errors import is_openai

patiently = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

_TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["query", "search", "default", "user", "system", "a/b", "\0"]))
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=3)),
    max_leaves=6,
)
_MESSAGES = st.lists(
    st.one_of(
        _JSON,
        st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "assistant", "tool"]), "content": _JSON}),
    ),
    max_size=3,
)
_NAMED = {
    "query": _TEXTS,
    "model": st.one_of(st.just("query"), _TEXTS),
    "messages": _MESSAGES,
    "documents": _JSON,
    "collection": _JSON,
    "pipeline": _JSON,
    "stream": st.one_of(st.booleans(), _JSON),
    "stream_options": _JSON,
    "max_tokens": _JSON,
    "top_k": _JSON,
    "tools": _JSON,
    "stop": _JSON,
    "response_format": _JSON,
    "response_schema": _JSON,
}
BODIES = st.one_of(_JSON, st.fixed_dictionaries({}, optional=_NAMED))
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "x-ragsaver-max-cost": st.sampled_from(["0", "1e-9", "1e400", "NaN", "-1", "Infinity", "0.01", "x", ""]),
        "x-ragsaver-quality": st.sampled_from(["minimum", "balanced", "maximum", "best", ""]),
        "x-ragsaver-deadline": st.sampled_from(["60", "1e-9", "0", "-1", "NaN", "Infinity", "x", ""]),
        "x-request-id": st.sampled_from(["short", "a" * 128, "a" * 129, "<script>!", "../../../etc"]),
        "authorization": st.sampled_from(["", "Bearer", "Bearer x", "Bearer rsk_", "Basic x", "rsk_x"]),
    },
)


@pytest.fixture
def client(runtime: Runtime):
    access = Access(LiveRuntime(runtime), "token")
    with TestClient(create_app(access), raise_server_exceptions=False) as made:
        yield made
    access.close()


@patiently
@given(
    path=st.sampled_from(["/v1/query", "/v1/search", "/v1/estimate", "/v1/documents", "/v1/chat/completions"]),
    body=BODIES,
    headers=HEADERS,
)
def test_nothing_that_is_sent_makes_a_route_fail_inside(client: TestClient, path: str, body: object, headers: dict):
    answer = client.post(path, content=json.dumps(body), headers={"content-type": "application/json", **headers})
    assert answer.status_code < 500, answer.text
    assert answer.headers["x-request-id"]
    if answer.status_code >= 400:
        told = answer.json()
        if is_openai(path):
            assert set(told["error"]) == {"message", "type", "param", "code"} and told["error"]["message"]
        else:
            assert answer.headers["content-type"] == "application/problem+json"
            assert told["status"] == answer.status_code and told["request_id"] == answer.headers["x-request-id"]


@patiently
@given(
    parameters=st.dictionaries(st.sampled_from(["since", "by", "limit", "source", "collection"]), _TEXTS, max_size=3)
)
def test_no_parameter_makes_a_report_fail_inside(client: TestClient, parameters: dict[str, str]):
    for path in ("/v1/usage", "/v1/budgets", "/v1/documents", "/v1/receipts/x", "/v1/jobs/x", "/v1/models"):
        assert client.get(path, params=parameters).status_code < 500
