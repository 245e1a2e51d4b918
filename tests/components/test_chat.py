import asyncio
import subprocess
import sys

import pytest
from haystack.dataclasses import ChatMessage

from ragsaver.components.chat import ChatTier
from ragsaver.components.chat_generators import Call
from ragsaver.components.chat_reply import CutReply
from ragsaver.components.openai_generator import OpenAIGenerator
from ragsaver.errors import GenerationError
from ragsaver.settings import ModelSettings
from ragsaver.spend.usage import TokenUsage
from tests.openai_server import Script, openai_server

MESSAGES = [ChatMessage.from_system("Be brief."), ChatMessage.from_user("Who issues the permit?")]


def words(texts):
    return [len(text.split()) for text in texts]


def tier(url: str, retries: int = 0) -> ChatTier:
    return ChatTier(ModelSettings(name="tiny", base_url=url, max_retries=retries, timeout_s=30), words)


def test_a_reply_comes_with_what_was_billed_in_classes_that_do_not_overlap():
    script = Script()
    with openai_server(script) as url:
        reply = tier(url).reply(MESSAGES)
        later = asyncio.run(tier(url).reply_async(MESSAGES))
    assert reply.text == later.text == script.reply
    assert reply.usage == later.usage == TokenUsage(fresh=60, cache_read=40, output=20)
    assert script.requests[0]["max_tokens"] == 512


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        (None, "max_completion_tokens"),
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://llm.example/api.openai.com/v1", "max_tokens"),
    ],
)
@pytest.mark.parametrize("by_environment", [False, True])
def test_the_clamp_has_the_name_that_the_endpoint_takes(
    monkeypatch: pytest.MonkeyPatch, base_url: str | None, name: str, by_environment: bool
):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    if by_environment and base_url:
        monkeypatch.setenv("OPENAI_BASE_URL", base_url)
    model = ModelSettings(name="tiny", base_url=None if by_environment else base_url)
    wishes = OpenAIGenerator(model).wishes(Call(MESSAGES, 7, 1), streaming=False)
    assert wishes[name] == 7 and len({"max_tokens", "max_completion_tokens"} & set(wishes)) == 1


def test_an_endpoint_of_the_environment_is_clamped_on_the_wire(monkeypatch: pytest.MonkeyPatch):
    script = Script()
    with openai_server(script) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        ChatTier(ModelSettings(name="tiny", timeout_s=30), words).reply(MESSAGES)
    assert script.requests[0]["max_tokens"] == 512 and "max_completion_tokens" not in script.requests[0]


def test_messages_are_on_the_wire_as_they_are_whether_streamed_or_not():
    script = Script()
    with openai_server(script) as url:
        asked = tier(url)
        asked.reply(MESSAGES)
        asked.reply(MESSAGES, lambda _: None)
        asyncio.run(asked.reply_async(MESSAGES))
    wanted = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who issues the permit?"},
    ]
    assert [request["messages"] for request in script.requests] == [wanted] * 3


def test_a_streamed_reply_is_billed_like_a_whole_one():
    heard: list[str] = []
    with openai_server(Script()) as url:
        reply = tier(url).reply(MESSAGES, lambda chunk: heard.append(chunk.content))
    assert "".join(heard).strip() == reply.text.strip()
    assert reply.usage == TokenUsage(fresh=60, cache_read=40, output=20)


def test_halves_of_characters_do_not_get_any_farther():
    heard: list[str] = []
    with openai_server(Script(reply="One \ud800 office, \ud83d\ude00.")) as url:
        whole = tier(url).reply(MESSAGES).text
        streamed = tier(url).reply(MESSAGES, lambda chunk: heard.append(chunk.content)).text
    assert whole == streamed.strip() == "".join(heard).strip() == "One \ufffd office, 😀."


