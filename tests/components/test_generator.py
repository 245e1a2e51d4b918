"""The tiers against real endpoints: who is asked, who answers, what is on the receipt, what is streamed when."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from haystack import Document
from haystack.dataclasses import ChatMessage

from ragsaver.components.evidence import Evidence, gathering
from ragsaver.components.extractive import Extract, free_choice
from ragsaver.components.generator import AnswerGenerator
from ragsaver.components.request import Request, running
from ragsaver.components.resources import Resources, open_resources
from ragsaver.components.rungs import window_problem
from ragsaver.errors import GenerationError, SettingsError
from ragsaver.settings import GenerationSettings, ModelSettings, PriceSettings, Settings, SpendSettings
from ragsaver.spend.receipt import Receipt, open_receipt
from tests.model_runs import tell_runs
from tests.openai_server import Script, openai_server

QUESTION = "Who issues the export permit for parrots?"
PERMIT = "The permit is issued by the veterinary office within 14 days."
PASSAGES = [
    Document(
        id="p",
        content=PERMIT,
        score=1.0,
        meta={
            "source": "parrots.md", "heading": "Travel", "spans": [PERMIT], "span_worth": [1.0],
            "dense_score": 0.7, "lexical_score": 3.0,
        },
    )
]  # fmt: skip
MESSAGES = [ChatMessage.from_system("Be brief."), ChatMessage.from_user(f"{PERMIT} {QUESTION}")]
GOOD, BETTER, WRONG = "The veterinary office issues it [1].", "The veterinary office does [1].", "It takes 30 days [1]."


@pytest.fixture
def small() -> Script:
    return Script(reply=GOOD)


@pytest.fixture
def large() -> Script:
    return Script(reply=BETTER)


@contextmanager
def tiers(folder: Path, *scripts: Script, models: dict | None = None, **generation) -> Iterator[Resources]:
    """The scripts' servers as tiers, cheapest first."""
    with ExitStack() as there:
        settings = Settings(
            home=folder / "home",
            generation=GenerationSettings(
                models=[
                    ModelSettings(
                        name=f"model-{n}", base_url=there.enter_context(openai_server(script)), max_retries=0,
                        **(models or {}),
                    )
                    for n, script in enumerate(scripts)
                ],
                **{"extractive_first": False, **generation},
            ),
            spend=SpendSettings(
                prices={
                    f"model-{n}": PriceSettings(input_per_mtok=10**n, output_per_mtok=10**n)
                    for n in range(len(scripts))
                }
            ),
        )  # fmt: skip
        opened = open_resources(settings, "a test")
        there.callback(opened.ownership.release)
        there.callback(opened.close)
        yield opened


class Asked(SimpleNamespace):
    """A reply, its receipt, and what was streamed."""

    reply: ChatMessage
    receipt: Receipt
    streamed: list[str]

    def lines(self, stage: str) -> list[tuple[str, str]]:
        return [(line.item, line.reason) for line in self.receipt.lines if line.stage == stage]


def ask(
    given: Resources, question: str = QUESTION, *, stream: bool = False, request: Request | None = None, **options
) -> Asked:
    """Ask in a thread and on an event loop: both must do the same, and what the second did is given back."""
    generator = AnswerGenerator(**options)
    generator.bind(given)
    request = request or Request(given.default_scope)
    heard: list[list[str]] = [[], []]

    async def hear(chunk) -> None:
        heard[1].append(chunk.content)

    replies, receipts = [], []
    with running(request), open_receipt() as receipt:
        found = generator.run(
            question, PASSAGES, MESSAGES, (lambda chunk: heard[0].append(chunk.content)) if stream else None
        )
        replies, receipts = [found["replies"][0]], [receipt.close()]
    with running(request), open_receipt() as receipt:
        found = asyncio.run(generator.run_async(question, PASSAGES, MESSAGES, hear if stream else None))
        replies.append(found["replies"][0])
        receipts.append(receipt.close())
    assert replies[0].text == replies[1].text and replies[0].meta == replies[1].meta
    assert receipts[0] == receipts[1] and heard[0] == heard[1]
    return Asked(reply=replies[1], receipt=receipts[1], streamed=heard[1])


