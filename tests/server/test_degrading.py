"""A budget that is used up step by step: over HTTP, with models that answer, down the ladder to the refusal."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from ragsaver.components.resources import Resources
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.settings import Settings
from ragsaver.spend.budgets import Account
from ragsaver.spend.ledger import Call
from ragsaver.spend.prices import PriceBook
from tests.clock import Clock
from tests.openai_server import Script, openai_server
from tests.spend.ledgers import check

HOUR = 3600
LIMIT = 1_000_000  # micro-dollars
GUIDE = "# Parrots\n\nParrots need an export permit. The permit is issued by the veterinary office.\n"
EASY = "Who issues the export permit for parrots?"
SCHEMA = {"type": "object", "properties": {"office": {"type": "string"}}}
HARD = "If parrots cross a border, why do they need an export permit, rather than none?"


class Place(SimpleNamespace):
    """A server, its ledger and its models' endpoints."""

    client: TestClient
    resources: Resources
    clock: Clock
    small: Script
    large: Script

    def ask(self, question: str = EASY, **body: object):
        return self.client.post("/v1/query", json={"query": question, **body})

    def use_up(self, share: float) -> None:
        """Spend elsewhere, so that this share of the budget is gone."""
        ledger = self.resources.till.ledger
        standings, _ = ledger.standings(Account("default"))
        missing = round(share * LIMIT) - standings[0].spent
        assert missing >= 0
        ledger.record(Account("default"), Call("", "elsewhere", "test", 0, "book"), missing)
        self.clock.now += 1.5

    def calls(self) -> tuple[int, int]:
        return len(self.small.requests), len(self.large.requests)


