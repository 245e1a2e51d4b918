"""A chat generator that is not the OpenAI-compatible one: its class, and how it is made."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from ragsaver.settings.section import CLASS_PATH, Section

# Names of the limit of an answer, by one provider or another; here it has one name for all.
OUTPUT_LIMITS = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "max_new_tokens",
        "max_tokens_to_sample",
        "maxTokens",
        "maxOutputTokens",
        "num_predict",
        "n_predict",
    }
)
# Each asks for several answers, of which one would be paid for.
_SEVERAL = frozenset({"n", "candidate_count", "num_generations", "best_of"})
_SECRET = re.compile(r"(?i)(?:^|_)(?:(?:api|access|secret|private)_?key|secret|password|authorization)$|^token$")
_SECRET_TOKEN = re.compile(r"(?i)_(?:access|ad|auth|bearer|session)_token$|^(?:access|ad|auth|bearer|session)_token$")


class ChatGeneratorSettings(Section):
    """A chat generator of Haystack's integrations, or of your own, that asks the model."""

    type: str = Field(
        pattern=CLASS_PATH,
        description="its class, for example "
        "`haystack_integrations.components.generators.anthropic.AnthropicChatGenerator`",
    )
    init_parameters: dict[str, Any] = Field(
        default_factory=dict,
        description="what its constructor is given, as in a pipeline's YAML; where it takes them, and they are not "
        "given, `model` is the model's `name`, `timeout` its `timeout_s` and `max_retries` 0",
    )
    output_limit: str | None = Field(
        default=None,
        min_length=1,
        description="the name in `generation_kwargs` of the limit of an answer's tokens; needed where the class is not "
        "one of those that are known",
    )

    @model_validator(mode="after")
    def _secrets_are_in_the_environment(self) -> Self:
        for path in _plain_secrets(self.init_parameters, ""):
            raise ValueError(
                f"`init_parameters{path}` holds a secret itself: name the variable that has it, "
                "`{type: env_var, env_vars: [NAME], strict: true}`"
            )
        return self

    @model_validator(mode="after")
    def _the_limit_is_the_models(self) -> Self:
        wishes = self.generation_kwargs
        for name in sorted(wishes.keys() & {*OUTPUT_LIMITS, self.output_limit or ""}):
            raise ValueError(
                f"`init_parameters.generation_kwargs.{name}` limits what `max_output_tokens` of the model limits: "
                "write it there"
            )
        for name in sorted(_SEVERAL & wishes.keys()):
            if wishes[name] != 1:
                raise ValueError(f"`init_parameters.generation_kwargs.{name}` asks for more answers than one is paid")
        return self

    @property
    def generation_kwargs(self) -> Mapping[str, Any]:
        """What goes with every call."""
        given = self.init_parameters.get("generation_kwargs")
        return given if isinstance(given, Mapping) else {}

    @property
    def address(self) -> str | None:
        """The first of its parameters that is a URL."""
        urls = (one for one in self.init_parameters.values() if isinstance(one, str) and "://" in one)
        return next(urls, None)


def _plain_secrets(value: object, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            here = f"{path}.{name}"
            if isinstance(one, str) and one and (_SECRET.search(str(name)) or _SECRET_TOKEN.search(str(name))):
                yield here
            else:
                yield from _plain_secrets(one, here)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _plain_secrets(one, f"{path}.{number}")
