"""No secret of the settings is in a line, however it is written there."""

import json
import logging
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from ragsaver.logs.secrets import Secrets
from ragsaver.logs.setup import _formatter, bound, tell
from ragsaver.settings import (
    ChatGeneratorSettings,
    DatabaseSettings,
    EmbeddingCacheSettings,
    GenerationSettings,
    IndexSettings,
    ModelSettings,
    QueueSettings,
    RerankSettings,
    Settings,
)

SECRET = "zQ9$w&7 é\"x'\\y"


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=4),
    st.sampled_from([str, repr, json.dumps]),
)
def test_a_known_value_is_masked_as_it_is_quoted_or_escaped(value: str, written: type[str]):
    secrets = Secrets()
    secrets.add(value)
    masked = secrets.mask_known(f"<<{written(value)}>>")
    assert value not in masked.replace("[secret]", "")
    assert "[secret]" in masked


def test_every_secret_of_the_settings_is_known(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    monkeypatch.setenv("HOUSE_KEY", "house-key")
    house = {"api_key": {"type": "env_var", "env_vars": ["HOUSE_KEY"], "strict": True}}
    settings = Settings(
        generation=GenerationSettings(
            models=[
                ModelSettings(name="a", api_key=SecretStr("model-key")),
                ModelSettings(name="b", base_url="https://me:url-password@host/v1?api-key=url-key&x=plain-value"),
                ModelSettings(name="c", generator=ChatGeneratorSettings(type="house.Generator", init_parameters=house)),
            ]
        ),
        rerank=RerankSettings(api_key=SecretStr("rerank-key")),
        index=IndexSettings(api_key=SecretStr("index-key")),
        queue=QueueSettings(broker_url=SecretStr("redis://:broker-password@host/0")),
        embedding_cache=EmbeddingCacheSettings(redis_url=SecretStr("redis://:cache%21password@host/0")),
        database=DatabaseSettings(url=SecretStr("postgresql://me:database-password@host/x")),
    )
    secrets = Secrets()
    secrets.add_settings(settings)
    for value in (
        *("from-the-environment", "house-key", "model-key", "url-password", "url-key", "rerank-key", "index-key"),
        *("broker-password", "cache!password", "cache%21password", "database-password"),
    ):
        assert secrets.mask_known(f"x {value} y") == "x [secret] y"
    assert secrets.mask_known("plain-value default query") == "plain-value default query"


def test_fields_that_are_named_like_a_secret_are_masked_at_any_depth():
    told = Secrets().mask(
        {
            "headers": {"Authorization": "abc", "x-api-key": "abc", "Cookie": "abc", "accept": "text"},
            "list": [{"password": "abc"}, SecretStr("abc")],
            "input_tokens": 12,
            "key_id": "0123",
            "token": None,
        }
    )
    assert "abc" not in json.dumps(told)
    assert told["headers"]["accept"] == "text"
    assert (told["input_tokens"], told["key_id"], told["token"]) == (12, "0123", None)


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_caller_can_not_forge_a_line(form: str, tmp_path: Path):
    file = tmp_path / "log"
    handler = logging.FileHandler(file)
    handler.setFormatter(_formatter(form, colours=False))
    logger = logging.getLogger(f"test.{form}")
    logger.addHandler(handler)
    logger.setLevel("INFO")
    path = "/x\n2026-01-01 [info] request outcome=answered\x1b[2K\u2028\u202e"
    tell(logger, logging.INFO, "request", {"path": path, "status": 404})
    handler.close()
    logger.removeHandler(handler)
    (line,) = file.read_text().splitlines()
    assert not any(one in line for one in "\x1b\u2028\u202e")
    if form == "json":
        assert json.loads(line)["path"] == path


def test_a_value_that_was_logged_before_it_was_known_as_a_secret_is_masked_afterwards():
    secrets = Secrets()
    assert secrets.field("tenant", "orchard-7") == "orchard-7"
    assert secrets.field("token", "orchard-7") == "[secret]"
    secrets.add("orchard-7")
    assert secrets.field("tenant", "orchard-7") == "[secret]"


_VALUES = st.one_of(
    st.text(max_size=80), st.none(), st.integers(), st.floats(allow_nan=False), st.booleans(), st.lists(st.text())
)


@pytest.mark.parametrize("form", ["json", "text"])
@given(
    fields=st.dictionaries(st.sampled_from(["request_id", "path", "token", "status", "tenant", "cost_usd"]), _VALUES),
    level=st.sampled_from([logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR]),
    bound_id=st.text(max_size=10),
)
def test_a_line_of_fields_is_written_as_any_other_line(form: str, fields: dict[str, object], level: int, bound_id: str):
    formatter = _formatter(form, colours=False)
    record = logging.LogRecord("ragsaver.requests", level, "", 0, "request", (), None)
    record.told = fields
    with bound(request_id=bound_id, other="x y"):
        line, usual = formatter.format(record), super(type(formatter), formatter).format(record)
    assert _after_its_time(line) == _after_its_time(usual)


def _after_its_time(line: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "now", line, count=1)