def test_a_good_cheap_answer_is_the_answer(tmp_path: Path, small: Script, large: Script):
    with tiers(tmp_path, small, large) as given:
        asked = ask(given)
    assert (asked.reply.text, asked.reply.meta["tier"], large.requests) == (GOOD, "small", [])
    assert [item for item, _ in asked.lines("route")] == ["small: model-0"]
    assert "signs of a hard question" in asked.reply.meta["route_reason"]


def test_an_answer_that_fails_its_check_is_escalated_and_both_calls_are_on_the_receipt(
    tmp_path: Path, small: Script, large: Script
):
    small.reply = WRONG
    with tiers(tmp_path, small, large) as given:
        asked = ask(given)
    assert (asked.reply.text, asked.reply.meta["tier"]) == (BETTER, "large")
    assert "the number 30 stands in no passage" in asked.reply.meta["route_reason"]
    assert [item for item, _ in asked.lines("route")] == ["small: model-0", "large: model-1"]
    assert "escalated from small" in asked.lines("route")[1][1]
    assert [item for item, _ in asked.lines("generate")] == ["model-0", "model-1"]
    # 120 tokens at 1 and at 10 dollars a million
    assert asked.receipt.cost_usd * 1_000_000 == 120 + 1200
    assert asked.receipt.tokens.output == 40


def test_no_more_is_escalated_than_allowed(tmp_path: Path, small: Script, large: Script):
    small.reply = WRONG
    with tiers(tmp_path, small, large, max_escalations=0) as given:
        asked = ask(given)
    assert (asked.reply.text, asked.reply.meta.get("doubt"), large.requests) == (WRONG, None, [])
    middle = Script(reply=WRONG)
    with tiers(tmp_path, small, middle, large) as given:
        asked = ask(given)
    assert (asked.reply.meta["tier"], len(middle.requests), large.requests) == ("medium", 2, [])


def test_a_failed_escalation_leaves_the_cheap_answer_with_its_doubt(tmp_path: Path, small: Script, large: Script):
    small.reply, large.statuses = WRONG, [500, 500]
    with tiers(tmp_path, small, large) as given:
        asked = ask(given, stream=True)
    assert (asked.reply.text, asked.reply.meta["tier"], asked.streamed) == (WRONG, "small", [WRONG])
    assert "the number 30" in asked.reply.meta["doubt"] and "large failed" in asked.reply.meta["route_reason"]


def test_a_failed_endpoint_hands_the_question_on_by_policy(tmp_path: Path, small: Script, large: Script):
    small.statuses = [500, 500]
    with tiers(tmp_path, small, large) as given:
        asked = ask(given)
    assert (asked.reply.text, asked.reply.meta["tier"]) == (BETTER, "large")
    assert "small failed" in asked.reply.meta["route_reason"]
    small.statuses = [500, 500]
    with tiers(tmp_path, small, large, fallback="down") as given:
        asked = ask(given)
    assert (asked.reply.meta["tier"], asked.reply.text) == ("extractive", PERMIT)
    small.statuses = [500]
    with tiers(tmp_path, small, large, fallback="none") as given, pytest.raises(GenerationError, match="HTTP 500"):
        ask(given)


def test_a_cheap_stream_is_held_until_it_is_checked_and_the_last_one_comes_live(
    tmp_path: Path, small: Script, large: Script
):
    with tiers(tmp_path, small, large) as given:
        assert ask(given, stream=True).streamed == [GOOD]
        small.reply = WRONG
        streamed = ask(given, stream=True).streamed
        assert len(streamed) > 2 and "".join(streamed).strip() == BETTER
    with tiers(tmp_path, small, large, stream_unchecked=True) as given:
        streamed = ask(given, stream=True).streamed
        assert len(streamed) > 2 and "".join(streamed).strip() == WRONG


def test_other_forms_of_citations_are_good_answers_and_shown_plain(tmp_path: Path, small: Script, large: Script):
    small.reply = written = "The veterinary office issues it 【1†source】 (document 1)."
    plain = "The veterinary office issues it [1] [1]."
    with tiers(tmp_path, small, large) as given:
        asked = ask(given, stream=True)
        assert (asked.reply.meta["tier"], asked.streamed, len(large.requests)) == ("small", [plain], 0)
        small.reply = "The veterinary office issues it [1, 9]."
        assert "cites [9]" in ask(given).reply.meta["route_reason"]
    with tiers(tmp_path / "one", small) as given:
        small.reply = written
        streamed = ask(given, stream=True).streamed
        assert len(streamed) > 2 and "".join(streamed).strip() == plain
    with tiers(tmp_path / "json", small) as given:
        small.reply = "[1, 2]"
        assert "".join(ask(given, stream=True, answer_format="json").streamed).strip() == small.reply


