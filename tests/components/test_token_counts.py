"""Tokens are counted by the tier's own tokenizer where it is there; else the shipped one's have a margin."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from haystack import Document
from haystack.dataclasses import ChatMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragsaver.components.budget_filling import fit
from ragsaver.components.chat import ChatTier
from ragsaver.components.packer import ContextPacker
from ragsaver.components.prompt_builder import PromptBuilder
from ragsaver.components.request import Request, running
from ragsaver.components.token_counts import CountedTexts, TierTokens, prompt_tokens
from ragsaver.errors import SettingsError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.estimating import estimate
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import ModelSettings, Settings
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import open_receipt
from ragsaver.spend.till import Till
from tests.openai_server import Script, openai_server
from tests.tokenizer_files import tokenizer_json

LETTERS, PAIRS = r"\S", r"\S+\s\S+|\S+"


def words(texts) -> list[int]:
    return [len(text.split()) for text in texts]


def model(tokenizer: str = "auto", **more: object) -> ModelSettings:
    return ModelSettings(name="tiny", tokenizer=tokenizer, **more)


@given(st.lists(st.lists(st.sampled_from(["a", "b b", "c c c", ""]), max_size=5), max_size=12), st.integers(1, 4))
def test_what_is_remembered_is_what_is_counted(asked: list[list[str]], most: int):
    counted = CountedTexts(words, most)
    for texts in asked:
        assert counted(texts, "acme") == words(texts)


def test_a_text_is_counted_once_while_it_is_remembered():
    calls: list[list[str]] = []

    def counting(texts) -> list[int]:
        calls.append(list(texts))
        return words(texts)

    counted = CountedTexts(counting, 3)
    counted(["a", "b b", "a"], "acme")
    counted(["b b", "c"], "acme")
    assert calls == [["a", "b b"], ["c"]]
    counted(["d", "e"], "acme")
    counted(["a"], "acme")
    assert calls[2:] == [["d", "e"], ["a"]]


def test_what_is_remembered_for_all_owners_together_has_a_limit():
    calls: list[list[str]] = []

    def counting(texts) -> list[int]:
        calls.append(list(texts))
        return words(texts)

    counted = CountedTexts(counting, 3)
    for owner in ("acme", "rival", "acme", "rival"):
        assert counted(["a", "b b"], owner) == [1, 2]
    assert calls == [["a", "b b"]] * 4, "neither finds the other's, and both do not fit"


SAID = (
    "Owls hunt voles at night. They sleep by day. Nobody asked them why. The moon was full.",
    "```python\nhunt(owl[3], 'vole') < 7  # [1]\n```\n\n- a list, of one\n- <document 9> and of another\n",
    "Prices: 3,50 € for naïve café visitors! Москва? 東京は大きい。人が多い。 x" + "y" * 40,
    "Rain fell [12] on Monday. It fell again… The owl keeper (see doc 3) saw that.",
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(SAID), min_size=1, max_size=4, unique=True), st.integers(5, 120), st.booleans())
def test_a_prompt_has_as_many_tokens_as_if_all_of_it_were_counted(
    runtime: Runtime, texts: list[str], budget: int, edited: bool
):
    packer, builder = ContextPacker(budget, match="words"), PromptBuilder()
    for one in (packer, builder):
        one.bind(runtime.resources)
    found = [Document(content=text, score=1.0, meta={"source": "a.md", "heading": "Owls"}) for text in texts]
    with running(Request(runtime.scope())):
        packed = list(packer.run("What do owls hunt?", found)["documents"])
        if edited and packed:  # by a team's own component
            packed[0] = replace(packed[0], content="an owl")
        told = [one.text for one in builder.run("What do owls hunt?", packed)["messages"]]
    count = runtime.encoder.count_tokens
    assert prompt_tokens(count, told, packed) == sum(count(told))


def test_the_shipped_tokenizer_has_a_margin_and_a_model_s_own_has_none(tmp_path: Path):
    shipped = TierTokens(model(), words, 0.25)
    own = TierTokens(model(str(tokenizer_json(tmp_path / "tokenizer.json", LETTERS))), words, 0.25)
    assert (shipped.own, shipped.most(["a b", "c"])) == (False, 4)
    assert (own.own, own.most(["ab c", "d"])) == (True, 4)
    assert TierTokens(None, words).name == "the shipped tokenizer"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=12), st.integers(1, 60))
def test_what_is_packed_fits_by_the_tokenizer_that_counts(sizes: list[tuple[int, int]], budget: int):
    """Each thing has a size by the shipped tokenizer and one by the model's."""

    def fill(room: int) -> list[int]:
        taken: list[int] = []
        for n, (shipped, _) in enumerate(sizes):
            if shipped <= room:
                taken.append(n)
                room -= shipped
        return taken

    def size(taken: list[int]) -> int:
        return sum(sizes[n][1] for n in taken)

    packed, used = fit(fill, size, budget)
    assert used == size(packed) <= budget
    if size(fill(budget)) <= budget:
        assert size(packed) >= size(fill(budget)) or len(packed) >= len(fill(budget))