@contextmanager
def place(
    runtime: Runtime, budget: str = "1", answers: str = "off", window: int | None = None, **spend: object
) -> Iterator[Place]:
    small, large = (Script(reply=f"The veterinary office {says} [1].") for says in ("issues it", "does"))
    with openai_server(small) as one, openai_server(large) as two:
        values = runtime.settings.model_dump()
        values["cache"]["answers"] = answers
        models = [("tiny", one), ("huge", two)]
        values["generation"] = {
            "extractive_first": False,
            "models": [
                {"name": name, "base_url": url, "max_retries": 0, "max_output_tokens": 40} for name, url in models
            ],
        }
        values["generation"]["models"][0]["context_tokens"] = window
        price = {"input_per_mtok": 1, "output_per_mtok": 10}
        values["spend"].update(
            prices={"tiny": price, "huge": {name: 10 * usd for name, usd in price.items()}},
            budgets=[{"scope": "tenant", "period": "hour", "limit_usd": budget}],
            **spend,
        )
        settings = Settings.model_validate(values)
        text = [PostedDocument("parrots.md", GUIDE, "markdown")]
        runtime.ingestor.ingest_texts(text, Scope("default", "default"))
        resources = replace(runtime.resources, settings=settings, prices=PriceBook.of(settings.spend))
        clock = Clock(1_790_000_000 // HOUR * HOUR)
        resources.till.ledger.clock = clock
        access = Access(LiveRuntime(Runtime(resources)), "token")
        client = TestClient(create_app(access), raise_server_exceptions=False)
        try:
            yield Place(client=client, resources=resources, clock=clock, small=small, large=large)
            check(resources.till.ledger)
        finally:
            access.close()
            resources.till.close()


def test_a_budget_that_is_used_up_step_by_step_walks_down_the_ladder_and_ends_in_a_refusal(runtime: Runtime):
    with place(runtime) as here:
        walked = []
        for share in (0.05, 0.3, 0.6, 0.85):
            here.use_up(share)
            told = here.ask()
            assert told.status_code == 200 and told.json()["answer"]
            route = told.json()["route"]
            assert route["rung"] == told.headers["x-ragsaver-rung"]
            walked.append((route["rung"], route["tier"]))
            cost = told.json()["receipt"]["cost_usd"]
            assert (cost == 0) == (route["rung"] == "extractive")
        assert walked == [("full", "small"), ("no-rerank", "small"), ("small", "small"), ("extractive", "extractive")]
        assert "budget tenant default per hour is used up faster than it passes" in route["reason"]
        before = here.calls()
        for share, given in ((0.97, "only answers that are cached"), (1.0, "no answers")):
            here.use_up(share)
            told = here.ask()
            assert told.status_code == 429 and given in told.json()["detail"]
            assert 0 < int(told.headers["retry-after"]) <= HOUR
        assert here.calls() == before
        here.clock.now += int(told.headers["retry-after"])
        assert here.ask().headers["x-ragsaver-rung"] == "full"


def test_retry_after_is_the_time_until_enough_is_paced_free(runtime: Runtime):
    with place(runtime) as here:
        here.use_up(0.97)
        wait_s = int(here.ask().headers["retry-after"])
        assert 0 < wait_s < HOUR - 10
        here.clock.now += wait_s
        assert here.ask().headers["x-ragsaver-rung"] == "extractive"


def test_hard_questions_go_to_the_strongest_model_until_the_budget_is_pressed(runtime: Runtime):
    with place(runtime) as here:
        assert here.ask(HARD).json()["route"]["tier"] == "large"
        here.use_up(0.3)
        told = here.ask(HARD).json()["route"]
        assert told["tier"] == "small" and "fewer go to dearer models: budget" in told["reason"]


def test_an_answer_that_fails_its_check_is_not_escalated_under_pressure(runtime: Runtime):
    with place(runtime) as here:
        here.small.reply = "It takes 30 days [1]."
        assert here.ask().json()["route"]["tier"] == "large"
        here.use_up(0.4)
        told = here.ask().json()
        assert (told["route"]["tier"], here.calls()[1]) == ("small", 1)


def test_an_endpoint_that_fails_hands_nothing_to_a_dearer_one_where_only_the_small_model_is_left(runtime: Runtime):
    with place(runtime) as here:
        here.use_up(0.7)
        here.small.statuses = [500]
        assert here.ask().status_code == 502
        assert here.calls() == (1, 0)


def test_where_a_budget_has_no_room_for_the_cheapest_model_the_free_tier_answers(runtime: Runtime):
    with place(runtime, budget="0.0001") as here:
        told = here.ask()
        assert told.status_code == 200
        assert (told.json()["route"]["tier"], told.headers["x-ragsaver-rung"]) == ("extractive", "extractive")
        assert here.calls() == (0, 0)


def test_json_that_only_a_model_can_give_is_refused_until_one_is_asked(runtime: Runtime):
    with place(runtime) as here:
        here.small.reply = '{"office": "veterinary"}'
        here.use_up(0.85)
        assert here.ask().headers["x-ragsaver-rung"] == "extractive"
        told = here.ask(response_schema=SCHEMA)
        assert (told.status_code, told.json()["type"]) == (429, "urn:ragsaver:problem:budget-exceeded")
        assert "no model is asked that could answer this" in told.json()["problem"]
        wait_s = int(told.headers["retry-after"])
        here.clock.now += wait_s - 2
        assert here.ask(response_schema=SCHEMA).status_code == 429 and here.calls() == (0, 0)
        here.clock.now += 2
        assert here.ask(response_schema=SCHEMA).json()["answer"] == here.small.reply


def test_where_json_is_wanted_no_sentence_is_given_for_want_of_a_model(runtime: Runtime):
    with place(runtime, window=64) as here:
        here.use_up(0.6)
        assert here.ask().json()["route"]["tier"] == "extractive"
        told = here.ask(response_schema=SCHEMA)
        assert told.status_code == 502 and "fits into no model" in told.json()["problem"]


def test_questions_alone_walk_down_and_no_budget_is_passed(runtime: Runtime):
    with place(runtime, budget="0.007") as here:
        rungs = [here.ask(HARD if n % 2 else EASY) for n in range(30)]
        told = [(one.headers.get("x-ragsaver-rung"), one.status_code) for one in rungs]
        seen = list(dict.fromkeys(told))
        assert seen[0] == ("full", 200) and ("small", 200) in seen
        assert told[-1] == ("extractive", 200)
        order = ["full", "no-rerank", "small", "extractive"]
        places = [order.index(rung) for rung, _ in told]
        assert places == sorted(places)


@pytest.mark.parametrize("stream", [False, True])
def test_clients_of_openai_are_refused_too(runtime: Runtime, stream: bool):
    with place(runtime) as here:
        here.use_up(1.0)
        body = {"model": "query", "messages": [{"role": "user", "content": EASY}], "stream": stream}
        told = here.client.post("/v1/chat/completions", json=body)
        assert (told.status_code, told.json()["error"]["code"]) == (429, "budget_exceeded")


def of_stream(here: Place, kind: str, question: str = EASY) -> tuple[str | None, str | None]:
    """The rung that a stream's headers say, and the one of its end."""
    if kind == "query":
        told = here.ask(question, stream=True)
        (data,) = (line for line in told.text.split("\r\n") if line.startswith("data: {"))
        last = json.loads(data.removeprefix("data: "))
    else:
        body = {"model": "query", "messages": [{"role": "user", "content": question}], "stream": True}
        told = here.client.post("/v1/chat/completions", json=body)
        last = json.loads(told.text.strip().split("\r\n\r\n")[-2].removeprefix("data: ")).get("ragsaver", {})
    return told.headers.get("x-ragsaver-rung"), last.get("route", {}).get("rung")


@pytest.mark.parametrize("kind", ["query", "chat"])
def test_a_stream_says_its_rung_in_its_headers_and_in_its_last_event(runtime: Runtime, kind: str):
    with place(runtime) as here:
        for share, rung in ((0.05, "full"), (0.3, "no-rerank"), (0.6, "small"), (0.85, "extractive")):
            here.use_up(share)
            assert of_stream(here, kind) == (rung, rung)


@pytest.mark.parametrize(("kind", "before"), [("query", "small"), ("chat", "full")])
def test_a_stream_s_last_event_has_the_rung_of_a_kept_answer(runtime: Runtime, kind: str, before: str):
    """The headers of `query` do not wait for the cache: they have what the budgets leave the question."""
    with place(runtime, answers="exact") as here:
        assert of_stream(here, kind) == ("full", "full")
        here.use_up(0.6)
        assert of_stream(here, kind) == (before, "full")
        here.use_up(0.97)
        assert of_stream(here, kind) == ("cached", "cached")


@pytest.mark.parametrize(("kind", "before"), [("query", "full"), ("chat", "extractive")])
def test_a_stream_s_last_event_says_that_no_model_had_room(runtime: Runtime, kind: str, before: str):
    with place(runtime, budget="0.0001") as here:
        assert of_stream(here, kind) == (before, "extractive")


def test_a_stream_that_is_refused_has_no_rung(runtime: Runtime):
    with place(runtime) as here:
        here.use_up(1.0)
        told = here.ask(stream=True)
        assert "x-ragsaver-rung" not in told.headers and "event: error" in told.text


def test_without_pacing_a_budget_is_full_service_until_it_is_used_up(runtime: Runtime):
    with place(runtime, pacing={"enabled": False}) as here:
        here.use_up(0.9)
        assert (here.ask(HARD).json()["route"]["tier"], here.calls()) == ("large", (0, 1))
        here.use_up(1.0)
        assert here.ask().status_code == 429


def test_what_is_cached_is_given_until_all_is_refused_and_a_lesser_answer_only_where_no_better_one_is(runtime: Runtime):
    with place(runtime, answers="exact") as here:
        here.use_up(0.6)
        assert here.ask().headers["x-ragsaver-rung"] == "small"
        assert here.ask().headers["x-ragsaver-cache"] == "hit"
        here.clock.now += HOUR
        made_anew = here.ask()
        assert (made_anew.headers["x-ragsaver-cache"], made_anew.headers["x-ragsaver-rung"]) == ("miss", "full")
        here.use_up(0.97)
        again = here.ask()
        assert (again.headers["x-ragsaver-cache"], again.headers["x-ragsaver-rung"]) == ("hit", "cached")
        assert here.ask(HARD).status_code == 429
        here.use_up(1.0)
        assert here.ask().status_code == 429
        assert here.calls() == (2, 0)


def test_a_loop_blows_the_fuse_of_its_tenant(runtime: Runtime):
    with place(runtime, fuse={"floor_usd": "0.0005", "window_s": 60, "pause_s": 90}) as here:
        assert [here.ask().status_code for _ in range(2)] == [200, 200]
        here.clock.now += 3
        told = here.ask()
        assert (told.status_code, told.json()["type"]) == (429, "urn:ragsaver:problem:fuse-blown")
        assert told.json()["where"] == "fuse of tenant default" and here.calls() == (2, 0)
        here.clock.now += int(told.headers["retry-after"])
        assert here.ask().status_code == 200