def test_a_stream_that_breaks_off_after_it_was_heard_is_an_error(tmp_path: Path, small: Script, large: Script):
    small.reply, large.cut_after = WRONG, 2
    with tiers(tmp_path, small, large) as given, pytest.raises(GenerationError, match="on the bill"):
        ask(given, stream=True)


def test_a_model_whose_window_is_too_small_is_passed_over(tmp_path: Path, small: Script, large: Script):
    with tiers(tmp_path, small, large, models={"context_tokens": 100, "max_output_tokens": 90}) as given:
        with pytest.raises(GenerationError, match="fits into no model"):
            ask(given)
        wide = given.settings.generation.models[1].model_copy(update={"context_tokens": 10_000})
        narrow = given.settings.generation.models[0]
        changed = given.settings.generation.model_copy(update={"models": [narrow, wide]})
        object.__setattr__(given, "settings", given.settings.model_copy(update={"generation": changed}))
        asked = ask(given)
    assert asked.reply.meta["tier"] == "large" and "small was passed over" in asked.reply.meta["route_reason"]
    assert window_problem(narrow, 11) and window_problem(wide, 10) is None


def test_a_model_that_was_unsure_of_its_words_is_escalated(tmp_path: Path, small: Script, large: Script):
    small.logprobs = [-0.1, -3.9]
    with tiers(tmp_path, small, large) as given:
        assert ask(given).reply.meta["tier"] == "small"
        assert "logprobs" not in small.requests[0]
    with tiers(tmp_path, small, large, models={"logprobs": True}) as given:
        asked = ask(given)
        assert asked.reply.meta["tier"] == "large" and "-2.00, below -1.00" in asked.reply.meta["route_reason"]
        small.logprobs = [-0.1, -0.2]
        assert ask(given).reply.meta["tier"] == "small"


def test_an_answer_that_is_cut_or_no_json_is_escalated(tmp_path: Path, small: Script, large: Script):
    small.finish_reason = "length"
    with tiers(tmp_path, small, large) as given:
        assert "cut at the token limit" in ask(given).reply.meta["route_reason"]
        small.finish_reason = "stop"
        assert "no JSON" in ask(given, answer_format="json").reply.meta["route_reason"]
        small.reply = '```json\n{"who": "the office"}\n```'
        assert ask(given, answer_format="json").reply.meta["tier"] == "small"
    with pytest.raises(ValueError, match="answer_format"):
        AnswerGenerator("xml")


def test_a_hard_question_begins_with_the_strongest_and_a_wish_moves_the_threshold(
    tmp_path: Path, small: Script, large: Script
):
    hard = "Compute why 3 + 4 permits are more than 5?"
    with tiers(tmp_path, small, large) as given:

        def tier(question: str, quality: str = "balanced") -> str:
            return ask(given, question, request=Request(given.default_scope, quality=quality)).reply.meta["tier"]

        assert tier(hard) == "large" and small.requests == []
        assert (tier("Why is it so?"), tier("Why is it so?", "maximum")) == ("small", "large")
        assert tier("Compare both, and why?", "minimum") == "small"
    with tiers(tmp_path, small, large, router="never") as given:
        assert ask(given, hard).reply.meta["tier"] == "small"


@pytest.mark.parametrize("settings", [{}, {"stream_unchecked": True}])
def test_a_stream_has_no_mark_that_points_to_no_passage(tmp_path: Path, small: Script, large: Script, settings: dict):
    small.reply = large.reply = "The veterinary office issues it [1] [9]."
    for models in ([small], [small, large]):
        with tiers(tmp_path / str(len(models)), *models, **settings) as given:
            assert "".join(ask(given, stream=True).streamed).strip() == "The veterinary office issues it [1]."


def test_who_wishes_the_maximum_gets_the_strongest_model(tmp_path: Path, small: Script, large: Script):
    with tiers(tmp_path, small, large) as given:
        asked = ask(given, request=Request(given.default_scope, quality="maximum"))
        assert (asked.reply.meta["tier"], small.requests) == ("large", [])
        assert asked.reply.meta["route_reason"] == "the strongest model is asked first (quality maximum)"