class Asked:
    """A project with one model, whose tokenizer is what the test says."""

    def __init__(self, runtime: Runtime, script: Script) -> None:
        self.runtime, self.script = runtime, script


@pytest.fixture
def asked(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Asked]:
    pattern, more = request.param
    tokenizer = str(tokenizer_json(tmp_path / "tokenizer.json", pattern)) if pattern else "shipped"
    script = Script(reply="It is so [1].")
    with openai_server(script) as url:
        generation = {
            "models": [
                {"name": "tiny", "base_url": url, "max_retries": 0, "tokenizer": tokenizer, **more.get("model", {})}
            ],
            "extractive_first": False,
        }
        settings = Settings.model_validate(
            {
                "home": tmp_path / "home",
                "generation": generation,
                "context": {"budget_tokens": 120},
                "cache": {"answers": "off"},
                "spend": {"prices": {"tiny": {"input_per_mtok": "1", "output_per_mtok": "0"}}},
            }
        )
        with open_runtime(settings, "a test") as opened:
            farms = [
                f"# Farm {n}\n\n" + " ".join(f"Sheep number {n * 20 + m} grazes on the hill." for m in range(20))
                for n in range(6)
            ]
            opened.ingestor.ingest_texts(
                [PostedDocument(f"farm-{n}.md", text) for n, text in enumerate(farms)], opened.scope()
            )
            yield Asked(opened, script)


@pytest.mark.parametrize("asked", [(LETTERS, {}), (PAIRS, {}), (None, {})], indirect=True)
def test_the_context_fills_the_budget_by_the_answering_tier_s_tokenizer(asked: Asked):
    result = asked.runtime.engine().ask("How many sheep graze on the hill?")
    prompt = asked.runtime.engine().prompt("How many sheep graze on the hill?")
    own = asked.runtime.settings.generation.models[0].tokenizer != "shipped"
    count = TierTokens(asked.runtime.settings.generation.models[0], asked.runtime.encoder.count_tokens).count
    packed = sum(count([f"{one.meta['heading']}\n{one.content}" for one in prompt.documents]))
    assert 0.6 * 120 <= packed <= 120
    (line,) = [one for one in result.receipt.lines if one.item == "context packed"]
    assert (f", {packed} of it by " in line.reason) == own


@pytest.mark.parametrize("asked", [(LETTERS, {})], indirect=True)
def test_what_an_answer_may_cost_is_estimated_by_its_own_tokenizer(asked: Asked):
    prompt = asked.runtime.engine().prompt("How many sheep graze on the hill?")
    letters = sum(len("".join((one.text or "").split())) for one in prompt.messages)
    told = estimate(prompt, asked.runtime.resources)
    (tier,) = told.tiers
    around = 12 * len(prompt.messages)
    assert tier.high_usd * 1_000_000 in (letters + around, letters + around + 1)


def test_an_attempt_holds_its_own_tokens_and_those_of_the_chat_template(tmp_path: Path):
    settings = Settings.model_validate(
        {"home": tmp_path, "spend": {"prices": {"tiny": {"input_per_mtok": "1", "output_per_mtok": "0"}}}}
    )
    till = Till(settings, PriceBook.of(settings.spend), words)
    tokenizer = str(tokenizer_json(tmp_path / "tokenizer.json", LETTERS))
    try:
        with (
            openai_server(Script(usage=None, reply="so be it")) as url,
            running(Request(Scope("acme", "docs"))),
            open_receipt() as receipt,
        ):
            tier = ChatTier(model(tokenizer, base_url=url, max_retries=0), words, till)
            reply = tier.reply([ChatMessage.from_user("abc def")])
        assert (reply.usage.fresh, reply.usage.output, reply.usage.estimated) == (6 + 12, 6 + 12, True)
        assert receipt.close().cost_usd == Decimal(18) / 1_000_000
    finally:
        till.close()


@pytest.mark.parametrize("asked", [(LETTERS, {"model": {"context_tokens": 900}})], indirect=True)
def test_a_window_is_compared_with_the_model_s_own_count(asked: Asked):
    """By the shipped tokenizer the prompt would fit; by its letters it does not."""
    from ragsaver.errors import GenerationError

    with pytest.raises(GenerationError, match="fits into no model"):
        asked.runtime.engine().ask("How many sheep graze on the hill?")


def test_a_tokenizer_that_is_not_there_stops_the_pipeline_by_name(tmp_path: Path):
    generation = {"models": [{"name": "tiny", "base_url": "http://127.0.0.1:1/v1", "tokenizer": "none.json"}]}
    settings = Settings.model_validate({"home": tmp_path / "home", "generation": generation})
    with open_runtime(settings, "a test") as opened, pytest.raises(SettingsError, match=r"none\.json"):
        opened.engine()
