"""The tiers that answer."""

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from ragsaver.settings.chat_generator import ChatGeneratorSettings
from ragsaver.settings.section import NAME, Section
from ragsaver.settings.urls import is_address, is_header

FREE_TIER = "extractive"
AUTO_TOKENIZER, SHIPPED_TOKENIZER = "auto", "shipped"


class ModelSettings(Section):
    """One language model, a tier: behind an OpenAI-compatible endpoint, or asked by a chat generator of Haystack's."""

    name: str = Field(min_length=1, description="as the endpoint knows it")
    tier: str | None = Field(
        default=None,
        pattern=NAME,
        description="what `route.tier` says where it answers; default: small, medium, large by its place",
    )
    base_url: str | None = Field(default=None, description="for example http://127.0.0.1:11434/v1")
    api_key: SecretStr | None = Field(default=None, description="default: the variable OPENAI_API_KEY")
    generator: ChatGeneratorSettings | None = Field(
        default=None, description="who asks it; none: a client of the OpenAI protocol, at `base_url`"
    )
    context_tokens: int | None = Field(
        default=None,
        ge=64,
        description="its window; a prompt that does not fit with the answer's tokens skips this tier; none: any fits",
    )
    tokenizer: str = Field(
        default=AUTO_TOKENIZER,
        min_length=1,
        description="that counts its tokens: a tokenizer.json or its folder, or one of tiktoken's encodings (extra "
        "`tiktoken`); `auto` takes tiktoken's by the model's name if its file is on this machine, else the shipped one "
        "with `spend.prompt_margin`; `shipped` always that",
    )
    timeout_s: float = Field(default=60.0, gt=0, le=86_400, description="of one attempt")
    max_retries: int = Field(default=2, ge=0, le=10, description="after rate limits, server errors and timeouts")
    retry_share: float = Field(
        default=0.2,
        ge=0.0,
        le=10.0,
        allow_inf_nan=False,
        description="retries by this process within a minute, as a share of its first attempts at the endpoint; beyond "
        "them a failure is not retried",
    )
    retry_least: int = Field(
        default=10, ge=0, le=1_000_000, description="retries within a minute that there may be besides"
    )
    rest_after_failures: int = Field(
        default=5, ge=0, le=1000, description="of attempts in a row, after which it is not asked for a while; 0: never"
    )
    rest_s: float = Field(
        default=30.0, gt=0, le=3600, description="of that while; it doubles each time that the endpoint fails after it"
    )
    max_output_tokens: int = Field(
        default=512, ge=1, le=10_000_000, description="of one answer; less than `context_tokens`"
    )
    concurrency: int | None = Field(
        default=None, ge=1, le=10_000, description="calls of this process at a time; others wait; none: any number"
    )
    temperature: float | None = Field(default=None, ge=0.0, le=2.0, description="not sent if left out")
    logprobs: bool = Field(
        default=False, description="ask for the tokens' log-probabilities, where the endpoint knows them, to check by"
    )

    @model_validator(mode="after")
    def _a_generator_is_told_by_its_own_names(self) -> Self:
        ours = ("base_url", "api_key", "temperature", "logprobs")
        if self.generator is not None and (given := [name for name in ours if getattr(self, name)]):
            raise ValueError(
                f"`{given[0]}` is for the client of the OpenAI protocol: the generator has its own name for it, in "
                "`generator.init_parameters` or the `generation_kwargs` there"
            )
        return self

    @model_validator(mode="after")
    def _requests_can_be_sent_there(self) -> Self:
        url = self.base_url
        if url is not None and not (url.startswith(("http://", "https://")) and is_address(url)):
            raise ValueError(
                "`base_url` is no address: it begins with http:// or https://; leave it out for OpenAI's own"
            )
        if self.api_key is not None and not is_header(self.api_key.get_secret_value()):
            raise ValueError("`api_key` holds characters that no HTTP header takes: only printable ASCII")
        return self

    @model_validator(mode="after")
    def _a_prompt_has_room(self) -> Self:
        if self.context_tokens is not None and self.max_output_tokens >= self.context_tokens:
            raise ValueError(
                f"`max_output_tokens` ({self.max_output_tokens}) leaves a prompt no room in `context_tokens` "
                f"({self.context_tokens}): lower it, or give the model's whole window"
            )
        return self


