"""What did a call use? One record for all providers, whose classes of tokens never overlap.

Providers count in their own ways: some put cached tokens into the prompt's, some beside them; some count reasoning as
part of the answer, some beside it. Each is read here, once, for whole replies and for the chunks of a stream alike.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Of one call: what reports more is broken, and a budget that believed it would be gone.
_MOST_TOKENS = 10**9


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one call, each in one class only.

    :ivar fresh: of the prompt, that the provider read anew and did not keep.
    :ivar output: of the answer, without reasoning.
    :ivar estimated: whether they were counted here, since the endpoint did not say.
    """

    fresh: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    estimated: bool = False

    @property
    def prompt(self) -> int:
        """All of the prompt."""
        return self.fresh + self.cache_read + self.cache_write

    @property
    def answered(self) -> int:
        """All that the model wrote."""
        return self.output + self.reasoning

    @property
    def total(self) -> int:
        """All of them."""
        return self.prompt + self.answered


# What clients of their own call by other names: Bedrock, Gemini, Ollama.
_NAMES = {
    "inputTokens": "prompt_tokens",
    "outputTokens": "completion_tokens",
    "totalTokens": "total_tokens",
    "cacheReadInputTokens": "cache_read_input_tokens",
    "cacheWriteInputTokens": "cache_write_input_tokens",
    "prompt_token_count": "prompt_tokens",
    "candidates_token_count": "completion_tokens",
    "total_token_count": "total_tokens",
    "prompt_eval_count": "prompt_tokens",
    "eval_count": "completion_tokens",
}


def read_usage(reported: Any) -> TokenUsage | None:
    """The usage that an endpoint reported; None if it reported none that makes sense.

    Understood are the shapes of OpenAI (`prompt_tokens`, with `prompt_tokens_details` and
    `completion_tokens_details`), of Anthropic (`input_tokens`, beside `cache_read_input_tokens` and
    `cache_creation_input_tokens`; proxies put the latter two into OpenAI's shape), of DeepSeek
    (`prompt_cache_hit_tokens`), of Bedrock (`inputTokens`, with those of the cache beside them), of Gemini
    (`prompt_token_count`, `thoughts_token_count`), of Ollama (`prompt_eval_count`) and of Cohere (`billed_units`), and
    what Haystack's integrations make of them.
    """
    if not isinstance(reported, Mapping):
        return None
    if isinstance(billed := reported.get("billed_units"), Mapping):
        reported = billed
    # Clients of OpenAI's fill in its names with zeros, or nothing, where a provider used others.
    others = {ours: reported[name] for name, ours in _NAMES.items() if name in reported and not reported.get(ours)}
    read = _read({**reported, **others})
    return read if read is not None and read.total <= _MOST_TOKENS else None


def _read(reported: Mapping[str, Any]) -> TokenUsage | None:
    if reported.get("prompt_tokens"):
        return _of_openai(reported)
    if "input_tokens" in reported:
        return _of_anthropic(reported)
    return _of_openai(reported) if sum(_flat(reported)) else None


def _flat(reported: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens read from the cache, and written to it, as Anthropic and Bedrock name them."""
    write = max(_count(reported, "cache_creation_input_tokens"), _count(reported, "cache_write_input_tokens"))
    return _count(reported, "cache_read_input_tokens"), write


def _of_openai(reported: Mapping[str, Any]) -> TokenUsage | None:
    prompt, completion = _count(reported, "prompt_tokens"), _count(reported, "completion_tokens")
    flat_read, flat_write = _flat(reported)
    flat = flat_read + flat_write
    more = max(_count(reported, "total_tokens") - prompt - completion, 0)
    if flat and ("cache_write_input_tokens" in reported or flat > prompt or more == flat):
        # Bedrock counts them beside the prompt's, as Anthropic does
        prompt, more = prompt + flat, max(more - flat, 0)
    if not prompt:
        return None
    of_prompt, of_completion = _part(reported, "prompt_tokens_details"), _part(reported, "completion_tokens_details")
    read = max(
        _count(of_prompt, "cached_tokens"),
        flat_read,
        _count(reported, "prompt_cache_hit_tokens"),
        _count(reported, "cached_content_token_count"),
    )
    write = max(_count(of_prompt, "cache_write_tokens"), _count(of_prompt, "cache_creation_tokens"), flat_write)
    read = min(read, prompt)
    write = min(write, prompt - read)
    reasoning = _count(of_completion, "reasoning_tokens")
    # Where the total has more than both parts, reasoning was counted beside the answer, named or not.
    beside = max(more, _count(reported, "thoughts_token_count"))
    if beside:
        reasoning = max(reasoning, beside)
        output = completion
    else:
        reasoning = min(reasoning, completion)
        output = completion - reasoning
    return TokenUsage(prompt - read - write, read, write, output, reasoning)


def _of_anthropic(reported: Mapping[str, Any]) -> TokenUsage | None:
    fresh = _count(reported, "input_tokens")
    read, write = _count(reported, "cache_read_input_tokens"), _count(reported, "cache_creation_input_tokens")
    if not fresh + read + write:
        return None
    answered = _count(reported, "output_tokens")
    # OpenAI's newer shape has the same names, with cached and reasoning tokens as parts of them.
    details = _part(reported, "input_tokens_details")
    cached = min(_count(details, "cached_tokens"), fresh)
    reasoning = min(_count(_part(reported, "output_tokens_details"), "reasoning_tokens"), answered)
    return TokenUsage(fresh - cached, read + cached, write, answered - reasoning, reasoning)


def _part(reported: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = reported.get(name)
    return part if isinstance(part, Mapping) else {}


def _count(reported: Mapping[str, Any], name: str) -> int:
    value = reported.get(name)
    if isinstance(value, float):
        return max(int(value), 0) if math.isfinite(value) else 0
    return max(int(value), 0) if isinstance(value, int) else 0
