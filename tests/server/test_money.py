"""What was spent, what is left and what it would cost, over HTTP: each asker's own, and nobody else's."""

import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragsaver.access.identity import Permission
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.spend.budgets import Account, period_at
from ragsaver.spend.ledger import Call
from tests.clock import Clock
from tests.listening import listening
from tests.openai_server import Script, openai_server
from tests.server.paying import PERMIT, QUESTION, micro, served, tiny

ELSEWHERE = Call("", "elsewhere", "test", 0, "book")
COST = 280  # micro-dollars of one answer: 60 tokens at 1 dollar a million, 40 at half of that, 20 at ten dollars


@pytest.fixture
def script() -> Script:
    return Script(reply="The veterinary office issues it [1].")


@pytest.fixture
def both(runtime: Runtime, script: Script) -> Iterator[tuple[TestClient, Access]]:
    with openai_server(script) as url, served(runtime, [tiny(url)]) as made:
        yield made


def key_of(access: Access, principal: str, tenant: str, *permissions: Permission) -> dict[str, str]:
    _, presented = access.keys.create(principal, tenant, (), permissions or [Permission.QUERY])
    return {"authorization": f"Bearer {presented.text()}"}


ASKERS = [("ana", "acme"), ("bob", "acme"), ("ana", "umbrella"), ("acme/ana", "umbrella")]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.tuples(st.sampled_from(ASKERS[:3]), st.sampled_from(["chat", "query", "stream"])), max_size=6))
def test_each_asker_is_told_what_it_has_spent_and_nothing_of_others(both: tuple[TestClient, Access], asked: list):
    client, access = both
    keys = {who: key_of(access, *who) for who in ASKERS[:3]}
    admins = {tenant: key_of(access, "root", tenant, Permission.ADMIN) for tenant in ("acme", "umbrella")}
    before = {who: spent(client, key) for who, key in keys.items()}
    tenants = {tenant: spent(client, key) for tenant, key in admins.items()}
    receipts = []
    for who, how in asked:
        if how == "chat":
            body = {"model": "query", "messages": [{"role": "user", "content": QUESTION["query"]}]}
            answer = client.post("/v1/chat/completions", json=body, headers=keys[who])
        else:
            answer = client.post("/v1/query", json={**QUESTION, "stream": how == "stream"}, headers=keys[who])
        assert answer.status_code == 200
        receipts.append((who, answer.headers["x-request-id"]))
    for who, key in keys.items():
        mine = sum(one == who for one, _ in asked)
        assert spent(client, key) - before[who] == mine * COST
        lines = client.get("/v1/budgets", headers=key).json()["budgets"]
        assert {(line["scope"], line["name"]) for line in lines} <= {("principal", f"{who[1]}/{who[0]}")}
        assert sum(micro(line["spent_usd"]) for line in lines) == spent(client, key)
        for owner, request_id in receipts:
            told = client.get(f"/v1/receipts/{request_id}", headers=key)
            absent = client.get("/v1/receipts/nothing-here", headers=key)
            if owner == who:
                assert micro(told.json()["receipt"]["cost_usd"]) == COST and told.json()["complete"]
            else:
                assert (told.status_code, told.json()["detail"]) == (404, absent.json()["detail"])
    for tenant, key in admins.items():
        of_tenant = sum(who[1] == tenant for who, _ in asked)
        assert spent(client, key) - tenants[tenant] == of_tenant * COST
        by = client.get("/v1/usage?by=principal", headers=key).json()["lines"]
        assert {line["name"] for line in by} <= {who[0] for who in ASKERS if who[1] == tenant}
        names = {line["name"] for line in client.get("/v1/budgets", headers=key).json()["budgets"]}
        assert all(name == tenant or name.startswith(f"{tenant}/") for name in names)
        for (_, whose), request_id in receipts:
            expected = 200 if whose == tenant else 404
            assert client.get(f"/v1/receipts/{request_id}", headers=key).status_code == expected


def spent(client: TestClient, key: dict[str, str]) -> int:
    return micro(client.get("/v1/usage", headers=key).json()["total"]["cost_usd"])


def test_the_server_s_own_user_sees_its_tenant(both: tuple[TestClient, Access]):
    client, _ = both
    answer = client.post("/v1/query", json=QUESTION)
    assert spent(client, {}) == COST
    assert client.get(f"/v1/receipts/{answer.headers['x-request-id']}").json()["principal"] is None
    (line,) = client.get("/v1/budgets").json()["budgets"]
    assert (line["scope"], line["name"], micro(line["spent_usd"]), line["held_usd"]) == ("tenant", "default", COST, 0)
    assert client.get("/v1/usage?since=2100-01-01").json()["total"]["calls"] == 0
    assert client.get("/v1/usage?by=tier").json()["lines"][0]["name"] == "small"
    for wrong in ("by=secret_hash", "since=soon"):
        assert client.get(f"/v1/usage?{wrong}").status_code == 422
    for beyond in ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00%2B23:59"):
        assert client.get(f"/v1/usage?since={beyond}").status_code == 400
    assert client.get("/v1/usage?since=0001-01-01").json()["total"]["calls"] == 1


