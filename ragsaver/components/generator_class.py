"""Which class asks a model, is it fit for it, and what is it made with? Decided from the settings and its signatures.

A class that can't be told how long an answer may be is refused: what a call costs at most could not be kept back.
"""

import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragsaver.errors import MissingExtra, SettingsError
from ragsaver.settings import ChatGeneratorSettings, ModelSettings

_INTEGRATIONS = "haystack_integrations"
# Names that Haystack's own classes have for the limit of an answer's tokens; the first is taken where none is given.
_LIMITS = {
    "AmazonBedrockChatGenerator": ("maxTokens",),
    "AnthropicChatGenerator": ("max_tokens",),
    "AnthropicFoundryChatGenerator": ("max_tokens",),
    "AnthropicVertexChatGenerator": ("max_tokens",),
    "AzureOpenAIChatGenerator": ("max_completion_tokens", "max_tokens"),
    "AzureOpenAIResponsesChatGenerator": ("max_output_tokens",),
    "CohereChatGenerator": ("max_tokens",),
    "GoogleGenAIChatGenerator": ("max_output_tokens",),
    "MistralChatGenerator": ("max_tokens",),
    "OllamaChatGenerator": ("num_predict",),
    "OpenAIChatGenerator": ("max_completion_tokens", "max_tokens"),
    "OpenAIResponsesChatGenerator": ("max_output_tokens",),
}


@dataclass(frozen=True, slots=True)
class GeneratorClass:
    """A class that can ask, and how.

    :ivar parameters: for its constructor, as YAML has them.
    :ivar limit: the name in `generation_kwargs` of the limit of an answer's tokens.
    :ivar asks_async: whether it has a `run_async`.
    :ivar streams: whether it takes a callback.
    """

    cls: type
    parameters: Mapping[str, Any]
    limit: str
    asks_async: bool
    streams: bool


def generator_class(model: ModelSettings, wishes: ChatGeneratorSettings) -> GeneratorClass:
    """The class that the settings name.

    :raises MissingExtra: if it is of an integration that is not installed.
    :raises SettingsError: if it is not there, no chat generator, can't be made with what is given, or can't be told
        the limit of an answer.
    """
    where = f"generation.models, {model.name}"
    cls: Any = _imported(wishes.type, f"{where}, generator.type")
    taken = _taken(getattr(cls, "run", None))
    if not isinstance(cls, type) or "messages" not in taken:
        raise SettingsError(
            f"`{wishes.type}` is no chat generator of Haystack's",
            where=f"{where}, generator.type",
            remedy="Name a class whose `run` takes `messages` and gives `replies`",
        )
    if "generation_kwargs" not in taken:
        raise SettingsError(
            f"`{wishes.type}` can't be told how long an answer may be: its `run` takes no `generation_kwargs`",
            where=f"{where}, generator.type",
            remedy="Give `run` that parameter, and send what is in it to the endpoint",
        )
    return GeneratorClass(
        cls,
        _parameters(cls, model, wishes, f"{where}, generator.init_parameters"),
        _limit(cls, wishes, f"{where}, generator.output_limit"),
        inspect.iscoroutinefunction(getattr(cls, "run_async", None)),  # Haystack sees to it that it takes the same
        "streaming_callback" in taken,
    )


def _imported(path: str, where: str) -> Any:
    module, name = path.rsplit(".", 1)
    if not module.startswith(("haystack.", f"{_INTEGRATIONS}.")) and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # the project's own lie beside its settings
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError:
        raise SettingsError(f"there is no `{name}` in `{module}`", where=where, remedy="Check its name") from None
    except ModuleNotFoundError as error:
        if module.startswith(f"{_INTEGRATIONS}."):
            raise MissingExtra(
                f"`{module}` is not installed ({error})", where=where, remedy=f"pip install {_package(module)}"
            ) from error
        raise SettingsError(
            f"`{module}` can't be imported: {error}",
            where=where,
            remedy="Install it, or put it beside ragsaver.yaml; then start RAGSaver there",
        ) from error
    except Exception as error:  # a module of anybody's may raise anything
        raise SettingsError(
            f"`{module}` can't be imported ({type(error).__name__}: {error})", where=where, remedy="Mend it"
        ) from error


def _package(module: str) -> str:
    parts = module.split(".")
    name = parts[3] if len(parts) > 3 else parts[-1]
    return f"{name.replace('_', '-')}-haystack"


def _parameters(cls: Any, model: ModelSettings, wishes: ChatGeneratorSettings, where: str) -> dict[str, Any]:
    constructor = inspect.signature(cls.__init__)
    ours = {"model": model.name, "timeout": model.timeout_s, "max_retries": 0}
    if "boto3_config" in constructor.parameters:
        once = {"total_max_attempts": 1}
        ours["boto3_config"] = {"read_timeout": model.timeout_s, "connect_timeout": model.timeout_s, "retries": once}
    parameters = {name: value for name, value in ours.items() if name in constructor.parameters}
    parameters.update(wishes.init_parameters)
    try:
        constructor.bind(None, **parameters)
    except TypeError as error:
        known = [name for name in constructor.parameters if name not in ("self", "args", "kwargs")]
        raise SettingsError(
            f"`{cls.__name__}` can't be made with these: {error}", where=where, remedy=f"It takes {', '.join(known)}"
        ) from None
    return parameters


def _limit(cls: type, wishes: ChatGeneratorSettings, where: str) -> str:
    shipped = cls.__module__.startswith(("haystack.", f"{_INTEGRATIONS}."))
    known = _LIMITS.get(cls.__name__, ()) if shipped else ()
    given = wishes.output_limit or (known[0] if known else None)
    if given is None:
        raise SettingsError(
            f"nobody knows how `{cls.__name__}` is told the limit of an answer's tokens",
            where=where,
            remedy="Write the name that it has in the class's `generation_kwargs`: `output_limit: max_tokens`, say",
        )
    if known and given not in known:
        raise SettingsError(
            f"`{cls.__name__}` has no limit of an answer's tokens that is named `{given}`",
            where=where,
            remedy=f"Leave it out, or write `{'` or `'.join(known)}`",
        )
    return given


def _taken(method: Any) -> set[str]:
    """The names of what a method takes by keyword."""
    return set(inspect.signature(method).parameters) - {"self"} if callable(method) else set()
