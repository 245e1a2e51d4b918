"""A follow-up is looked for whole, and the model reads the conversation and the asker's own words."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ragsaver.components.request import Request
from ragsaver.errors import QuestionTooLong
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings
from tests.openai_server import Script, openai_server
from tests.pipelines.talking import pages

ISLANDS = ["Arran", "Bute", "Coll", "Danna", "Eigg", "Foula"]
# question about an island, follow-up, and a word of the passage that holds its answer
FOLLOW_UPS = [
    ("When was the lighthouse of {} lit?", "Who keeps it?", "keeper"),
    ("Who keeps the lighthouse of {}?", "And how tall is it?", "metres"),
    ("How tall is the lighthouse of {}?", "When was it lit?", "lit"),
    ("Tell me about {}.", "How many sheep graze there?", "sheep"),
    ("Which ferry goes to {}?", "What do people grow there?", "grow"),
]


@pytest.fixture
def script() -> Script:
    return Script(reply="It is so [1].")


@pytest.fixture
def runtime(tmp_path: Path, script: Script, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    with openai_server(script) as url:
        model = {"name": "tiny", "base_url": url, "max_retries": 0, "api_key": SecretStr("k")}
        generation = {"models": [model], "extractive_first": False, **getattr(request, "param", {})}
        settings = Settings.model_validate(
            {"home": tmp_path / "home", "generation": generation, "cache": {"answers": "off"}}
        )
        with open_runtime(settings, "a test") as opened:
            opened.ingestor.ingest_texts(pages(ISLANDS), opened.scope())
            yield opened


def asked(runtime: Runtime, *said: str) -> Request:
    roles = ("user", "assistant") * len(said)
    return Request(runtime.reading(), history=tuple(zip(roles, said, strict=False)))


def found_first(runtime: Runtime, *, with_history: bool) -> int:
    """How many follow-ups find the island that they speak of."""
    hits = 0
    for name in ISLANDS:
        for first, follow_up, word in FOLLOW_UPS:
            request = (
                asked(runtime, first.format(name), "So it is [1].") if with_history else Request(runtime.reading())
            )
            best = runtime.engine().search(follow_up, request).passages[0]
            hits += best.source.startswith(name) and word in best.text
    return hits


def test_follow_ups_find_what_they_speak_of(runtime: Runtime):
    with_it, without = (found_first(runtime, with_history=one) for one in (True, False))
    assert with_it >= 0.9 * len(ISLANDS) * len(FOLLOW_UPS)
    assert without <= 0.3 * len(ISLANDS) * len(FOLLOW_UPS)


def test_the_model_reads_the_conversation_and_the_askers_own_words(runtime: Runtime, script: Script):
    request = asked(runtime, "When was the lighthouse of Eigg lit?", "In 1814 [3].")
    result = runtime.engine().ask("Who keeps it?", request)
    assert [one.source for one in result.citations] == ["Eigg-light.md"]
    messages = script.requests[-1]["messages"]
    assert [one["role"] for one in messages] == ["system", "user", "assistant", "user"]
    assert [one["content"] for one in messages[1:3]] == ["When was the lighthouse of Eigg lit?", "In 1814."]
    assert messages[3]["content"].endswith("\n\nQuestion: Who keeps it?")
    assert "Eiggson" in messages[3]["content"]


def test_a_task_and_a_stream_make_it_whole_too(runtime: Runtime, script: Script):
    request = asked(runtime, "When was the lighthouse of Eigg lit?", "In 1814.")

    async def both():
        *_, streamed = [part async for part in runtime.engine().stream("Who keeps it?", request)]
        return await runtime.engine().ask_async("Who keeps it?", request), streamed

    for result in asyncio.run(both()):
        assert [one.source for one in result.citations] == ["Eigg-light.md"]
        assert result.request_id == request.request_id


def test_the_prompt_of_a_long_conversation_stays_short(runtime: Runtime, script: Script):
    said = [
        text
        for n in range(200)
        for text in (f"Tell me of Arran, part {n}.", f"Part {n} is long. " + "Sheep graze. " * 40)
    ]
    sizes = []
    for turns in (40, 200, 400):
        runtime.engine().ask("How many sheep graze on Bute?", asked(runtime, *said[:turns]))
        texts = [one["content"] for one in script.requests[-1]["messages"]]
        sizes.append(sum(runtime.resources.encoder.count_tokens(texts)))
    assert max(sizes) <= 400 + 800 + 250
    assert "<earlier> " in script.requests[-1]["messages"][1]["content"]


@pytest.mark.parametrize("runtime", [{"follow_ups": "none", "history_tokens": 0}], indirect=True)
def test_both_can_be_turned_off(runtime: Runtime, script: Script):
    runtime.engine().ask("Who keeps it?", asked(runtime, "When was the lighthouse of Eigg lit?", "In 1814."))
    assert len(script.requests[-1]["messages"]) == 2


def test_a_question_at_the_limit_may_lean_on_others(runtime: Runtime):
    limit = runtime.settings.query.max_question_chars
    request = asked(runtime, "When was the lighthouse of Eigg lit?", "In 1814.")
    runtime.engine().ask(f"{'x' * (limit - 14)} Who keeps it?"[:limit], request)
    with pytest.raises(QuestionTooLong):
        runtime.engine().ask(f"Who keeps it? {'x' * limit}", request)


def test_a_short_answer_is_asked_for_with_a_lower_limit(runtime: Runtime, script: Script):
    limits = []
    for question, wanted in (
        ("When was the lighthouse of Eigg lit?", None),
        ("Why do sheep graze on Eigg?", None),
        ("When was the lighthouse of Eigg lit?", 50),
    ):
        runtime.engine().ask(question, Request(runtime.reading(), max_output_tokens=wanted))
        limits.append(script.requests[-1]["max_tokens"])
    assert limits == [256, 512, 50]


@pytest.mark.parametrize("runtime", [{"short_answers": False}], indirect=True)
def test_the_lower_limit_can_be_turned_off(runtime: Runtime, script: Script):
    runtime.engine().ask("When was the lighthouse of Eigg lit?", Request(runtime.reading()))
    assert script.requests[-1]["max_tokens"] == 512