def test_each_asker_is_told_its_budgets_before_anything_is_spent(both: tuple[TestClient, Access]):
    client, access = both
    with listening(client.app) as url:

        def told(key: dict[str, str]) -> dict[tuple[str, str], float]:
            lines = httpx.get(f"{url}/v1/budgets", headers=key, timeout=60).json()["budgets"]
            assert all((line["spent_usd"], line["period"]) == (0, "month") for line in lines)
            return {(line["scope"], line["name"]): line["remaining_usd"] for line in lines}

        assert told({}) == {("tenant", "default"): 1}
        assert told(key_of(access, "ana", "acme")) == {("principal", "acme/ana"): 0.5}
        admin = key_of(access, "root", "acme", Permission.ADMIN)
        assert told(admin) == {("tenant", "acme"): 1, ("principal", "acme/root"): 0.5}


def test_a_key_that_only_brings_in_sees_no_spending(both: tuple[TestClient, Access]):
    client, access = both
    key = key_of(access, "ana", "acme", Permission.INGEST)
    for path in ("/v1/usage", "/v1/budgets", "/v1/receipts/x"):
        assert client.get(path, headers=key).status_code == 403


def test_a_request_s_own_ceiling_and_a_budget_refuse_before_the_model_is_asked(
    both: tuple[TestClient, Access], script: Script
):
    client, _ = both
    chat = {"model": "query", "messages": [{"role": "user", "content": QUESTION["query"]}]}
    ceiling = {"x-ragsaver-max-cost": "0.000001"}
    refused = client.post("/v1/query", json=QUESTION, headers=ceiling)
    assert (refused.status_code, refused.json()["type"]) == (402, "urn:ragsaver:problem:too-expensive")
    for stream in (False, True):
        told = client.post("/v1/chat/completions", json={**chat, "stream": stream}, headers=ceiling)
        assert (told.status_code, told.json()["error"]["code"]) == (402, "too_expensive")
    assert script.requests == []


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_failed_says_what_it_cost_all_the_same(
    both: tuple[TestClient, Access], script: Script, stream: bool
):
    client, _ = both
    chat = {"model": "query", "messages": [{"role": "user", "content": QUESTION["query"]}], "stream": stream}
    for path, body in (("query", {**QUESTION, "stream": stream}), ("chat/completions", chat)):
        script.statuses, before = [500], spent(client, {})
        told = client.post(f"/v1/{path}", json=body)
        cost = spent(client, {}) - before
        assert cost > COST
        if path == "query" and stream:
            assert f'"cost_usd":{cost / 1e6}' in told.text and "event: error" in told.text
            continue
        assert (told.status_code, micro(float(told.headers["x-ragsaver-cost"]))) == (502, cost)
        assert micro(told.json()["cost_usd"] if path == "query" else told.json()["error"]["cost"]) == cost
    nothing = client.post("/v1/query", json=QUESTION, headers={"x-ragsaver-max-cost": "0"})
    assert (nothing.status_code, nothing.headers["x-ragsaver-cost"], nothing.json()["cost_usd"]) == (402, "0", 0)


def test_a_ceiling_that_is_sent_twice_is_none(both: tuple[TestClient, Access], script: Script):
    client, _ = both
    twice = [("x-ragsaver-max-cost", "5"), ("X-RagSaver-Max-Cost", "0.000001")]
    for path in ("query", "estimate", "search"):
        told = client.post(f"/v1/{path}", json=QUESTION, headers=twice)
        assert (told.status_code, told.json()["where"]) == (400, "header.x-ragsaver-max-cost")
    assert script.requests == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_budget_that_is_used_up_says_when_it_is_full_again(runtime: Runtime, script: Script, stream: bool):
    script.usage = {"prompt_tokens": 100, "completion_tokens": 50_000, "total_tokens": 50_100}  # half of the budget
    with (
        openai_server(script) as url,
        served(runtime, [tiny(url, max_output_tokens=60_000)], short_answers=False) as (client, _),
    ):
        assert client.post("/v1/query", json=QUESTION).status_code == 200
        body = {"model": "query", "messages": [{"role": "user", "content": QUESTION["query"]}], "stream": stream}
        told = client.post("/v1/chat/completions", json=body)
        assert (told.status_code, told.json()["error"]["code"]) == (429, "budget_exceeded")
        assert int(told.headers["retry-after"]) > 0
    assert len(script.requests) == 1


