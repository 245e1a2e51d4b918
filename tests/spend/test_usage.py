"""What providers report, as they report it, and what it means: golden fixtures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.spend.usage import TokenUsage, read_usage

REPORTED = {
    "openai": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 192,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        TokenUsage(fresh=86, cache_read=1920, output=108, reasoning=192),
    ),
    "openai, without details": (
        {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},
        TokenUsage(fresh=19, output=10),
    ),
    "openai, empty details": (
        {
            "prompt_tokens": 19,
            "completion_tokens": 10,
            "total_tokens": 29,
            "prompt_tokens_details": None,
            "completion_tokens_details": {"reasoning_tokens": None},
        },
        TokenUsage(fresh=19, output=10),
    ),
    "openai responses": (
        {
            "input_tokens": 75,
            "input_tokens_details": {"cached_tokens": 64},
            "output_tokens": 1186,
            "output_tokens_details": {"reasoning_tokens": 1024},
            "total_tokens": 1261,
        },
        TokenUsage(fresh=11, cache_read=64, output=162, reasoning=1024),
    ),
    "anthropic": (
        {
            "input_tokens": 50,
            "cache_creation_input_tokens": 248,
            "cache_read_input_tokens": 1800,
            "output_tokens": 503,
        },
        TokenUsage(fresh=50, cache_read=1800, cache_write=248, output=503),
    ),
    "anthropic, all from the cache": (
        {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 1800, "output_tokens": 3},
        TokenUsage(cache_read=1800, output=3),
    ),
    "anthropic by a proxy": (
        {
            "prompt_tokens": 2098,
            "completion_tokens": 503,
            "total_tokens": 2601,
            "prompt_tokens_details": {"cached_tokens": 1800, "cache_creation_tokens": 248},
            "cache_creation_input_tokens": 248,
            "cache_read_input_tokens": 1800,
        },
        TokenUsage(fresh=50, cache_read=1800, cache_write=248, output=503),
    ),
    "openrouter": (
        {
            "prompt_tokens": 194,
            "completion_tokens": 2,
            "total_tokens": 196,
            "cost": 0.00014,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        TokenUsage(fresh=94, cache_write=100, output=2),
    ),
    "deepseek": (
        {
            "prompt_tokens": 1011,
            "completion_tokens": 60,
            "total_tokens": 1071,
            "prompt_cache_hit_tokens": 960,
            "prompt_cache_miss_tokens": 51,
            "prompt_tokens_details": {"cached_tokens": 960},
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
        TokenUsage(fresh=51, cache_read=960, output=40, reasoning=20),
    ),
    "reasoning beside the answer, named": (
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        TokenUsage(fresh=32, output=9, reasoning=94),
    ),
    "reasoning beside the answer, only in the total": (
        {"prompt_tokens": 8, "completion_tokens": 10, "total_tokens": 318},
        TokenUsage(fresh=8, output=10, reasoning=300),
    ),
    "anthropic by Haystack's integration": (
        {
            "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 248},
            "cache_creation_input_tokens": 248,
            "cache_read_input_tokens": 1800,
            "server_tool_use": None,
            "service_tier": "standard",
            "prompt_tokens": 2098,
            "completion_tokens": 503,
        },
        TokenUsage(fresh=50, cache_read=1800, cache_write=248, output=503),
    ),
    "bedrock by Haystack's integration": (
        {
            "prompt_tokens": 50,
            "completion_tokens": 503,
            "total_tokens": 2601,
            "cache_read_input_tokens": 1800,
            "cache_write_input_tokens": 248,
            "cache_details": [],
        },
        TokenUsage(fresh=50, cache_read=1800, cache_write=248, output=503),
    ),
    "bedrock by Haystack's integration, without a cache": (
        {
            "prompt_tokens": 50,
            "completion_tokens": 503,
            "total_tokens": 553,
            "cache_read_input_tokens": 0,
            "cache_write_input_tokens": 0,
            "cache_details": [],
        },
        TokenUsage(fresh=50, output=503),
    ),
    "bedrock": (
        {"inputTokens": 0, "outputTokens": 5, "totalTokens": 1805, "cacheReadInputTokens": 1800},
        TokenUsage(cache_read=1800, output=5),
    ),
    "gemini by Haystack's integration": (
        {
            "prompt_tokens": 900,
            "completion_tokens": 40,
            "total_tokens": 1240,
            "thoughts_token_count": 300,
            "cached_content_token_count": 512,
            "prompt_token_count": 900,
            "candidates_token_count": 40,
            "total_token_count": 1240,
            "prompt_tokens_details": [{"modality": "TEXT", "token_count": 900}],
        },
        TokenUsage(fresh=388, cache_read=512, output=40, reasoning=300),
    ),
    "gemini": (
        {"prompt_token_count": 900, "candidates_token_count": 40, "thoughts_token_count": 300},
        TokenUsage(fresh=900, output=40, reasoning=300),
    ),
    "ollama": ({"prompt_eval_count": 26, "eval_count": 298}, TokenUsage(fresh=26, output=298)),
    "cohere by Haystack's integration": (
        {"prompt_tokens": 17.0, "completion_tokens": 4.0},
        TokenUsage(fresh=17, output=4),
    ),
    "cohere": (
        {"billed_units": {"input_tokens": 17.0, "output_tokens": 4.0}, "tokens": {"input_tokens": 82.0}},
        TokenUsage(fresh=17, output=4),
    ),
    "more cached than there was": (
        {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 50}},
        TokenUsage(cache_read=10, output=1),
    ),
}


@pytest.mark.parametrize("provider", REPORTED)
def test_each_token_is_in_one_class(provider: str):
    reported, expected = REPORTED[provider]
    assert read_usage(reported) == expected


INFINITE, NO_NUMBER = float("inf"), float("nan")


@pytest.mark.parametrize(
    "reported",
    [
        None,
        {},
        {"prompt_tokens": 0},
        {"input_tokens": 0},
        "100",
        {"cost": 1},
        {"prompt_tokens": INFINITE, "completion_tokens": 20},
        {"prompt_tokens": NO_NUMBER, "completion_tokens": 20, "total_tokens": NO_NUMBER},
        {"prompt_tokens": 10**30, "completion_tokens": 1},
        {"prompt_tokens": 100, "completion_tokens": 10**400},
        {"input_tokens": 100, "output_tokens": 10**15},
    ],
)
def test_usage_that_makes_no_sense_is_no_usage(reported: object):
    assert read_usage(reported) is None


count = st.integers(0, 10_000)


@given(count.filter(bool), count, count, count, count)
def test_all_classes_add_up_to_what_was_reported(prompt, completion, cached, written, reasoning):
    usage = read_usage(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
    )
    assert (usage.prompt, usage.answered) == (prompt, completion)
    assert min(usage.fresh, usage.cache_read, usage.cache_write, usage.output, usage.reasoning) >= 0