def test_of_three_tiers_the_one_in_the_middle_can_be_the_first(tmp_path: Path, small: Script, large: Script):
    from ragsaver.eval.route import train_route
    from tests.eval.test_route import KINDS, three_models, write

    medium = Script(reply="The veterinary office issues permits [1].")
    with tiers(tmp_path, small, medium, large) as given:
        asked = ask(given, "Why is it so?")
        assert asked.lines("route") == [("medium: model-1", asked.reply.meta["route_reason"])]
        assert "1 of 2 signs of a hard question: it asks why; so medium" in asked.reply.meta["route_reason"]
    model, _ = train_route(write(tmp_path, three_models(300)), Settings(), lambda done, of: None, min_quality=0.93)
    file = tmp_path / "router.json"
    file.write_text(model.model_dump_json())
    with tiers(tmp_path, small, medium, large, router=str(file)) as given:
        found = [ask(given, query.format(n=777)).reply.meta["tier"] for query in KINDS]
    assert found == ["small", "medium", "large"]


def test_a_trained_router_takes_the_embedding_that_retrieval_paid_for(
    tmp_path: Path, small: Script, large: Script, monkeypatch: pytest.MonkeyPatch
):
    from ragsaver.eval.route import train_route
    from tests.eval.test_route import rows, write

    model, _ = train_route(write(tmp_path, rows(200)), Settings(), lambda done, of: None)
    file = tmp_path / "router.json"
    file.write_text(model.model_dump_json())
    with tiers(tmp_path, small, large, router=str(file)) as given:
        questions = {"Solve 12x - 9 = z^4": "large", "Who feeds the grey parrots?": "small"}
        vectors = dict(zip(questions, given.encoder.encode(list(questions), query=True), strict=True))
        for question, tier in questions.items():
            assert ask(given, question).reply.meta["tier"] == tier  # nobody embedded it: the router does

        tell_runs(lambda texts, _: pytest.fail(f"embedded again: {texts}"), monkeypatch.setattr)
        for question, tier in questions.items():
            with gathering(Evidence()) as evidence:
                evidence.vectors.update(vectors)
                asked = ask(given, question)
            assert (
                asked.reply.meta["tier"] == tier and "that a model will do: small" in asked.reply.meta["route_reason"]
            )
    file.write_text("{}")
    with tiers(tmp_path, small, large, router=str(file)) as given, pytest.raises(SettingsError, match="is no router"):
        ask(given)


def test_no_more_calls_are_made_at_a_time_than_the_settings_allow(tmp_path: Path, small: Script):
    with tiers(tmp_path, small, models={"concurrency": 2}) as given:
        generator = AnswerGenerator()
        generator.bind(given)

        async def many() -> None:
            await asyncio.gather(*(generator.run_async(QUESTION, PASSAGES, MESSAGES) for _ in range(12)))

        asyncio.run(many())
    assert len(small.requests) == 12 and small.most_at_once <= 2


def test_the_free_tier_answers_where_there_is_no_model_no_passage_or_no_doubt():
    sure = Extract("It is.", 0, 0.6, "a passage answers it with confidence 0.97", 0.97)

    def why(found: Extract = sure, passages: int = 1, models: int = 1, first: bool = True) -> str | None:
        return free_choice(found, passages=passages, models=models, extractive_first=first, sure_from=0.95)

    assert "no language model" in why(models=0) and "no passage" in why(passages=0) and "0.97" in why()
    assert (
        why(first=False) is None
        and why(Extract("It is.", 0, 0.99, "", 0.9)) is None
        and why(Extract(None, 0, 1, "")) is None
    )


def test_tiers_have_names_of_their_own():
    def names(*given: str | None) -> tuple[str, ...]:
        return GenerationSettings(models=[ModelSettings(name="m", tier=one) for one in given]).tier_names

    assert (names(None), names(None, None)) == (("small",), ("small", "large"))
    assert names(None, None, None) == ("small", "medium", "large")
    assert names(None, "mine", None, None) == ("small", "mine", "medium-2", "large")
    for wrong in (("large", None), ("extractive",)):
        with pytest.raises(ValueError, match="same name"):
            names(*wrong)
