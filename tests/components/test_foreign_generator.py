"""A chat generator of somebody else's is paid for, bounded, streamed and named as the shipped one."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from haystack.dataclasses import ChatMessage

from ragsaver.components.chat import ChatTier, place_of
from ragsaver.components.chat_reply import CutReply
from ragsaver.errors import EndpointResting, GenerationError, MissingExtra, SettingsError
from ragsaver.settings import ModelSettings
from ragsaver.spend.usage import TokenUsage
from tests.components.test_paid_chat import PROMPT, Counter, words
from tests.foreign_generators import ANTHROPIC
from tests.openai_server import Script, openai_server

MESSAGES = [ChatMessage.from_system("Be brief."), ChatMessage.from_user("Who issues the permit?")]
KINDS = ["Blocking", "Whole", "Both", "Wrapping"]
STREAMING = ["Blocking", "Both"]
WORST = PROMPT + 100 * 10


def model(
    kind: str, url: str = "http://127.0.0.1:9", parameters: dict | None = None, **wishes: object
) -> ModelSettings:
    generator = {
        "type": f"tests.foreign_generators.{kind}",
        "init_parameters": {"url": url, **(parameters or {})},
        "output_limit": "most_tokens",
    }
    given = {"max_retries": 0, "max_output_tokens": 100, **wishes}
    return ModelSettings.model_validate({"name": "tiny", "generator": generator, **given})


def tier(counter: Counter, kind: str, url: str, **wishes: object) -> ChatTier:
    return ChatTier(model(kind, url, **wishes), words, counter.till)


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    made = Counter(tmp_path)
    yield made
    made.till.close()


@pytest.fixture
def script() -> Script:
    return Script(usage=ANTHROPIC)


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    with openai_server(script) as url:
        yield url


async def quietly(chunk: object) -> None:
    pass


@pytest.mark.parametrize("kind", KINDS)
def test_what_its_client_told_is_on_the_receipt_and_in_the_ledger(
    counter: Counter, script: Script, url: str, kind: str
):
    with counter.request():
        reply = tier(counter, kind, url).reply(MESSAGES)
        later = asyncio.run(tier(counter, kind, url).reply_async(MESSAGES))
    assert (reply.text, reply.model) == (later.text, later.model) == (script.reply, "tiny")
    assert reply.usage == later.usage == TokenUsage(fresh=60, cache_read=40, output=20)
    assert [(one.outcome, one.model, one.fresh, one.cost) for one in counter.entries()] == [
        ("done", "tiny", 60, 280)
    ] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_reserved_is_what_it_sends_under_the_name_that_the_settings_give(
    counter: Counter, script: Script, url: str, kind: str
):
    asked = tier(counter, kind, url, parameters={"generation_kwargs": {"style": "dry"}})
    with counter.request(max_output_tokens=7):
        asked.reply(MESSAGES)
        asyncio.run(asked.reply_async(MESSAGES))
    assert [(one["most_tokens"], one["style"], one["model"]) for one in script.requests] == [(7, "dry", "tiny")] * 2


@pytest.mark.parametrize("kind", STREAMING)
def test_a_stream_is_heard_piece_by_piece_and_billed_as_a_whole_reply(
    counter: Counter, script: Script, url: str, kind: str
):
    heard: list[str] = []
    later: list[str] = []

    async def listen(chunk: object) -> None:
        later.append(chunk.content)

    with counter.request():
        reply = tier(counter, kind, url).reply(MESSAGES, lambda chunk: heard.append(chunk.content))
        asyncio.run(tier(counter, kind, url).reply_async(MESSAGES, listen))
    assert heard == later and len(heard) == len(script.reply.split())
    assert "".join(heard) == reply.text
    assert [one.cost for one in counter.entries()] == [280, 280]


@pytest.mark.parametrize("kind", ["Whole", "Wrapping"])
def test_one_that_does_not_stream_is_heard_in_one_piece(counter: Counter, script: Script, url: str, kind: str):
    heard: list[str] = []

    async def listen(chunk: object) -> None:
        heard.append(chunk.content)

    with counter.request():
        tier(counter, kind, url).reply(MESSAGES, lambda chunk: heard.append(chunk.content))
        asyncio.run(tier(counter, kind, url).reply_async(MESSAGES, listen))
    assert heard == [script.reply] * 2


@pytest.mark.parametrize("kind", STREAMING)
def test_a_stream_that_is_cut_is_charged_all_that_it_held(counter: Counter, script: Script, url: str, kind: str):
    script.cut_after = 3
    with counter.request():
        with pytest.raises(CutReply, match=rf"{kind} at {url} \(tiny\)"):
            tier(counter, kind, url).reply(MESSAGES, lambda chunk: None)
        with pytest.raises(CutReply):
            asyncio.run(tier(counter, kind, url).reply_async(MESSAGES, quietly))
    assert [(one.outcome, one.cost) for one in counter.entries()] == [("unknown", WORST)] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_each_attempt_is_paid_by_what_became_of_it(counter: Counter, script: Script, url: str, kind: str):
    script.statuses = [429, 500]
    with counter.request():
        tier(counter, kind, url, max_retries=2).reply(MESSAGES)
    outcomes = [(one.outcome, one.cost) for one in counter.entries()]
    assert outcomes == [("nothing", 0), ("unknown", WORST), ("done", 280)]


def test_usage_that_it_does_not_tell_is_counted_at_what_it_may_be(counter: Counter, script: Script, url: str):
    script.usage = None
    with counter.request():
        tier(counter, "Blocking", url).reply(MESSAGES)
    (one,) = counter.entries()
    assert (one.outcome, one.fresh, one.output, one.estimated) == ("done", PROMPT - 1, 20, True)


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, "the variable that it names"), (404, "Check `name`"), (429, "Try again"), (500, "own log")],
)
@pytest.mark.parametrize("kind", KINDS)
def test_failures_name_class_address_model_and_remedy(script: Script, url: str, kind: str, status: int, remedy: str):
    script.statuses = [status] * 2
    asked = ChatTier(model(kind, url), words)
    with pytest.raises(GenerationError, match=rf"{kind} at {url} \(tiny\): .*HTTP {status}.*{remedy}"):
        asked.reply(MESSAGES)
    with pytest.raises(GenerationError, match=rf"HTTP {status}"):
        asyncio.run(asked.reply_async(MESSAGES))


def test_an_endpoint_that_asks_to_be_left_alone_for_long_is_not_asked_again(script: Script, url: str):
    script.statuses, script.retry_after = [429, 429], "3600"
    with pytest.raises(GenerationError, match="Try again in 3600 s"):
        ChatTier(model("Wrapping", url, max_retries=3), words).reply(MESSAGES)
    assert len(script.requests) == 1


def test_nothing_is_charged_where_nothing_was_sent(counter: Counter):
    with openai_server(Script()) as url:
        gone = url
    with counter.request(), pytest.raises(GenerationError, match="can't be reached"):
        tier(counter, "Wrapping", gone).reply(MESSAGES)
    (one,) = counter.entries()
    assert (one.outcome, one.cost) == ("nothing", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_call_is_waited_for_longer_than_it_has(counter: Counter, script: Script, url: str, kind: str):
    script.hold = threading.Event()
    asked = tier(counter, kind, url, parameters={"timeout": 3600}, timeout_s=0.2)
    try:
        with counter.request():
            with pytest.raises(GenerationError, match="did not answer in time"):
                asked.reply(MESSAGES)
            with pytest.raises(GenerationError, match="did not answer in time"):
                asyncio.run(asked.reply_async(MESSAGES))
    finally:
        script.hold.set()
    assert [(one.outcome, one.cost) for one in counter.entries()] == [("unknown", WORST)] * 2


def test_an_endpoint_that_failed_in_a_row_is_left_alone(script: Script, url: str):
    script.statuses = [500, 500]
    asked = ChatTier(model("Blocking", url, rest_after_failures=2), words)
    for _ in range(2):
        with pytest.raises(GenerationError, match="HTTP 500"):
            asked.reply(MESSAGES)
    with pytest.raises(EndpointResting):
        asked.reply(MESSAGES)
    assert len(script.requests) == 2


def test_no_attempt_is_made_after_the_deadline(counter: Counter, script: Script, url: str):
    with counter.request(deadline=time.monotonic() - 1), pytest.raises(GenerationError, match="no time left"):
        tier(counter, "Blocking", url).reply(MESSAGES)
    assert script.requests == []


@pytest.mark.parametrize("kind", STREAMING)
def test_who_leaves_the_stream_is_charged_what_it_held_and_hears_no_more(
    counter: Counter, script: Script, url: str, kind: str
):
    heard: list[str] = []

    async def leave() -> None:
        first = asyncio.Event()

        async def listen(chunk: object) -> None:
            heard.append(chunk.content)
            first.set()
            await asyncio.sleep(60)

        task = asyncio.ensure_future(tier(counter, kind, url).reply_async(MESSAGES, listen))
        await first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with counter.request():
        asyncio.run(leave())
    (one,) = counter.entries()
    assert (one.outcome, one.cost, len(heard)) == ("unknown", WORST, 1)


def test_what_listens_may_end_the_call(counter: Counter, url: str):
    def listen(chunk: object) -> None:
        raise ValueError("enough")

    with counter.request(), pytest.raises(CutReply, match="enough"):
        tier(counter, "Blocking", url).reply(MESSAGES, listen)
    (one,) = counter.entries()
    assert (one.outcome, one.cost) == ("unknown", WORST)


@pytest.mark.parametrize("told", ["MAX_TOKENS", "max_tokens", "length"])
def test_an_answer_that_ended_at_its_limit_is_known_by_any_name(script: Script, url: str, told: str):
    script.finish_reason = told
    assert ChatTier(model("Blocking", url), words).reply(MESSAGES).finish_reason == "length"


def test_its_own_retries_are_off_its_time_is_the_models_and_its_model_the_one_that_is_priced():
    asked = ChatTier(model("Blocking", timeout_s=12), words)
    asked.probe()
    made = asked._generator._built
    assert (made.model, made.timeout, made.max_retries) == ("tiny", 12, 0)
    own = ChatTier(model("Blocking", parameters={"model": "tiny-2026", "timeout": 5, "max_retries": 1}), words)
    own.probe()
    made = own._generator._built
    assert (made.model, made.timeout, made.max_retries) == ("tiny-2026", 5, 1)


def test_its_secret_is_taken_from_the_variable_that_it_names(monkeypatch: pytest.MonkeyPatch, script: Script, url: str):
    key = {"api_key": {"type": "env_var", "env_vars": ["OTHER_KEY"], "strict": True}}
    asked = ChatTier(model("Keyed", url, parameters=key), words)
    with pytest.raises(GenerationError, match=r"can't be made .*OTHER_KEY.*the variables that it names"):
        asked.reply(MESSAGES)
    with pytest.raises(GenerationError, match="can't be made"):
        asyncio.run(asked.reply_async(MESSAGES))
    with pytest.raises(GenerationError, match="can't be made"):
        asked.probe()
    assert script.requests == []
    monkeypatch.setenv("OTHER_KEY", "s3cret")
    assert asked.reply(MESSAGES).text
    assert asked._generator._built.key == "s3cret"


def test_it_is_not_probed(script: Script, url: str):
    assert ChatTier(model("Blocking", url), words).probe() == f"Blocking at {url} (tiny) is set up, not probed"
    assert script.requests == []


def test_two_of_the_same_name_at_different_addresses_are_two_endpoints():
    places = {place_of(model("Blocking", f"http://user:s3cret@host-{one}/v1?key=k3y")) for one in "ab"}
    assert places == {"Blocking at http://host-a/v1 (tiny)", "Blocking at http://host-b/v1 (tiny)"}


@pytest.mark.parametrize(
    ("generator", "error", "words_told"),
    [
        ({"type": "tests.foreign_generators.Nobody"}, SettingsError, "there is no `Nobody`"),
        ({"type": "nowhere.at.all.Generator"}, SettingsError, "can't be imported.*beside ragsaver.yaml"),
        ({"type": "tests.foreign_generators.NoGenerator"}, SettingsError, "no chat generator.*takes `messages`"),
        ({"type": "tests.foreign_generators.ANTHROPIC"}, SettingsError, "no chat generator"),
        ({"type": "tests.foreign_generators.Deaf"}, SettingsError, "takes no `generation_kwargs`"),
        (
            {"type": "tests.foreign_generators.Blocking", "init_parameters": {"url": "u"}},
            SettingsError,
            "output_limit: nobody knows.*output_limit: max_tokens",
        ),
        (
            {"type": "tests.foreign_generators.Blocking", "init_parameters": {"uri": "u"}, "output_limit": "m"},
            SettingsError,
            "init_parameters: .*can't be made with these.*It takes url, model",
        ),
        (
            {"type": "haystack.components.generators.chat.openai.OpenAIChatGenerator", "output_limit": "num_predict"},
            SettingsError,
            "no limit.*`num_predict`.*`max_completion_tokens` or `max_tokens`",
        ),
        (
            {"type": "haystack_integrations.components.generators.google_genai.GoogleGenAIChatGenerator"},
            MissingExtra,
            "pip install google-genai-haystack",
        ),
    ],
)
def test_what_is_wrong_with_its_settings_is_said_before_it_is_asked(
    generator: dict, error: type[Exception], words_told: str
):
    settings = ModelSettings.model_validate({"name": "tiny", "generator": generator})
    with pytest.raises(error, match=f"generation.models, tiny, generator.*{words_told}"):
        ChatTier(settings, words)


def test_haystack_s_own_are_known(script: Script, url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    generator = {
        "type": "haystack.components.generators.chat.openai.OpenAIChatGenerator",
        "init_parameters": {"api_base_url": url},
    }
    asked = ChatTier(ModelSettings.model_validate({"name": "tiny", "generator": generator}), words)
    assert asked.reply(MESSAGES).usage == TokenUsage(fresh=60, cache_read=40, output=20)
    assert script.requests[0]["max_completion_tokens"] == 512