class ConversationSettings(Section):
    """The model that helps with conversations, where `follow_ups` or `earlier_turns` is `model`."""

    tier: str | None = Field(default=None, description="one of the tiers, by name; default: the cheapest")
    timeout_s: float = Field(
        default=10.0, gt=0, le=600, description="of one call, and half of what the request has left; then rules do it"
    )
    question_tokens: int = Field(default=80, ge=16, le=4096, description="that a follow-up made whole may have")
    summary_tokens: int = Field(
        default=120, ge=16, le=4096, description="that a summary may have, within a quarter of `history_tokens`"
    )
    summary_input_tokens: int = Field(
        default=2000, ge=100, le=1_000_000, description="of turns that one call summarises; longer ones are cut"
    )
    summary_questions: int = Field(
        default=4,
        ge=1,
        le=100,
        description="to come, for which a summary is reckoned: it is made where carrying its turns whole for so many "
        "would cost more",
    )


class GenerationSettings(Section):
    """The tiers: extractive is free and always there; the models are yours."""

    models: list[ModelSettings] = Field(
        default_factory=list, description="cheapest first; the last one is the strongest"
    )
    extractive_first: bool = Field(default=True, description="let the free tier answer when it is very sure")
    extractive_min_confidence: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="how likely the documents hold an answer; below it the free tier says nothing",
    )
    extractive_sure_confidence: float = Field(
        default=0.95,
        ge=0.0,
        le=1.0,
        description="how likely the sentence is right; from it on the free tier answers in a model's place",
    )
    router: str = Field(
        default="rules",
        description="which questions begin with a dearer model than the cheapest: by `rules`, `never`, or by a file "
        "that `ragsaver route train` wrote",
    )
    router_min_quality: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="of a trained router: share of the strongest model's right answers to keep; default: the file's",
    )
    router_max_calls: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="of a trained router: share of questions that may go to the strongest model at once; default: the "
        "file's",
    )
    router_max_cost: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="of a trained router whose outcomes have costs: share of what the strongest model alone costs that "
        "may be spent; default: the file's",
    )
    max_escalations: int = Field(
        default=1, ge=0, le=10, description="to the next tier, of an answer that fails the check"
    )
    min_logprob: float = Field(
        default=-1.0, le=0.0, description="mean of an answer's tokens below which it is not trusted (`logprobs`)"
    )
    fallback: Literal["up", "down", "none"] = Field(
        default="up",
        description="where a question goes whose endpoint failed: to the next tier up (from the strongest, down), only "
        "down, or nowhere",
    )
    links: Literal["given", "none", "all"] = Field(
        default="given",
        description="addresses and images that an answer may have: those that stand in its passages, its question or "
        "the conversation, none, or all",
    )
    follow_ups: Literal["rules", "model", "none"] = Field(
        default="rules",
        description="how a question that leans on those before it is made whole to look for it: by rules, or by a "
        "model where the rules see that it does",
    )
    earlier_turns: Literal["rules", "model"] = Field(
        default="rules",
        description="how turns are shortened that no longer stand whole in a prompt: to question and first sentence, "
        "or to a model's summary where that pays",
    )
    conversation: ConversationSettings = ConversationSettings()
    history_tokens: int = Field(
        default=800,
        ge=0,
        le=1_000_000,
        description="of the conversation in a prompt: the last turns whole, earlier ones shortened; 0 leaves it out",
    )
    short_answers: bool = Field(
        default=True,
        description="let answers to yes-or-no questions, and to those for a date, number, name or place, have half of "
        "the model's `max_output_tokens`, 192 at least",
    )
    stream_unchecked: bool = Field(
        default=False, description="stream a cheaper tier's answer at once; then it is not checked, and never escalated"
    )

    @model_validator(mode="after")
    def _tiers_have_names_of_their_own(self) -> Self:
        names = self.tier_names
        if len(set(names)) < len(names) or FREE_TIER in names:
            raise ValueError(f"two tiers have the same name: {', '.join((FREE_TIER, *names))}")
        return self

    @model_validator(mode="after")
    def _conversations_have_a_model(self) -> Self:
        wanted, known = self.conversation.tier, self.tier_names
        if self.asks_about_conversations and not known:
            raise ValueError("follow_ups and earlier_turns can be `model` only where `models` has one")
        if wanted is not None and wanted not in known:
            there = f"write one of {', '.join(known)}" if known else "there is no model"
            raise ValueError(f"`conversation.tier` ({wanted}) is none of the tiers: {there}")
        return self

    @property
    def asks_about_conversations(self) -> bool:
        """Whether a model helps with them."""
        return "model" in (self.follow_ups, self.earlier_turns)

    @property
    def tier_names(self) -> tuple[str, ...]:
        """Of the models, cheapest first."""
        last = len(self.models) - 1
        return tuple(model.tier or _tier_at(place, last) for place, model in enumerate(self.models))


def _tier_at(place: int, last: int) -> str:
    if place in (0, last):
        return "small" if place == 0 else "large"
    return "medium" if last == 2 else f"medium-{place}"
