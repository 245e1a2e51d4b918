"""An answer that was paid for is given again while all that it was made from stands, and to nobody who may not read it."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from ragsaver.components.request import Request
from ragsaver.errors import GenerationError, SettingsError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.selection import DocumentSelection
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.models.registry import bundled_folder
from ragsaver.pipelines.result import AskResult
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import (
    CacheSettings,
    ContextSettings,
    GenerationSettings,
    ModelSettings,
    PriceSettings,
    Settings,
    SpendSettings,
)
from tests.model_runs import tell_runs
from tests.openai_server import Script, openai_server
from tests.redis_server import redis_server

PARROTS = "Who issues the export permit for parrots?"
OWLS = "When do owls hunt for voles in the meadow?"
TEXTS = {
    "parrots.md": "# Parrots\n\nThe export permit for parrots is issued by the veterinary office.",
    "owls.md": "# Owls\n\nOwls hunt for voles in the meadow at night when it is calm.",
}


@pytest.fixture
def script() -> Script:
    return Script(reply="It is so [1].")


@pytest.fixture
def settings(tmp_path: Path, script: Script) -> Iterator[Settings]:
    with openai_server(script) as url:
        yield Settings(
            home=tmp_path / "home",
            pipelines_dir=tmp_path / "pipelines",
            context=ContextSettings(budget_tokens=22),  # one sentence: an answer is made from one document
            generation=GenerationSettings(
                extractive_first=False, models=[ModelSettings(name="tiny", base_url=url, max_retries=0)]
            ),
            spend=SpendSettings(prices={"tiny": PriceSettings(input_per_mtok=Decimal(1), output_per_mtok=Decimal(10))}),
        )


@pytest.fixture
def filled(settings: Settings) -> Iterator[Runtime]:
    with open_runtime(settings, "a test") as runtime:
        for source, text in TEXTS.items():
            put(runtime, source, text)
        yield runtime


def put(runtime: Runtime, source: str, text: str, **metadata: object) -> None:
    report = runtime.ingestor.ingest_texts([PostedDocument(source, text, metadata=metadata)], runtime.scope())
    assert not report.errors


def ask(runtime: Runtime, question: str, *groups: str, **wishes: object) -> AskResult:
    scope = Scope(runtime.settings.tenant, runtime.settings.collection, frozenset(groups))
    return runtime.engine().ask(question, Request(scope, **wishes))


def cached(result: AskResult) -> bool:
    return result.route.cache == "hit"


def test_the_same_question_is_paid_for_once_and_the_receipt_says_what_that_saved(filled: Runtime, script: Script):
    first = ask(filled, PARROTS)
    again = ask(filled, " who issues the export  permit for parrots ")
    assert (first.route.cache, again.route.cache, len(script.requests)) == ("miss", "hit", 1)
    assert (again.answer, again.citations, again.route.tier) == (first.answer, first.citations, first.route.tier)
    assert again.route.reason.startswith("cached answer")
    assert again.request_id != first.request_id
    spent, saved = first.receipt, again.receipt
    assert spent.cost_usd > 0 and saved.cost_usd == 0 and saved.tokens.input == saved.tokens.output == 0
    assert saved.baseline_usd == spent.baseline_usd == saved.saved_usd
    (line,) = [line for line in saved.lines if line.stage == "cache"]
    assert line.saved_usd == spent.cost_usd
    assert sum(line.saved_usd for line in saved.lines) == saved.saved_usd
    assert filled.resources.caches.tally.saved_usd == spent.cost_usd


def test_an_edit_removes_exactly_the_answers_that_used_the_document(filled: Runtime):
    ask(filled, PARROTS), ask(filled, OWLS)
    assert cached(ask(filled, PARROTS)) and cached(ask(filled, OWLS))
    put(filled, "parrots.md", TEXTS["parrots.md"].replace("veterinary", "customs"))
    fresh = ask(filled, PARROTS)
    assert not cached(fresh) and "customs" in fresh.citations[0].quote
    assert cached(ask(filled, OWLS))
    assert cached(ask(filled, PARROTS))


def test_an_edit_elsewhere_in_the_document_counts_too(filled: Runtime):
    long = "\n\n".join(f"## Part {n}\n\n" + f"Sentence number {n} says something of its own. " * 12 for n in range(6))
    put(filled, "parrots.md", f"{TEXTS['parrots.md']}\n\n{long}")
    ask(filled, PARROTS)
    assert cached(ask(filled, PARROTS))
    put(filled, "parrots.md", f"{TEXTS['parrots.md']}\n\n{long}\n\n## Since then\n\nThe above holds no longer.")
    assert not cached(ask(filled, PARROTS))


def test_what_is_deleted_or_renamed_answers_nothing(filled: Runtime):
    ask(filled, PARROTS)
    filled.lifecycle.delete(DocumentSelection(source="parrots.md"), filled.scope())
    put(filled, "birds.md", TEXTS["parrots.md"])
    fresh = ask(filled, PARROTS)
    assert not cached(fresh) and fresh.citations[0].source == "birds.md"


def test_a_version_that_comes_back_brings_its_answers_back(filled: Runtime, script: Script):
    ask(filled, PARROTS)
    put(filled, "parrots.md", TEXTS["parrots.md"].replace("veterinary", "customs"))
    put(filled, "parrots.md", TEXTS["parrots.md"])
    assert cached(ask(filled, PARROTS)) and len(script.requests) == 1


def test_who_loses_the_right_to_read_a_document_loses_the_answer(filled: Runtime):
    put(filled, "parrots.md", TEXTS["parrots.md"], groups=["vets", "customs"])
    ask(filled, PARROTS, "vets")
    assert cached(ask(filled, PARROTS, "vets"))
    stranger = ask(filled, PARROTS, "sales")
    assert not cached(stranger) and not any(one.source == "parrots.md" for one in stranger.citations)
    put(filled, "parrots.md", TEXTS["parrots.md"], groups=["customs"])
    after = ask(filled, PARROTS, "vets")
    assert not cached(after) and not any(one.source == "parrots.md" for one in after.citations)


def test_an_answer_outlives_additions_unless_that_is_unwanted(filled: Runtime, settings: Settings):
    ask(filled, PARROTS)
    put(filled, "new.md", "# New\n\nSomething that was not there before.")
    assert cached(ask(filled, PARROTS))
    filled.close()
    strict = settings.model_copy(update={"cache": CacheSettings(outlive_additions=False), "home": settings.home / "b"})
    filled.ownership.release()
    with open_runtime(strict, "a test") as runtime:
        put(runtime, "parrots.md", TEXTS["parrots.md"])
        ask(runtime, PARROTS)
        assert cached(ask(runtime, PARROTS))
        put(runtime, "new.md", "# New\n\nSomething that was not there before.")
        assert not cached(ask(runtime, PARROTS))


def test_that_there_is_no_answer_falls_with_any_change_of_the_collection(filled: Runtime, script: Script):
    script.reply = "The documents do not answer this question."
    question = "Who paints the lighthouse?"
    assert ask(filled, question).answer is None
    assert cached(ask(filled, question)) and ask(filled, question).answer is None
    put(filled, "lighthouse.md", "# Lighthouse\n\nThe lighthouse is painted by its keeper.")
    script.reply = "Its keeper does [1]."
    assert ask(filled, question).answer == "Its keeper does [1]."


def test_a_failure_is_not_kept(filled: Runtime, script: Script):
    script.statuses = [500]
    with pytest.raises(GenerationError):
        ask(filled, PARROTS)
    assert not cached(ask(filled, PARROTS)) and cached(ask(filled, PARROTS))


def test_a_question_may_want_a_fresh_answer_or_none_that_is_kept(filled: Runtime, script: Script):
    ask(filled, PARROTS)
    script.reply = "Now it is so [1]."
    assert ask(filled, PARROTS, caching="off").route.cache is None
    assert ask(filled, PARROTS).answer == "It is so [1]."
    assert ask(filled, PARROTS, caching="refresh").answer == "Now it is so [1]."
    assert ask(filled, PARROTS).answer == "Now it is so [1]."
    assert len(script.requests) == 3
    assert not cached(ask(filled, PARROTS, quality="maximum"))


def test_another_pipeline_and_other_settings_have_other_answers(filled: Runtime, settings: Settings, script: Script):
    ask(filled, PARROTS)
    scope = Request(Scope("default", "default", frozenset()))
    assert not cached(filled.engine("reranked").ask(PARROTS, scope))
    filled.close()
    filled.ownership.release()
    colder = settings.generation.models[0].model_copy(update={"temperature": 0.0})
    changed = settings.model_copy(update={"generation": GenerationSettings(extractive_first=False, models=[colder])})
    with open_runtime(changed, "a test") as runtime:
        assert not cached(ask(runtime, PARROTS))
    with open_runtime(settings, "a test") as runtime:
        assert cached(ask(runtime, PARROTS))  # it was kept in the file


def test_pipelines_with_foreign_components_are_not_cached_unless_they_say_so(filled: Runtime):
    folder = filled.settings.pipelines_dir
    folder.mkdir()
    shipped = (Path(__file__).parents[2] / "ragsaver/pipelines/query.yaml").read_text()
    foreign = shipped.replace(
        "  generator: #",
        "  joiner:\n    type: haystack.components.joiners.document_joiner.DocumentJoiner\n"
        "    init_parameters: {}\n  generator: #",
    ).replace(
        "sender: retriever.documents, receiver: packer.documents",
        "sender: retriever.documents, receiver: joiner.documents",
    )
    foreign = foreign.replace(
        "connections:\n", "connections:\n  - {sender: joiner.documents, receiver: packer.documents}\n"
    )
    (folder / "foreign.yaml").write_text(foreign)
    (folder / "known.yaml").write_text(foreign.replace("metadata: {}", "metadata: {cacheable: true}"))
    request = Request(Scope("default", "default", frozenset()))
    assert [filled.engine("foreign").ask(PARROTS, request).route.cache for _ in range(2)] == [None, None]
    assert [filled.engine("known").ask(PARROTS, request).route.cache for _ in range(2)] == ["miss", "hit"]


def test_of_many_who_ask_at_once_one_is_answered_and_the_rest_wait(filled: Runtime, script: Script):
    script.hold = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, filled, PARROTS) for _ in range(8)]
        while filled.resources.caches.tally.counts().get(("answer", "waits"), 0) < 7:
            threading.Event().wait(0.01)
        script.hold.set()
        results = [one.result() for one in asked]
    assert len(script.requests) == 1
    assert sorted(str(result.route.cache) for result in results) == ["hit"] * 7 + ["miss"]
    assert len({result.request_id for result in results}) == 8


def test_if_the_first_one_fails_the_next_one_tries(filled: Runtime, script: Script):
    script.hold, script.statuses = threading.Event(), [500]
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, filled, PARROTS) for _ in range(4)]
        while filled.resources.caches.tally.counts().get(("answer", "waits"), 0) < 3:
            threading.Event().wait(0.01)
        script.hold.set()
        failed = [one.exception() for one in asked if one.exception()]
    assert len(failed) == 1 and len(script.requests) == 2
    assert sum(cached(one.result()) for one in asked if not one.exception()) == 2


def test_who_waits_too_long_is_answered_beside(filled: Runtime, settings: Settings, script: Script):
    filled.close()
    filled.ownership.release()
    impatient = settings.model_copy(update={"cache": CacheSettings(backend="memory", wait_s=0.05)})
    script.hold = threading.Event()
    with open_runtime(impatient, "a test") as runtime, ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask, runtime, PARROTS) for _ in range(2)]
        while script.at_once < 2:
            threading.Event().wait(0.01)
        script.hold.set()
        assert [one.result().answer for one in asked] == ["It is so [1]."] * 2


def test_an_edit_while_the_model_answers_leaves_nothing_stale(filled: Runtime, script: Script):
    script.hold = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, filled, PARROTS)
        while script.at_once < 1:
            threading.Event().wait(0.01)
        put(filled, "parrots.md", TEXTS["parrots.md"].replace("veterinary", "customs"))
        script.hold.set()
        assert "veterinary" in asked.result().citations[0].quote
    fresh = ask(filled, PARROTS)
    assert not cached(fresh) and "customs" in fresh.citations[0].quote


@pytest.mark.parametrize("between", [Step.COMMITTED, Step.REWRITTEN, Step.SWAPPED])
@pytest.mark.parametrize("change", ["text", "groups"])
def test_an_answer_made_while_a_change_goes_on_never_outlives_it(filled: Runtime, between: Step, change: str):
    """Asked between two steps of the change: the manifest knows of it already, the index perhaps not."""
    put(filled, "parrots.md", TEXTS["parrots.md"], groups=["vets", "customs"])
    during: list[AskResult] = []

    def fault(step: Step) -> None:
        if step is between:
            during.append(ask(filled, PARROTS, "vets"))

    ask(filled, PARROTS, "vets")
    applier = filled.ingestor._applier
    applier._fault = fault
    if change == "text":
        put(filled, "parrots.md", TEXTS["parrots.md"].replace("veterinary", "customs"), groups=["vets"])
    else:
        put(filled, "parrots.md", TEXTS["parrots.md"], groups=["customs"])
    applier._fault = lambda step: None
    assert during and not cached(during[0])
    after = ask(filled, PARROTS, "vets")
    sources = {citation.source for citation in after.citations}
    if change == "text":
        assert "customs" in after.citations[0].quote
    else:
        assert "parrots.md" not in sources


def streamed(runtime: Runtime, question: str) -> list[str | AskResult]:
    async def collect() -> list[str | AskResult]:
        scope = Scope(runtime.settings.tenant, runtime.settings.collection, frozenset())
        return [part async for part in runtime.engine().stream(question, Request(scope))]

    return asyncio.run(collect())


def test_a_stream_is_kept_when_it_is_complete_and_given_again_as_a_stream(filled: Runtime, script: Script):
    *deltas, first = streamed(filled, PARROTS)
    assert "".join(deltas).strip() == first.answer and not cached(first)
    *again, second = streamed(filled, PARROTS)
    assert (again, cached(second), len(script.requests)) == ([first.answer], True, 1)
    assert cached(ask(filled, PARROTS))


def test_a_stream_that_is_cut_or_left_is_not_kept(filled: Runtime, script: Script):
    script.cut_after = 2
    with pytest.raises(GenerationError):
        streamed(filled, PARROTS)
    script.cut_after = None

    async def leave() -> None:
        stream = filled.engine().stream(PARROTS, Request(Scope("default", "default", frozenset())))
        async for _ in stream:
            break
        await stream.aclose()

    asyncio.run(leave())
    assert not cached(ask(filled, PARROTS))


def test_tasks_of_one_loop_wait_for_each_other(filled: Runtime, script: Script):
    async def all_at_once() -> list[AskResult]:
        engine, scope = filled.engine(), Scope("default", "default", frozenset())
        return await asyncio.gather(*(engine.ask_async(PARROTS, Request(scope)) for _ in range(5)))

    results = asyncio.run(all_at_once())
    assert sum(cached(result) for result in results) == 4 and len(script.requests) == 1


def test_what_a_question_found_is_found_again_until_the_collection_changes(filled: Runtime):
    request = Request(Scope("default", "default", frozenset()))
    engine = filled.engine()
    first = engine.search(PARROTS, request)
    again = engine.search(PARROTS, request)
    assert again.passages == first.passages
    assert "found before" in again.receipt.lines[0].reason and "found before" not in first.receipt.lines[0].reason
    put(filled, "new.md", "# New\n\nWho issues the export permit for parrots is told here.")
    assert any(one.source == "new.md" for one in engine.search(PARROTS, request).passages)
    elsewhere = engine.search(PARROTS, Request(Scope("rival", "default", frozenset())))
    assert elsewhere.passages == ()
    assert ("embedding", "hits") in filled.resources.caches.tally.counts()


def test_what_is_answered_from_the_cache_counts_as_a_use_of_its_documents(filled: Runtime):
    ask(filled, PARROTS)
    filled.resources.uses._hand_over()
    before = filled.manifest.uses.of(filled.scope())
    assert cached(ask(filled, PARROTS))
    filled.resources.uses._hand_over()
    after = filled.manifest.uses.of(filled.scope())
    (used,) = [one for one in before if after[one] > before[one]]
    assert used == filled.manifest.document(filled.scope(), "parrots.md").id


def test_a_question_in_other_words_is_answered_if_that_is_wanted(filled: Runtime, settings: Settings, script: Script):
    filled.close()
    filled.ownership.release()
    wanted = settings.model_copy(update={"cache": CacheSettings(answers="semantic")})
    with open_runtime(wanted, "a test") as runtime:
        first = ask(runtime, "How can I get the export permit for parrots?")
        again = ask(runtime, "How do I get the export permit for parrots?")
        assert (again.route.cache, again.answer, again.citations) == ("semantic", first.answer, first.citations)
        assert again.receipt.cost_usd == 0 and again.receipt.saved_usd == first.receipt.baseline_usd
        for other in ("How do I not get the export permit for parrots?", "How do I get 2 export permits for parrots?"):
            assert ask(runtime, other).route.cache == "miss"
        stranger = Request(Scope("default", "default", frozenset({"x"})))
        assert runtime.engine().ask("How do I get the export permit for parrots?", stranger).route.cache == "miss"
        put(runtime, "parrots.md", TEXTS["parrots.md"].replace("veterinary", "customs"))
        assert ask(runtime, "How might I get the export permit for parrots?").route.cache == "miss"


HOW_CAN = "How can I get the export permit for parrots?"
HOW_DO = "How do I get the export permit for parrots?"


@contextmanager
def opened_anew(settings: Settings, **cache: object) -> Iterator[Runtime]:
    with open_runtime(
        settings.model_copy(update={"cache": CacheSettings(answers="semantic", **cache)}), "a test"
    ) as it:
        yield it


@contextmanager
def beside(runtime: Runtime) -> Iterator[Runtime]:
    """As another process of the same fleet has it: its own caches on the same store."""
    resources = replace(runtime.resources)
    resources.caches.hold_against(runtime.resources.caches.truth)
    try:
        yield Runtime(resources)
    finally:
        resources.caches.close()
        resources.till.close()


@pytest.fixture(params=["sqlite", "redis"])
def shared(request: pytest.FixtureRequest, filled: Runtime, settings: Settings, tmp_path: Path):
    """Settings of caches that outlive a process; the documents are in."""
    filled.close()
    filled.ownership.release()
    with redis_server(tmp_path) if request.param == "redis" else nullcontext() as url:
        yield {"backend": request.param, "redis_url": url}


def test_a_question_in_other_words_is_answered_after_a_restart_and_by_another_process(
    shared: dict[str, object], settings: Settings, script: Script
):
    with opened_anew(settings, **shared) as runtime:
        first = ask(runtime, HOW_CAN)
    with opened_anew(settings, **shared) as runtime, beside(runtime) as other:
        for one in (runtime, other):
            again = ask(one, HOW_DO)
            assert (again.route.cache, again.answer, again.citations) == ("semantic", first.answer, first.citations)
            stranger = Request(Scope("default", "default", frozenset({"x"})))
            assert one.engine().ask(HOW_DO, stranger).route.cache != "semantic"
    assert len(script.requests) == 2


@pytest.mark.parametrize("change", ["an edit", "other groups", "cleared"])
def test_what_falls_answers_no_process_s_questions_in_other_words(
    shared: dict[str, object], settings: Settings, change: str
):
    with opened_anew(settings, **shared) as runtime, beside(runtime) as other:
        ask(runtime, HOW_CAN)
        assert ask(other, HOW_DO).route.cache == "semantic"
        if change == "an edit":
            put(runtime, "parrots.md", TEXTS["parrots.md"].replace("veterinary", "customs"))
        elif change == "other groups":
            put(runtime, "parrots.md", TEXTS["parrots.md"], groups=["x"])
        else:
            runtime.resources.caches.answers.clear("default")
        assert ask(other, HOW_DO).route.cache == "miss"


def test_a_damaged_entry_is_no_answer_and_is_made_anew(filled: Runtime, settings: Settings):
    filled.close()
    filled.ownership.release()
    with opened_anew(settings) as runtime:
        first = ask(runtime, HOW_CAN)
        for damage in (b"", b"{", b'{"format": 1}', b"[1]", b"\xff"):
            damaged = sqlite3.connect(settings.home / "answers.sqlite", isolation_level=None)
            with closing(damaged) as direct:
                direct.execute("UPDATE entries SET value = ?", (damage,))
            with beside(runtime) as other:
                made = ask(other, HOW_CAN)
                assert (made.route.cache, made.answer) == ("miss", first.answer)
                assert ask(other, HOW_CAN).route.cache == "hit"


def test_a_question_that_its_entry_does_not_answer_is_not_taken_for_it(filled: Runtime, settings: Settings):
    filled.close()
    filled.ownership.release()
    with opened_anew(settings) as runtime:
        ask(runtime, HOW_CAN)
        with closing(sqlite3.connect(settings.home / "answers.sqlite", isolation_level=None)) as direct:
            (vector,) = direct.execute("SELECT vector FROM questions").fetchone()
            direct.execute("UPDATE questions SET question = ?, vector = ?", (b"How can I get it?", vector))
        with beside(runtime) as other:
            assert ask(other, "How do I get it?").route.cache == "miss"


@contextmanager
def without_kept_vectors(filled: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch, answers: str, **more):
    """The runtime opened anew, and the questions that its model embeds."""
    filled.close()
    filled.ownership.release()
    wanted = settings.model_copy(update={"cache": CacheSettings(answers=answers, embeddings=False), **more})
    with open_runtime(wanted, "a test") as runtime:
        embedded: list[str] = []
        tell_runs(lambda texts, _: embedded.extend(texts), monkeypatch.setattr)
        yield runtime, embedded


def test_a_question_s_vector_is_made_once(filled: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    with without_kept_vectors(filled, settings, monkeypatch, "semantic") as (runtime, embedded):
        ask(runtime, PARROTS)
        assert embedded == [PARROTS]


def test_what_is_found_again_needs_no_vector(filled: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    by_words = ContextSettings(match="words")
    with without_kept_vectors(filled, settings, monkeypatch, "off", context=by_words) as (runtime, embedded):
        first, again = ask(runtime, PARROTS), ask(runtime, PARROTS)
        assert again.citations == first.citations and "found before" in again.receipt.lines[0].reason
        assert embedded == [PARROTS]
        put(runtime, "new.md", "# New\n\nWho issues the export permit for parrots is told here.")
        embedded.clear()
        ask(runtime, PARROTS)
        ask(runtime, PARROTS, caching="refresh")
        assert embedded == [PARROTS, PARROTS]


def test_another_model_s_vectors_are_not_judged_by_a_rule_for_the_bundled_one(tmp_path: Path):
    values = {"home": tmp_path / "home", "embedding": {"model": str(bundled_folder())}}
    semantic, exact = (Settings.model_validate({**values, "cache": {"answers": how}}) for how in ("semantic", "exact"))
    refused = pytest.raises(SettingsError, match="cache.answers.*bundled embedding model.*`exact`")
    with open_runtime(semantic, "a test") as runtime, refused:
        runtime.engine()
    with open_runtime(exact, "a test") as runtime:
        assert runtime.engine().ask(OWLS).answer is None
