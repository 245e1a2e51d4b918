"""An agent that asks the same thing again and again is told so; what a cache answers costs nothing and is let through."""

import pytest
from fastapi.testclient import TestClient

from ragsaver.components.loop_guard import LoopGuard
from ragsaver.components.request import Request
from ragsaver.errors import RepeatedQuestion
from ragsaver.index.scope import Scope
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app


@pytest.fixture
def client(runtime: Runtime):
    object.__setattr__(runtime.resources, "loops", LoopGuard("3/hour"))
    access = Access(LiveRuntime(runtime), "owner-token")
    with TestClient(create_app(access), raise_server_exceptions=False) as made:
        made.post("/v1/documents", json={"documents": [{"source": "a.md", "text": "Owls hunt voles at night."}]})
        yield made
    access.close()


def ask(client: TestClient, question: str, **headers: str):
    return client.post("/v1/query", json={"query": question}, headers=headers)


def test_a_question_that_is_answered_anew_too_often_is_refused_as_a_loop(client: TestClient):
    fresh = {"cache-control": "no-store"}
    asked = ("What do owls hunt?", "what do owls  hunt", "What do owls hunt??")
    assert [ask(client, one, **fresh).status_code for one in asked] == [200] * 3
    refused = ask(client, "What do owls hunt?", **fresh)
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:ragsaver:problem:repeated-question")
    assert "loop" in refused.json()["detail"] and "owls" not in refused.json()["detail"]
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert ask(client, "What do voles eat?", **fresh).status_code == 200
    streamed = client.post("/v1/query", json={"query": "What do owls hunt?", "stream": True}, headers=fresh)
    assert "repeated-question" in streamed.text and "event: result" not in streamed.text
    openai = client.post(
        "/v1/chat/completions",
        json={"model": "query", "messages": [{"role": "user", "content": "What do owls hunt?"}]},
        headers=fresh,
    )
    assert (openai.status_code, openai.json()["error"]["code"]) == (429, "repeated_question")


def test_what_a_cache_answers_is_no_loop(client: TestClient):
    answers = [ask(client, "What do owls hunt?") for _ in range(8)]
    assert {one.status_code for one in answers} == {200}
    assert [one.json()["route"]["cache"] for one in answers] == ["miss"] + ["hit"] * 7


def test_the_owner_s_commands_are_not_counted(client: TestClient):
    for _ in range(5):
        trusted = ask(
            client, "What do owls hunt?", **{"cache-control": "no-store", "authorization": "Bearer owner-token"}
        )
        assert trusted.status_code == 200


def test_askers_pipelines_and_conversations_are_counted_apart():
    guard = LoopGuard("1/hour")

    def request(**other: object) -> Request:
        return Request(**{"scope": Scope("acme", "c"), "principal": "bob", "guarded": True, **other})  # type: ignore[arg-type]

    others = [
        request(),
        request(principal="eve"),
        request(scope=Scope("other", "c")),
        request(scope=Scope("acme", "d")),
        request(pipeline="outlined"),
        request(history=(("user", "Hello"),)),
    ]
    for one in others:
        guard.ask("Go on", one)
        with pytest.raises(RepeatedQuestion):
            guard.ask("go on.", one)
    LoopGuard(None).ask("Go on", request())


def test_a_conversation_that_grows_by_the_same_rounds_is_a_loop():
    def rounds(*questions: str) -> Request:
        history = tuple(turn for one in questions for turn in (("user", one), ("assistant", "Voles.")))
        return Request(Scope("acme", "c"), principal="bob", guarded=True, history=history)

    alone = LoopGuard("3/hour")
    for number in range(3):
        alone.ask("What do owls hunt?", rounds(*["what do owls  hunt"] * number))
    with pytest.raises(RepeatedQuestion):
        alone.ask("What do owls hunt?", rounds(*["What do owls hunt?"] * 3))
    in_turns, cycle = LoopGuard("3/hour"), ["What do owls hunt?", "And when?"]
    for number in range(1, 4):
        in_turns.ask("What do owls hunt?", rounds(*cycle * number))
    with pytest.raises(RepeatedQuestion):
        in_turns.ask("What do owls hunt?", rounds(*cycle * 4))
    in_turns.ask("What do owls hunt?", rounds("Who guards the gate?"))
