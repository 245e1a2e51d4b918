"""An estimate's range holds what its request is then charged, however badly that goes, and says what would refuse it."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ragsaver.pipelines
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.runtime import Runtime
from ragsaver.settings import FREE_TIER
from tests.openai_server import Script, openai_server
from tests.server.paying import QUESTION, micro, served, tiny

SCHEMA = {"type": "object", "properties": {"office": {"type": "string"}}, "required": ["office"]}
FITS = '{"office": "the veterinary office"}'
CITED = "The veterinary office issues it [1]."
REPLIES = [FITS, CITED, "I do not know.", "{", '{"office": 1}', "word, " * 80]
HISTORY = [("user", "Do parrots need a permit?"), ("assistant", "Parrots need an export permit [1].")] * 3


def cost_of(client: TestClient, body: dict, history: list, headers: dict) -> tuple[int, int, str | None]:
    """The answer's status, micro-dollars that its request was charged, and the tier that answered."""
    before = micro(client.get("/v1/usage").json()["total"]["cost_usd"])
    if history:
        turns = [{"role": role, "content": text} for role, text in (*history, ("user", body["query"]))]
        chat = {"model": "query", "messages": turns}
        if "response_schema" in body:
            chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": body["response_schema"]}}
        answer = client.post("/v1/chat/completions", json=chat, headers=headers)
    else:
        answer = client.post("/v1/query", json=body, headers=headers)
    client.get(f"/v1/receipts/{answer.headers['x-request-id']}")  # waits until it is kept
    cost = micro(client.get("/v1/usage").json()["total"]["cost_usd"]) - before
    return answer.status_code, cost, answer.headers.get("x-ragsaver-tier")


def estimated(client: TestClient, body: dict, history: list, headers: dict) -> dict:
    turns = [{"role": role, "content": text} for role, text in history]
    answer = client.post("/v1/estimate", json={**body, "history": turns}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("fallback", ["up", "down"])
def test_the_high_end_is_never_passed_whatever_fails(runtime: Runtime, fallback: str):
    small, large = Script(usage=None), Script(usage=None)
    calm = {"max_retries": 1, "rest_after_failures": 0, "retry_least": 1000}
    with (
        openai_server(small) as low,
        openai_server(large) as high,
        served(
            runtime,
            [tiny(low) | calm, tiny(high) | calm | {"name": "huge", "max_output_tokens": 300}],
            {"spend": {"budgets": [], "embedding_per_mtok": 5}},
            fallback=fallback,
        ) as (client, _),
    ):
        status = st.sampled_from([200, 200, 429, 500])

        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            statuses=st.tuples(*[st.lists(status, min_size=4, max_size=4)] * 2),
            replies=st.tuples(*[st.lists(st.sampled_from(REPLIES), min_size=3, max_size=3)] * 2),
            schema=st.booleans(),
            history=st.sampled_from([[], HISTORY]),
            quality=st.sampled_from(["minimum", "maximum"]),
        )
        def holds(statuses: tuple, replies: tuple, schema: bool, history: list, quality: str):
            for script, some, said in zip((small, large), statuses, replies, strict=True):
                script.statuses, script.replies = list(some), list(said)
            body = QUESTION | ({"response_schema": SCHEMA} if schema else {})
            headers = {"x-ragsaver-quality": quality}
            asked = len(small.requests) + len(large.requests)
            told = estimated(client, body, history, headers)
            assert len(small.requests) + len(large.requests) == asked and told["refused"] is None
            code, cost, tier = cost_of(client, body, history, headers)
            assert cost <= micro(told["high_usd"])
            if code == 200 and tier != FREE_TIER:  # that is asked where no model is there
                assert cost >= micro(told["low_usd"])

        holds()


def test_each_attempt_each_repair_and_each_escalation_is_in_the_high_end(runtime: Runtime):
    small = Script(usage=None, statuses=[500, 200, 500], replies=["{", "{"])
    large = Script(usage=None, statuses=[500], replies=["{"], reply=FITS)
    calm = {"max_retries": 1, "rest_after_failures": 0}
    with (
        openai_server(small) as low,
        openai_server(large) as high,
        served(runtime, [tiny(low) | calm, tiny(high) | calm | {"name": "huge"}]) as (client, _),
    ):
        body = QUESTION | {"response_schema": SCHEMA}
        told = estimated(client, body, [], {})
        assert [tier["attempts"] for tier in told["tiers"]] == [4, 4]
        plain = estimated(client, QUESTION, [], {})
        assert [tier["attempts"] for tier in plain["tiers"]] == [2, 2] and plain["high_usd"] < told["high_usd"] / 2
        code, cost, _ = cost_of(client, body, [], {})
        assert code == 200 and len(small.requests) == 4 and len(large.requests) == 3
        assert micro(told["low_usd"]) <= cost <= micro(told["high_usd"])
        once = sum(tier["high_usd"] / tier["attempts"] for tier in plain["tiers"])
        assert cost > micro(once)  # an estimate of one call each would have been passed


def test_a_model_without_escalation_or_fallback_is_asked_alone(runtime: Runtime):
    models = [tiny("http://127.0.0.1:1/v1"), tiny("http://127.0.0.1:1/v1") | {"name": "huge"}]
    with served(runtime, models, max_escalations=0, fallback="none", router="never") as (client, _):
        told = estimated(client, QUESTION, [], {})
        assert told["high_usd"] == told["tiers"][0]["high_usd"] < told["tiers"][1]["high_usd"]
        assert told["prices"]["version"].startswith("genai-prices ")