@pytest.mark.parametrize("said", [5, [{"type": "text", "text": "The office."}], {"text": "The office."}])
def test_an_answer_that_is_no_text_is_a_failure_of_the_endpoint(said: object):
    with openai_server(Script(reply=said)) as url, pytest.raises(GenerationError, match="can't be read.*no text"):
        tier(url).reply(MESSAGES)


def test_tokens_are_counted_where_the_endpoint_does_not():
    with openai_server(Script(usage=None)) as url:
        reply = tier(url).reply(MESSAGES)
    assert reply.usage == TokenUsage(fresh=6, output=8, estimated=True)


def test_a_stream_that_is_cut_is_an_error_and_on_the_bill():
    with openai_server(Script(cut_after=3)) as url, pytest.raises(CutReply, match="on the bill") as caught:
        tier(url).reply(MESSAGES, lambda chunk: None)
    # Nobody knows how much more the endpoint had written.
    assert caught.value.usage == TokenUsage(fresh=6, output=512, estimated=True)


def test_a_rate_limit_is_retried_as_often_as_the_settings_say():
    script = Script(statuses=[429])
    with openai_server(script) as url:
        assert tier(url, retries=1).reply(MESSAGES).text
    assert len(script.requests) == 2


@pytest.mark.parametrize(("said", "told_s"), [("7", 7.0), ("inf", None), ("nan", None), ("soon", None)])
def test_when_an_endpoint_wants_to_be_asked_again_is_told_to_who_asked(said: str, told_s: float | None):
    script = Script(statuses=[429], retry_after=said)
    with openai_server(script) as url, pytest.raises(GenerationError) as caught:
        tier(url).reply(MESSAGES)
    assert caught.value.retry_after_s == told_s


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "api_key"), (404, "base_url"), (429, "Try again"), (500, "endpoint's own log")]
)
def test_failures_name_endpoint_model_and_remedy(status: int, remedy: str):
    with openai_server(Script(statuses=[status])) as url, pytest.raises(GenerationError, match=remedy) as caught:
        tier(url).reply(MESSAGES)
    assert url in str(caught.value)
    assert "tiny" in str(caught.value)


def test_an_endpoint_that_is_not_there_is_named():
    with openai_server(Script()) as url:
        gone = url
    with pytest.raises(GenerationError, match="can't be reached"):
        tier(gone).reply(MESSAGES)


def test_a_probe_bills_nothing_and_says_what_is_wrong():
    script = Script()
    with openai_server(script) as url:
        assert tier(url).probe() == f"{url} (tiny) answers"
        other = ChatTier(ModelSettings(name="huge", base_url=url), words)
        assert other.probe().endswith("not listed there")
        script.statuses = [404]
        assert "lists no models" in tier(url).probe()
        script.statuses = [401]
        with pytest.raises(GenerationError, match="refused the API key"):
            tier(url).probe()
    assert script.requests == []
    with pytest.raises(GenerationError, match="can't be reached"):
        tier(url).probe()


IN_TWO_THREADS = """
import threading, time
import lazy_imports
made = lazy_imports.LazyImporter.__init__
half_way = threading.Event()

def slowly(self, *given, **named):
    if named.get("name") == "haystack.components.generators.chat":
        half_way.set()
        time.sleep(1)
    made(self, *given, **named)

lazy_imports.LazyImporter.__init__ = slowly
from ragsaver.components.openai_generator import OpenAIGenerator
from ragsaver.settings import ModelSettings
errors = []

def build():
    try:
        OpenAIGenerator(ModelSettings(name="m", base_url="http://127.0.0.1:9")).ready()
    except Exception as error:
        errors.append(error)

first, second = threading.Thread(target=build), threading.Thread(target=build)
first.start()
assert half_way.wait(60)
second.start()
first.join()
second.join()
print(errors)
"""


def test_two_threads_may_be_the_first_to_ask():
    ran = subprocess.run([sys.executable, "-c", IN_TWO_THREADS], capture_output=True, text=True, timeout=120)
    assert ran.stdout == "[]\n", ran
