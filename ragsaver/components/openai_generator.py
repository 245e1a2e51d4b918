"""The client of the OpenAI protocol: Haystack's own, told what an endpoint of it is told."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ragsaver.addresses import without_password
from ragsaver.components.chat_generators import AsyncListener, Call, Listener
from ragsaver.components.endpoint_errors import Remedies, say, status_of
from ragsaver.components.strange_answer import Came, StrangeAnswer, note, note_async, watching
from ragsaver.errors import GenerationError
from ragsaver.logs.secrets import KNOWN
from ragsaver.settings import ModelSettings, environment

_OPENAI = "api.openai.com"
_PROBE_S = 5.0
_NO_KEY = "none"  # local servers take any
_REMEDIES = Remedies(
    key="Check `api_key` of the model, or OPENAI_API_KEY",
    model="Check `name` and `base_url`; most end in /v1",
    address="Check `base_url` and that the server runs",
    unreadable="Check that the endpoint speaks the OpenAI protocol",
)


class OpenAIGenerator:
    """Asks a model at its `base_url`."""

    takes_schemas = True
    streams = True

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._built: Any = None

    @property
    def awaits(self) -> bool:
        """Whether the client is made."""
        return self._built is not None

    def ready(self) -> None:
        """Make the client.

        :raises GenerationError: if there is no key.
        """
        if self._built is not None:
            return
        # by its own module: the package puts another in its place while it is imported, and a second thread may
        # be left with the first
        from haystack.components.generators.chat.openai import OpenAIChatGenerator
        from haystack.utils import Secret

        base_url = _base_url(self._settings)
        own = self._settings.api_key.get_secret_value() if self._settings.api_key else None
        key = own or environment("OPENAI_API_KEY") or (_NO_KEY if base_url else None)
        if key is None:
            raise GenerationError(
                "there is no API key",
                where=self._place,
                remedy="Set OPENAI_API_KEY, or `api_key: ${NAME}` or `base_url` of the model in ragsaver.yaml",
            )
        if key != _NO_KEY:
            KNOWN.add(key)  # endpoints tell it back
        self._built = OpenAIChatGenerator(
            api_key=Secret.from_token(key),
            model=self._settings.name,
            api_base_url=base_url,
            timeout=self._settings.timeout_s,
            max_retries=0,  # each attempt is paid for by itself
        )

    async def ready_async(self) -> None:
        """The same: nothing in it blocks."""
        self.ready()

    def ask(self, call: Call, listen: Listener | None) -> Mapping[str, Any]:
        """One attempt."""
        wishes = self.wishes(call, streaming=listen is not None)
        came = Came(streaming=listen is not None)
        self._built.warm_up()
        _look_at(self._built.client, note)
        with watching(came):
            replied: Mapping[str, Any] = self._built.run(
                messages=list(call.messages), streaming_callback=listen, generation_kwargs=wishes
            )
        return _believed(replied, came)

    async def ask_async(self, call: Call, listen: AsyncListener | None) -> Mapping[str, Any]:
        """One attempt on the running event loop."""
        wishes = self.wishes(call, streaming=listen is not None)
        came = Came(streaming=listen is not None)
        await self._built.warm_up_async()
        _look_at(self._built.async_client, note_async)
        with watching(came):
            replied: Mapping[str, Any] = await self._built.run_async(
                messages=list(call.messages), streaming_callback=listen, generation_kwargs=wishes
            )
        return _believed(replied, came)

    def wishes(self, call: Call, *, streaming: bool) -> dict[str, Any]:
        """What goes with the messages."""
        # newer models of OpenAI take only the one name, most compatible servers only the other
        limit = "max_completion_tokens" if _is_openai(_base_url(self._settings)) else "max_tokens"
        wishes: dict[str, Any] = {limit: call.output_tokens, "timeout": call.time_s}
        if self._settings.temperature is not None:
            wishes["temperature"] = self._settings.temperature
        if self._settings.logprobs:
            wishes["logprobs"] = True
        if streaming:
            wishes["stream_options"] = {"include_usage": True}
        if call.schema is not None:
            # as `response_format` Haystack would parse the reply, and raise where it was cut
            wishes["extra_body"] = {"response_format": call.schema.on_the_wire}
        return wishes

    def probe(self) -> str:
        """Whether the endpoint answers and knows the model."""
        self.ready()
        self._built.warm_up()
        try:
            listed = self._built.client.with_options(timeout=_PROBE_S, max_retries=0).models.list()
            known = {model.id for model in listed.data}
        except Exception as error:
            if status_of(error) in (404, 405, 501):
                return f"{self._place} answers (it lists no models)"
            problem, remedy = self.say(error)
            raise GenerationError(problem, where=self._place, remedy=remedy) from error
        return f"{self._place} answers" if self._settings.name in known else f"{self._place} answers, not listed there"

    def say(self, error: Exception) -> tuple[str, str]:
        """What was wrong with an attempt, and what to do."""
        if isinstance(error, StrangeAnswer):
            return error.problem, _REMEDIES.model if error.is_page else _REMEDIES.unreadable
        return say(error, _REMEDIES)

    @property
    def _place(self) -> str:
        return openai_place(self._settings)


def _look_at(client: Any, hook: Callable[[Any], Any]) -> None:
    """Let a client's answers be noted as they come; its HTTP client is no part of what it promises."""
    hooks = getattr(getattr(client, "_client", None), "event_hooks", None)
    if hooks is not None and hook not in hooks["response"]:
        client._client.event_hooks = {**hooks, "response": [*hooks["response"], hook]}


def _believed(replied: Mapping[str, Any], came: Came) -> Mapping[str, Any]:
    """What came, unless nothing was made of it.

    :raises StrangeAnswer: saying what it was.
    """
    said = replied.get("replies")
    if (not said or not said[0].text) and came.streaming and (strange := came.strange()) is not None:
        raise strange
    return replied


def openai_place(model: ModelSettings) -> str:
    """Its endpoint and name."""
    return f"{without_password(_base_url(model) or _OPENAI)} ({model.name})"


def _base_url(model: ModelSettings) -> str | None:
    """Its endpoint; OpenAI's own if None."""
    return model.base_url or environment("OPENAI_BASE_URL")


def _is_openai(base_url: str | None) -> bool:
    return base_url is None or urlsplit(base_url).hostname == _OPENAI
