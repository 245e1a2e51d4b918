"""A cache that hits is sooner: so who ingests or asks does the same work, whatever strangers have in.

Work is counted, not timed: runs of the models and what of the caches was looked up and found.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from haystack import Document

from ragsaver.caching.agreement import bundled_agreement, taken_apart
from ragsaver.caching.opening import open_embedding_cache
from ragsaver.caching.summaries import SummaryCache
from ragsaver.components import answer_kind, packer, sentence_worth
from ragsaver.components.conversation import Condenser
from ragsaver.components.deduplicator import shingles
from ragsaver.components.passage_sentences import sentences
from ragsaver.components.request import Request, running
from ragsaver.components.token_counts import CountedPassages, CountedTexts
from ragsaver.errors import UsageError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.job_report import State
from ragsaver.ingestion.outlining import outline_report
from ragsaver.ingestion.selection import DocumentSelection
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.ingestion.tombstones import Tombstone
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import AccessRule, DatabaseSettings, EmbeddingCacheSettings, Settings
from tests.ingestion.bench import Bench, CountingSummariser
from tests.model_runs import tell_runs
from tests.redis_server import RedisServer, redis_server
from tests.workers.test_stages import Line

MINE, THEIRS = Scope("acme", "docs"), Scope("rival", "docs")
NOBODY, HR = replace(MINE, groups=frozenset()), replace(MINE, groups=frozenset({"hr"}))

SECRET = "# Pay\n\n" + "The pay of every zebra is a secret of the house. " * 5
COMMON = "# Owls\n\n" + "Owls hunt voles at night, and the voles know it. " * 5


def posted(*texts: str, **metadata: Any) -> list[PostedDocument]:
    return [PostedDocument(f"{n}.md", text, "markdown", metadata) for n, text in enumerate(texts)]


@dataclass
class Work:
    """What was done, in order."""

    done: list[tuple[str, Any, Any]] = field(default_factory=list)

    def watch(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        """Write down what a cache is asked, and what of it is there."""
        real = getattr(owner, name)

        def watched(cache: Any, partition: str, asked: Any, *more: Any) -> Any:
            found = real(cache, partition, asked, *more)
            self.done.append((f"{owner.__name__}.{name}", sorted(asked), sorted(found or ())))
            return found

        monkeypatch.setattr(owner, name, watched)


@contextmanager
def world(folder: Path, backend: str, *, shared: bool = False) -> Iterator[Bench]:
    """An index, manifest and caches that nobody has used; sections are summarised."""
    folder.mkdir()
    with ExitStack() as running:
        wanted: dict[str, Any] = {"backend": backend, "shared_by_tenants": shared}
        if backend == "redis":
            wanted["redis_url"] = running.enter_context(redis_server(folder))
        cached = EmbeddingCacheSettings.model_validate(wanted)
        outline = {"summary_model": "tiny", "summary_min_words": 20}
        models = {"models": [{"name": "tiny"}]}
        bench = Bench(folder, embedding_cache=wanted, outline=outline, generation=models)
        running.callback(bench.close)
        bench.cache.close()
        bench.cache = open_embedding_cache(folder, cached)
        bench.summarise_by(CountingSummariser())
        yield bench


def ingested(bench: Bench, scope: Scope, documents: Sequence[PostedDocument], monkeypatch: pytest.MonkeyPatch) -> Any:
    """All the work that an ingestion is."""
    work = Work()
    with monkeypatch.context() as watching:
        for name in ("get", "holds", "put"):
            work.watch(watching, type(bench.cache), name)
            work.watch(watching, SummaryCache, name)
        before = len(bench.encoder.paid), len(bench.summaries._summariser.paid)
        report = bench.ingestor().ingest_texts(documents, scope)
    assert report.documents.failed == 0
    return {
        "embedded": bench.encoder.paid[before[0] :],
        "summarised": sorted(bench.summaries._summariser.paid[before[1] :]),
        "lookups": work.done,
        "told": report.model_dump(exclude={"seconds"}),
    }


@pytest.mark.parametrize("backend", ["sqlite", "redis"])
def test_what_another_tenant_has_in_changes_no_work(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mine = posted(COMMON, SECRET)
    with world(tmp_path / "alone", backend) as bench:
        alone = ingested(bench, MINE, mine, monkeypatch)
    assert alone["embedded"] and alone["summarised"] and alone["lookups"]
    assert not any(found for name, _, found in alone["lookups"] if name.endswith((".get", ".holds")))
    with world(tmp_path / "beside", backend) as bench:
        ingested(bench, THEIRS, mine, monkeypatch)
        assert ingested(bench, MINE, mine, monkeypatch) == alone
        # A plan looks too: it must not know more.
        assert bench.ingestor().plan_items([one.item() for one in mine], Scope("third", "docs")).chunks.cached == 0
    with world(tmp_path / "shared", backend, shared=True) as bench:
        ingested(bench, THEIRS, mine, monkeypatch)
        assert ingested(bench, MINE, mine, monkeypatch)["embedded"] == []  # so the counting sees it


def test_a_tenant_s_summaries_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with world(tmp_path / "two", "sqlite") as bench:
        ingested(bench, THEIRS, posted(COMMON), monkeypatch)
        ingested(bench, MINE, posted(COMMON), monkeypatch)
        theirs, mine = (bench.manifest.outline(scope, "0.md") for scope in (THEIRS, MINE))
        assert theirs.lines[0].sentence == "It says 1." != mine.lines[0].sentence


def outlined(bench: Bench, scope: Scope, source: str) -> str:
    try:
        return outline_report(bench.manifest, scope, source, 0, bench.encoder.count_tokens).text
    except UsageError as error:
        return error.problem


def test_an_outline_is_shown_to_its_readers_and_is_not_there_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with world(tmp_path / "two", "sqlite") as bench:
        ingested(bench, MINE, posted(SECRET, groups=["hr"]), monkeypatch)
        assert "It says 1." in outlined(bench, HR, "0.md") == outlined(bench, MINE, "0.md")
        nothing = outlined(bench, MINE, "none.md")
        for stranger in (NOBODY, replace(MINE, groups=frozenset({"it", "HR"})), THEIRS):
            assert outlined(bench, stranger, "0.md") == nothing
        ingested(bench, MINE, posted(SECRET), monkeypatch)
        assert outlined(bench, NOBODY, "0.md") == outlined(bench, MINE, "0.md")


def seen(bench: Bench, scope: Scope) -> tuple[set[str], int]:
    legs = bench.index.search(scope, "zebra owls", bench.encoder.vectors(["x"])[0], 50)
    return {hit.payload["source"] for hit in (*legs.lexical, *legs.dense)}, bench.index.count(scope)


@pytest.mark.parametrize("backend", ["sqlite", "redis"])
def test_a_vector_from_the_cache_brings_no_reader_along(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with world(tmp_path / "one", backend) as bench:
        opened, closed = posted(COMMON, SECRET), posted(COMMON, SECRET, groups=["hr"])
        ingested(bench, MINE, opened, monkeypatch)
        assert seen(bench, NOBODY) == ({"0.md", "1.md"}, 2)
        for texts, public in ((closed, 0), (opened, 2), (closed, 0)):
            assert ingested(bench, MINE, texts, monkeypatch)["embedded"] == []
            assert seen(bench, NOBODY)[1] == public
            assert seen(bench, HR) == seen(bench, MINE) == ({"0.md", "1.md"}, 2)
        # Gone, and back from the cache under another name: its vectors are known, its readers are new.
        bench.ingestor().forget(MINE, lambda known: list(known.values()))
        again = [replace(one, source=f"again-{one.source}") for one in closed]
        assert ingested(bench, MINE, again, monkeypatch)["embedded"] == []
        assert seen(bench, NOBODY) == (set(), 0)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture
def line(tmp_path: Path, redis: RedisServer, database: DatabaseSettings) -> Iterator[Line]:
    made = Line(tmp_path, redis, database)
    yield made
    made.close()


def by_workers(line: Line, scope: Scope, documents: Sequence[PostedDocument]) -> list[str]:
    """The whole way by workers; the texts that were embedded for it."""
    before = len(line.bench.encoder.paid)
    job = line.queue.put_texts(documents, scope).job_id
    ids = [f"{job}-{n}" for n in range(len(documents))]
    line.convert(ids)
    line.embed(ids)
    line.drain()
    report = line.queue.report(job, scope.tenant)
    assert {one.state for one in report.progress} == {State.APPLIED}
    return line.bench.encoder.paid[before:]


def test_what_workers_bring_in_is_seen_by_whom_it_names(line: Line):
    bench = line.bench
    assert len(by_workers(line, MINE, posted(COMMON, SECRET, groups=["hr"]))) == 2
    assert seen(bench, NOBODY) == seen(bench, replace(MINE, groups=frozenset({"it"}))) == (set(), 0)
    assert seen(bench, HR) == ({"0.md", "1.md"}, 2)
    assert by_workers(line, MINE, posted(COMMON, SECRET)) == []
    assert seen(bench, NOBODY) == ({"0.md", "1.md"}, 2)
    assert by_workers(line, MINE, posted(COMMON, SECRET, groups=["it"])) == []
    assert seen(bench, HR) == (set(), 0)


def queued(line: Line, *rules: dict[str, Any]) -> list[str]:
    """A job of the files, given by who has these rules; its documents' ids."""
    sources = line.settings.sources.model_copy(update={"access": [AccessRule.model_validate(one) for one in rules]})
    line.queue._settings = line.settings.model_copy(update={"sources": sources})
    job = line.queue.put(line.bench.order(), MINE)
    return [f"{job.job_id}-{n}" for n in range(job.documents.seen)]