def test_history_and_schema_make_it_dearer(runtime: Runtime):
    with served(runtime, [tiny("http://127.0.0.1:1/v1")], {"query": {"max_history_chars": 1000}}) as (client, _):
        plain, talked = (estimated(client, QUESTION, some, {}) for some in ([], HISTORY))
        assert plain["prompt_tokens"] < talked["prompt_tokens"] and plain["high_usd"] < talked["high_usd"]
        assert (
            plain["prompt_tokens"] < estimated(client, {**QUESTION, "response_schema": SCHEMA}, [], {})["prompt_tokens"]
        )
        for body, status in (
            ({"history": [{"role": "user", "content": "x" * 1001}]}, 413),
            ({"history": [{"role": "system", "content": "x"}]}, 422),
            ({"response_schema": {"pattern": "x"}}, 400),
        ):
            assert client.post("/v1/estimate", json={**QUESTION, **body}).status_code == status


def test_it_says_what_the_request_s_ceiling_would_do(runtime: Runtime):
    script = Script(reply=CITED)
    with openai_server(script) as url, served(runtime, [tiny(url, max_retries=2)]) as (client, _):
        free_of_it = estimated(client, QUESTION, [], {})
        enough = f"{free_of_it['tiers'][0]['high_usd'] / 3:.6f}"
        told = estimated(client, QUESTION, [], {"x-ragsaver-max-cost": enough})
        assert told["refused"] is None and f"{told['high_usd']:.6f}" == enough and told["low_usd"] <= told["high_usd"]
        short = {"x-ragsaver-max-cost": "0.000001"}
        refused = estimated(client, QUESTION, [], short)
        answer = client.post("/v1/query", json=QUESTION, headers=short)
        assert (refused["refused"]["status"], refused["refused"]["type"]) == (402, answer.json()["type"])
        assert refused["refused"]["problem"] == answer.json()["problem"]
        assert refused["high_usd"] == free_of_it["high_usd"] and script.requests == []


@pytest.mark.parametrize("pacing", [False, True])
def test_it_says_what_a_budget_would_do(runtime: Runtime, pacing: bool):
    script = Script(reply=CITED, usage={"prompt_tokens": 100, "completion_tokens": 50_000, "total_tokens": 50_100})
    more = {
        "spend": {"pacing": {"enabled": pacing}, "budgets": [{"scope": "total", "period": "month", "limit_usd": "0.6"}]}
    }
    with (
        openai_server(script) as url,
        served(runtime, [tiny(url, max_output_tokens=50_000)], more, short_answers=False) as (client, _),
    ):
        assert estimated(client, QUESTION, [], {})["refused"] is None
        assert client.post("/v1/query", json=QUESTION).status_code == 200
        told = estimated(client, QUESTION, [], {})
        answer = client.post("/v1/query", json=QUESTION)
        assert (told["refused"] or {}).get("status", 200) == answer.status_code
        if not pacing:
            assert told["refused"]["type"] == "urn:ragsaver:problem:budget-exceeded"
        assert len(script.requests) == 1


def test_it_says_that_a_model_without_a_price_is_refused(runtime: Runtime):
    model = tiny("http://127.0.0.1:1/v1") | {"name": "nobody-knows-this"}
    with served(runtime, [model], {"spend": {"unknown_price": "refuse"}}) as (client, _):
        assert estimated(client, QUESTION, [], {})["refused"]["type"] == "urn:ragsaver:problem:unknown-price"


def test_a_reranker_that_costs_is_not_asked_and_its_price_is_in_the_range(runtime: Runtime, tmp_path: Path):
    script = Script(reply=CITED)
    always = (Path(ragsaver.pipelines.__file__).parent / "reranked.yaml").read_text().replace("gated", "always")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "always.yaml").write_text(always)
    more = {
        "rerank": {"backend": "maxsim", "usd_per_1k_calls": 3},
        "query": {"pipeline": "always"},
        "spend": {"embedding_per_mtok": 100},
        "pipelines_dir": tmp_path / "mine",
    }
    other = PostedDocument("ducks.md", "# Ducks\n\nNo export permit is needed for ducks.\n", "markdown")
    runtime.ingestor.ingest_texts([other], runtime.scope())
    with openai_server(script) as url, served(runtime, [tiny(url)], more) as (client, _):
        told = estimated(client, QUESTION, [], {})
        lines = client.get("/v1/usage?by=model").json()["lines"]
        # only the question was embedded for the estimate
        assert [micro(line["cost_usd"]) > 0 for line in lines] == [True]
        assert "reranking" in told["high_reason"] and told["beside_usd"] > 0.003
        code, cost, _ = cost_of(client, QUESTION, [], {})
        assert code == 200 and 3000 < cost <= micro(told["high_usd"])


def test_a_follow_up_that_a_model_makes_whole_is_in_the_range(runtime: Runtime):
    script = Script(usage=None, replies=["Who issues the export permit for parrots?"], reply=CITED)
    with openai_server(script) as url, served(runtime, [tiny(url)], follow_ups="model") as (client, _):
        asked = {"query": "And who issues it?"}
        told = estimated(client, asked, HISTORY, {})
        assert script.requests == [] and "a follow-up made whole" in told["high_reason"] and told["beside_usd"] > 0
        code, cost, _ = cost_of(client, asked, HISTORY, {})
        assert code == 200 and len(script.requests) == 2
        assert micro(told["low_usd"]) <= cost <= micro(told["high_usd"])
        known = estimated(client, asked, HISTORY, {})
        assert "a follow-up made whole" not in known["high_reason"]