@pytest.mark.parametrize("scope", ["total", "pipeline"])
@pytest.mark.parametrize("pacing", [False, True])
def test_what_others_spend_of_a_shared_budget_is_not_told(runtime: Runtime, script: Script, scope: str, pacing: bool):
    budgets = [{"scope": scope, "period": "month", "limit_usd": "0.01"}]
    spend = {"budgets": budgets, "pacing": {"enabled": pacing, "extractive_from": None, "cached_from": None}}
    with openai_server(script) as url, served(runtime, [tiny(url)], {"spend": spend}) as (client, access):
        key, told = key_of(access, "ana", "acme"), []
        with access.live.use() as at:
            at.resources.till.ledger.clock = Clock(period_at("month", time.time())[0] + 60)
        for theirs in (9_000, 300):
            with access.live.use() as at:
                at.resources.till.ledger.record(Account("umbrella", pipeline="query"), ELSEWHERE, theirs)
                at.resources.till._paces.clear()
            answers = [client.post(f"/v1/{path}", json=QUESTION, headers=key) for path in ("query", "estimate")]
            assert [one.status_code for one in answers] == [200 if pacing else 429, 200]
            answer, estimate = (one.json() for one in answers)
            refused = [one["refused"]["problem"] for one in estimate["tiers"]]
            told.append([answer.get("detail"), answer.get("route"), estimate["low_reason"], refused])
            assert all(f"more than budget {scope}" in one for one in refused)
        assert told[0] == told[1] and script.requests == []


def test_an_estimate_holds_what_the_answer_then_costs_and_asks_nobody(both: tuple[TestClient, Access], script: Script):
    client, _ = both
    told = client.post("/v1/estimate", json=QUESTION).json()
    assert script.requests == [] and spent(client, {}) == 0
    assert told["passages"] == 1 and told["prompt_tokens"] > 50
    assert [tier["model"] for tier in told["tiers"]] == ["tiny"]
    script.usage = {"prompt_tokens": told["prompt_tokens"], "completion_tokens": 20, "total_tokens": 0}
    cost = client.post("/v1/query", json=QUESTION).json()["receipt"]["cost_usd"]
    assert 0 < told["low_usd"] <= cost <= told["high_usd"]
    assert client.get("/v1/usage").json()["total"]["calls"] == 1
    # 10 dollars for a million: 256 tokens at most, since it asks for a fact; 20 where the asker wants no more
    shorter = client.post("/v1/estimate", json={**QUESTION, "max_output_tokens": 20}).json()
    assert micro(told["high_usd"]) - micro(shorter["high_usd"]) == (256 - 20) * 10
    script.requests.clear()
    capped = {"x-ragsaver-max-cost": f"{told['high_usd']:.6f}"}
    assert client.post("/v1/query", json=QUESTION, headers=capped).status_code == 200
    assert len(script.requests) == 1


def test_an_estimate_adds_up_every_model_that_may_be_asked(runtime: Runtime):
    with served(runtime, [tiny("http://127.0.0.1:1/v1"), {**tiny("http://127.0.0.1:1/v1"), "name": "huge"}]) as (
        client,
        _,
    ):
        told = client.post("/v1/estimate", json=QUESTION).json()
        small, large = told["tiers"]
        assert micro(told["high_usd"]) == micro(small["high_usd"]) + micro(large["high_usd"])
        assert told["low_usd"] == small["low_usd"] < large["low_usd"]


def test_what_is_free_is_estimated_as_free(runtime: Runtime):
    with served(runtime, []) as (client, _):
        none = client.post("/v1/estimate", json=QUESTION).json()
        assert (none["low_usd"], none["high_usd"]) == (0, 0) and "no language model is configured" in none[
            "high_reason"
        ]
    with served(runtime, [tiny("http://127.0.0.1:1/v1")], extractive_first=True, extractive_sure_confidence=0.0) as (
        client,
        _,
    ):
        empty = client.post("/v1/estimate", json={**QUESTION, "collection": "empty"}).json()
        assert empty["high_usd"] == 0 and "there is no passage to answer from" in empty["high_reason"]
        sure = client.post("/v1/estimate", json={"query": PERMIT}).json()
        assert sure["low_usd"] == 0 < sure["high_usd"] and "free tier" in sure["low_reason"]
        for body, status in (
            ({"query": " "}, 400),
            ({**QUESTION, "pipeline": "none"}, 400),
            ({**QUESTION, "x": 1}, 422),
        ):
            assert client.post("/v1/estimate", json=body).status_code == status