def moved_on(line: Line, ids: list[str]) -> list[str]:
    line.convert(ids)
    line.embed(ids)
    line.drain()
    return line.states(ids)


def test_workers_go_by_the_rules_of_who_queued_a_file(line: Line):
    bench = line.bench
    (bench.docs / "hr").mkdir()
    (bench.docs / "hr" / "pay.md").write_text(SECRET)
    hr = {"glob": "hr/", "groups": ["hr"]}
    assert moved_on(line, queued(line, hr)) == [State.APPLIED]
    assert seen(bench, NOBODY) == (set(), 0)
    assert seen(bench, HR) == ({"docs/hr/pay.md"}, 1)
    embedded = len(bench.encoder.paid)
    assert moved_on(line, queued(line, {**hr, "groups": ["it"]})) == [State.APPLIED]
    assert (seen(bench, NOBODY)[1], seen(bench, HR)[1]) == (0, 0)
    assert moved_on(line, queued(line)) == [State.APPLIED]
    assert seen(bench, NOBODY) == ({"docs/hr/pay.md"}, 1)
    assert len(bench.encoder.paid) == embedded


def test_a_job_that_waited_does_not_undo_later_rules(line: Line):
    bench = line.bench
    (bench.docs / "pay.md").write_text(SECRET)
    late = queued(line)
    sources = {"access": [{"glob": "pay.md", "groups": ["hr"]}]}
    ruled = Settings.model_validate({**bench.settings.model_dump(), "sources": sources})
    Ingestor(ruled, bench.index, bench.encoder, bench.manifest, bench.cache).ingest(bench.order(), MINE)
    assert seen(bench, NOBODY) == (set(), 0)
    assert moved_on(line, late) == [State.UNCHANGED]
    assert seen(bench, NOBODY) == (set(), 0)


def test_workers_do_not_pass_on_what_another_tenant_has_or_is_embedding(line: Line):
    texts = by_workers(line, THEIRS, posted(COMMON, SECRET))
    assert len(texts) == 2
    staged = [one.embedded for record in line.bench.manifest.documents(THEIRS).values() for one in record.chunks]
    held = line.queue.jobs.texts.claim(THEIRS.tenant, staged, "their worker", 600)
    assert held == set(staged)
    assert by_workers(line, MINE, posted(COMMON, SECRET)) == texts
    assert by_workers(line, Scope("acme", "other"), posted(COMMON, SECRET)) == []


def test_a_question_is_the_same_work_whoever_asked_it_before(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    """Also for a reader of whom documents are hidden that would answer it."""
    runtime.ingestor.ingest_texts(posted(COMMON, SECRET, groups=["hr"]), runtime.scope())
    runtime.ingestor.ingest_texts([PostedDocument("open.md", "Owls are birds.")], runtime.scope())
    runtime.ingestor.ingest_texts(posted(COMMON, SECRET), runtime.scope(tenant="rival"))
    runs: list[list[str]] = []
    tell_runs(lambda texts, _: runs.append(texts), monkeypatch.setattr)

    def work(scope: Scope) -> list[list[str]]:
        runs.clear()
        runtime.engine().search("What is the pay of a zebra?", Request(scope))
        return list(runs)

    everybody = runtime.scope()
    reader, hr = replace(everybody, groups=frozenset()), replace(everybody, groups=frozenset({"hr"}))
    first = work(reader)
    assert first == [["What is the pay of a zebra?"]]
    rival = replace(runtime.scope(tenant="rival"), groups=frozenset())
    assert [work(one) for one in (rival, hr, runtime.scope(tenant="nobody"))] == [first] * 3
    assert work(reader) == [], "but nobody embeds a question twice for the same reader"


def test_token_vectors_that_were_kept_for_one_tenant_do_not_serve_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rerank = {"mode": "always", "deadline_ms": 60_000}
    settings = Settings.model_validate({"home": tmp_path, "pipelines_dir": tmp_path, "rerank": rerank})
    passes: list[int] = []
    tell_runs(lambda texts, query: passes.extend([] if query else [len(texts)]), monkeypatch.setattr)
    with open_runtime(settings, "a test") as opened:
        passages = [Document(content=text) for text in (COMMON, SECRET)]

        def work(tenant: str) -> list[int]:
            passes.clear()
            outcome = opened.resources.reranking.rerank(
                "What do owls hunt?", passages, opened.scope(tenant=tenant), "always"
            )
            assert outcome.decision == "reranked"
            return list(passes)

        assert work("rival") == work("acme") == [2]
        assert sum(work("acme")) == 0  # so the counting sees what is kept


APART = (sentences, shingles, answer_kind._names, answer_kind._holds, sentence_worth._heading_stems)
ASKED = ("Who hunts voles at Night Hill?", "When do owls hunt voles?")


def test_passages_are_taken_apart_anew_for_each_tenant(runtime: Runtime, monkeypatch: pytest.MonkeyPatch):
    """Also for one whose passages another has read a moment ago."""
    texts = posted(COMMON, "# Hill\n\nOwls of Night Hill hunted voles in 1871. The Owl Keeper saw that.")
    for tenant in ("acme", "rival"):
        runtime.ingestor.ingest_texts(texts, runtime.scope(tenant=tenant))
    counted: list[str] = []

    def watched(counting: Callable[..., object]) -> Callable[..., object]:
        return lambda count, *further: counting(lambda texts: counted.extend(texts) or count(texts), *further)

    for counting in (CountedTexts, CountedPassages):
        monkeypatch.setattr(packer, counting.__name__, watched(counting))
    for one in APART:
        one.cache_clear()

    def work(scope: Scope) -> tuple[list[int], list[str]]:
        counted.clear()
        before = [one.cache_info().misses for one in APART]
        for question in ASKED:
            runtime.engine().ask(question, Request(scope, caching="off"))
        done = [one.cache_info().misses - were for one, were in zip(APART, before, strict=True)]
        return done, sorted(counted)

    everybody, rival = runtime.scope(tenant="acme"), runtime.scope(tenant="rival")
    first = work(rival)
    assert all(first[0]) and first[1]
    assert work(everybody) == first
    hr = replace(everybody, groups=frozenset({"hr"}))
    assert [work(one) for one in (everybody, hr, rival)] == [([0] * len(APART), [])] * 3


def test_questions_and_conversations_are_taken_apart_anew_for_each_reader():
    one, other = "How tall is the old mast?", "What height has the old mast?"
    counted: list[str] = []

    def counting(texts: Sequence[str]) -> list[int]:
        counted.extend(texts)
        return [len(text.split()) for text in texts]

    condenser, rule = Condenser(40, counting), bundled_agreement()
    said = [("user", one), ("assistant", "It is tall. " * 30), ("user", other), ("assistant", "Very tall. " * 30)]

    def work(scope: Scope) -> tuple[int, list[str]]:
        counted.clear()
        before = taken_apart.cache_info().misses
        rule.holds(one, other, 0.99, scope.reader)
        with running(Request(scope)):
            condenser.condense(said)
        return taken_apart.cache_info().misses - before, list(counted)

    taken_apart.cache_clear()
    first = work(THEIRS)
    assert first[0] == 2 and first[1]
    assert [work(reader) for reader in (MINE, NOBODY, HR)] == [first] * 3
    assert [work(reader) for reader in (THEIRS, MINE, NOBODY, HR)] == [(0, [])] * 4


def test_a_listing_counts_nothing_that_a_reader_may_not_read(runtime: Runtime):
    scope = runtime.scope()
    runtime.ingestor.ingest_texts(posted(COMMON, SECRET, groups=["hr"]), scope)
    runtime.ingestor.ingest_texts(posted(COMMON), runtime.scope(tenant="rival"))
    reader = replace(scope, groups=frozenset())
    selections = (DocumentSelection(), DocumentSelection(source="0.md"), DocumentSelection(metadata={"groups": "hr"}))
    nothing = runtime.lifecycle.list(DocumentSelection(), Scope("nobody", "default", frozenset()))
    assert all(runtime.lifecycle.list(one, reader) == nothing for one in selections)
    (gone, _) = runtime.manifest.documents(scope).values()
    assert runtime.index.count(reader) == 0 < runtime.index.count(scope)
    buried = Tombstone(gone.id, gone.source, "/a", "", gone.content_hash, 1.0, 2.0, "old", "max_age_days", 1.0)
    runtime.manifest.commit(scope, [], gone=[gone.id], buried=[buried])
    assert runtime.lifecycle.list(DocumentSelection(), reader) == nothing
    assert runtime.lifecycle.list(DocumentSelection(), scope).tombstoned == 1
