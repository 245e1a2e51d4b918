"""The stages in one process, stopped wherever they can be: a real store, broker, index and cache; a model that counts."""

import base64
import json
import pickle
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, nullcontext
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads, prepare_accept_content

from ragsaver.caching.embeddings import SqliteEmbeddingCache
from ragsaver.cli.jobs import tell_notes
from ragsaver.components.resources import Resources
from ragsaver.errors import StorageError, TooExpensive
from ragsaver.index.ownership import Ownership
from ragsaver.index.scope import Scope
from ragsaver.ingestion import cutting, document_line, planner
from ragsaver.ingestion.applying import Step as ApplyStep
from ragsaver.ingestion.guard import GuardedPool
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.job_report import JobReport, State
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.ingestion.turns import Priority
from ragsaver.pipelines.runtime import Runtime
from ragsaver.settings import DatabaseSettings
from ragsaver.spend.prices import PriceBook
from ragsaver.workers import embedding, stages
from ragsaver.workers.app import CONVERT, EMBED
from ragsaver.workers.converting import Converting
from ragsaver.workers.draining import Drainer
from ragsaver.workers.embedding import Embedding
from ragsaver.workers.moves import Done, MovedOn, Tally, nobody
from ragsaver.workers.queueing import IngestQueue
from ragsaver.workers.stages import Step, Worker
from ragsaver.workers.tending import requeue
from tests.ingestion.bench import SCOPE, Bench, Stopped
from tests.redis_server import RedisServer

TEXT = "Owls hunt voles at night, and the voles know it."


class Line:
    """A queue and what works on it, one stage at a time."""

    def __init__(
        self,
        folder: Path,
        redis: RedisServer,
        database: DatabaseSettings,
        more: dict[str, object] | None = None,
        **queue: object,
    ) -> None:
        told = {"broker_url": redis.url, "backoff_s": 0.001, **queue}
        self.bench = Bench(folder, database=database, queue=told, **(more or {}))
        self.settings = self.bench.settings
        self.queue = IngestQueue(self.settings)
        ownership = Ownership.acquire(self.settings.home, "a test")
        prices = PriceBook.of(self.settings.spend)
        resources = Resources(
            self.settings, self.bench.index, self.bench.encoder, prices, ownership, self.settings.home
        )
        self.runtime = Runtime(resources)
        self._converting: list[Converting] = []

    def worker(self, fault: Callable[[Step, str], None] | None = None, moved: MovedOn = nobody) -> Worker:
        bench, cache = self.bench, SqliteEmbeddingCache(self.bench.cache.path, 2**30)
        made = Worker(
            self.settings,
            self.queue.broker,
            self.queue.jobs,
            bench.encoder,
            bench.manifest,
            cache,
            threading.Event(),
            fault,
            moved,
        )
        if self.settings.queue.visibility_timeout_s < 1e-3:
            made.holding = lambda holders: nullcontext()  # its process is gone: nobody renews what it held
        return made

    def put(self, *texts: str, scope: Scope = SCOPE, priority: Priority = Priority.NORMAL) -> list[str]:
        """A job of texts; the ids of its documents."""
        documents = [PostedDocument(f"{n}.md", text) for n, text in enumerate(texts)]
        job = self.queue.put_texts(documents, scope, priority).job_id
        return [f"{job}-{n}" for n in range(len(texts))]

    def convert(self, ids: list[str], worker: Worker | None = None) -> None:
        """As many messages as there are documents."""
        converting = Converting(worker or self.worker())
        self._converting.append(converting)
        for _ in ids:
            converting.convert()

    def embed(self, ids: list[str], worker: Worker | None = None) -> None:
        Embedding(worker or self.worker()).embed(len(ids))

    def requeue(self, **limits: object) -> int:
        return requeue(self.queue.jobs, self.queue.broker, self.settings.queue.model_copy(update=limits))

    def drain(self, fault: Callable[[ApplyStep], None] = lambda step: None) -> int:
        with closing(Drainer(self.runtime, self.queue.jobs, fault)) as drainer:
            return drainer.drain()

    def lose_vectors(self) -> None:
        """The embedding cache has none any more."""
        with self.bench.cache._vectors._file.writing() as connection:
            connection.execute(sa.text("DELETE FROM embeddings"))

    def report(self, document_id: str) -> JobReport:
        return self.queue.report(document_id.rpartition("-")[0], SCOPE.tenant)

    def states(self, ids: list[str]) -> list[str]:
        return [self.report(one).progress[int(one.rpartition("-")[2])].state for one in ids]

    def paid(self) -> Counter:
        return Counter(self.bench.encoder.paid)

    def paid_tokens(self) -> int:
        return sum(self.bench.encoder.count_tokens(self.bench.encoder.paid))

    def reconciles(self, ids: list[str], cached_tokens: int = 0) -> bool:
        """Whether their job's bill is what the model was asked for, and what was there before."""
        spend = self.report(ids[0]).embedding
        return (spend.tokens, spend.cached_tokens) == (self.paid_tokens(), cached_tokens)

    def close(self) -> None:
        for converting in self._converting:
            converting.close()
        if self.runtime.summaries:
            self.runtime.summaries.close()
        self.runtime.manifest.close()
        self.runtime.embeddings.close()
        self.runtime.ownership.release()
        self.queue.close()
        self.bench.close()


@pytest.fixture
def line(tmp_path: Path, redis: RedisServer, database: DatabaseSettings) -> Iterator[Line]:
    made = Line(tmp_path, redis, database)
    yield made
    made.close()


@pytest.fixture
def hasty(tmp_path: Path, redis: RedisServer, database: DatabaseSettings) -> Iterator[Line]:
    """Where a hold is over as soon as it is had: every document is as one whose worker died long ago."""
    made = Line(tmp_path, redis, database, visibility_timeout_s=1e-6)
    yield made
    made.close()


class Gate:
    """A step that a worker stands at until it may go on."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self, step: Step, source: str) -> None:
        if step is self._step:
            self.reached.set()
            assert self.go_on.wait(60)


def test_a_task_redelivered_while_the_first_still_runs_does_nothing(line: Line):
    ids = line.put(TEXT)
    for stage, step in ((line.convert, Step.CONVERTING), (line.embed, Step.EMBEDDING)):
        gate = Gate(step)
        first = threading.Thread(target=stage, args=(ids, line.worker(gate)))
        first.start()
        assert gate.reached.wait(60)
        before = line.states(ids)
        stage(ids)
        assert line.states(ids) == before
        gate.go_on.set()
        first.join()
    assert line.states(ids) == [State.EMBEDDED]
    assert set(line.paid().values()) == {1}
    line.drain()
    assert line.reconciles(ids)


def test_two_workers_on_one_document_whose_hold_is_over_bring_it_in_once(hasty: Line):
    ids = hasty.put(TEXT)
    gate = Gate(Step.CONVERTING)
    first = threading.Thread(target=hasty.convert, args=(ids, hasty.worker(gate)))
    first.start()
    assert gate.reached.wait(60)
    hasty.requeue()
    hasty.convert(ids)
    hasty.embed(ids)
    hasty.drain()
    gate.go_on.set()
    first.join()
    assert hasty.states(ids) == [State.APPLIED]
    assert hasty.queue.broker.backlog(EMBED) == 1
    assert len(hasty.bench.encoder.paid) == 1
    assert hasty.reconciles(ids)


def test_a_hold_that_ends_while_somebody_looks_gives_no_attempt_too_many(line: Line, monkeypatch):
    ids = line.put(TEXT)
    documents = line.queue.jobs.documents
    assert documents.claim(State.QUEUED, "dies", limit=1, lease_s=600)
    with monkeypatch.context() as looking:
        looking.setattr(documents, "bury", lambda *_: documents.hold_on(["dies"], -1))
        assert line.requeue(max_attempts=1) == 0
    assert line.states(ids) == [State.QUEUED]
    line.requeue(max_attempts=1)
    assert line.states(ids) == [State.DEAD]
    assert line.report(ids[0]).progress[0].attempts == 1


def test_a_text_that_another_worker_is_embedding_is_not_paid_for_again(line: Line, monkeypatch):
    monkeypatch.setattr(embedding, "_OTHERS_S", 0.0)
    ids = line.put(TEXT, TEXT)
    line.convert(ids)
    gate = Gate(Step.EMBEDDING)
    first = threading.Thread(target=line.embed, args=(ids[:1], line.worker(gate)))
    first.start()
    assert gate.reached.wait(60)
    line.embed(ids[1:])
    assert line.states(ids) == [State.CONVERTED, State.CONVERTED]
    gate.go_on.set()
    first.join()
    assert line.requeue() == 1
    line.embed(ids[1:])
    assert line.states(ids) == [State.EMBEDDED, State.EMBEDDED]
    assert line.drain() == 2
    assert set(line.paid().values()) == {1}
    assert line.reconciles(ids, cached_tokens=line.paid_tokens())


def test_who_works_longer_than_a_hold_lasts_keeps_it(tmp_path: Path, redis: RedisServer, database: DatabaseSettings):
    line = Line(tmp_path, redis, database, visibility_timeout_s=0.4)
    try:
        ids = line.put(TEXT)
        gate = Gate(Step.CONVERTING)
        first = threading.Thread(target=line.convert, args=(ids, line.worker(gate)))
        first.start()
        assert gate.reached.wait(60)
        renewed = threading.Event()
        hold_on = line.queue.jobs.hold_on
        line.queue.jobs.hold_on = lambda *of: (hold_on(*of), renewed.set())
        assert renewed.wait(60)
        assert line.queue.jobs.documents.late(State.QUEUED) == 0
        gate.go_on.set()
        first.join()
        assert line.states(ids) == [State.CONVERTED]
    finally:
        line.close()


@pytest.mark.parametrize("step", [*Step, *ApplyStep])
def test_a_stop_after_any_step_is_completed_and_pays_for_nothing_twice(hasty: Line, step: Step | ApplyStep):
    def stop(reached: Step | ApplyStep, source: str = "") -> None:
        if reached is step and source in ("", "1.md"):
            raise Stopped

    ids = hasty.put("Owls hunt voles at night.", "Foxes sleep by day, in a hole.", "Bees dance.")
    dying = hasty.worker(stop)
    with pytest.raises(Stopped):
        hasty.convert(ids, dying)
        hasty.embed(ids, dying)
        hasty.drain(stop)

    for _ in range(2):  # what was held in the second stage is in line after the first look, or after the second
        hasty.requeue()
        hasty.convert(ids)
        hasty.embed(ids)
        hasty.drain()

    assert hasty.states(ids) == [State.APPLIED] * 3
    assert len(hasty.bench.listed()) == 3
    assert (set(hasty.paid().values()), len(hasty.paid())) == ({1}, 3)
    assert hasty.reconciles(ids)
    report = hasty.bench.verify()
    assert (report.documents, report.points, report.missing, report.orphaned) == (3, 3, 0, 0)


def test_the_text_that_was_posted_last_wins_whichever_is_cut_first(line: Line):
    older, newer = line.put("The old text."), line.put("The new text.", priority=Priority.HIGH)
    for ids in (newer, older):
        line.convert(ids)
        line.embed(ids)
        line.drain()
    assert line.bench.found("text") == {"The new text."}
    assert (line.states(newer), line.states(older)) == ([State.APPLIED], [State.UNCHANGED])


def test_what_came_in_meanwhile_is_planned_around(line: Line):
    ids = line.put("The queued text.")
    line.convert(ids)
    older = line.put("Two of it.")
    line.convert(older)
    line.embed(ids + older)
    assert line.drain() == 2
    (record,) = line.bench.manifest.documents(SCOPE).values()
    assert record.generation == 2
    assert line.bench.found("queued two") == {"Two of it."}
    assert line.bench.verify().orphaned == 0


def test_a_document_that_the_model_fails_on_is_dead_and_the_others_go_in(line: Line, monkeypatch):
    encode = line.bench.encoder.encode

    def failing(texts, progress=None, *, query=False):
        if any("poison" in text for text in texts):
            raise RuntimeError("out of memory")
        return encode(texts, progress, query=query)

    monkeypatch.setattr(line.bench.encoder, "encode", failing)
    ids = line.put("Owls hunt voles.", "This is poison.", "Bees dance.")
    line.convert(ids)
    for _ in range(line.settings.queue.max_attempts):
        line.embed(ids)
        in_line_again(line, State.CONVERTED)
    line.drain()
    assert line.states(ids) == [State.APPLIED, State.DEAD, State.APPLIED]
    assert "out of memory" in line.report(ids[0]).errors[0].error
    assert line.reconciles(ids)


def test_what_the_cache_could_not_take_is_on_the_bill_as_often_as_it_was_embedded(line: Line, monkeypatch):
    class Full(SqliteEmbeddingCache):
        def put(self, partition, vectors):
            raise StorageError("the disk is full", where=str(self.path))

    ids = line.put(TEXT, "Bees dance.")
    line.convert(ids)
    worker = line.worker()
    worker.cache = Full(line.bench.cache.path, 2**30)
    line.embed(ids, worker)
    assert line.states(ids) == [State.CONVERTED] * 2
    while line.queue.jobs.documents.waiting(State.CONVERTED):
        line.requeue()  # until their backoff is over
        line.embed(ids)
    line.drain()
    assert set(line.paid().values()) == {3}  # together, alone, and once more
    assert line.report(ids[0]).embedding.tokens == line.paid_tokens()


def test_a_text_that_is_in_the_cache_needs_no_second_stage(line: Line):
    first, again = line.put(TEXT), line.put("Other.", TEXT)
    line.convert(first)
    line.embed(first)
    line.convert(again)
    assert line.states(again) == [State.CONVERTED, State.EMBEDDED]


def test_the_cache_is_asked_once_for_what_a_document_needs(line: Line, monkeypatch):
    worker = line.worker()
    asked: list[int] = []
    holds = worker.cache.holds
    monkeypatch.setattr(worker.cache, "holds", lambda where, names: (asked.append(len(names)), holds(where, names))[1])
    ids = line.put(TEXT)
    line.convert(ids, worker)
    assert (asked, line.states(ids)) == ([1], ["converted"])
    line.embed(ids, worker)
    assert line.states(ids) == ["embedded"]


def test_what_a_worker_embedded_is_counted_with_its_documents(line: Line):
    tally = Tally()
    worker = line.worker(moved=tally)
    ids = line.put(TEXT, TEXT, "Bees dance.")
    line.convert(ids, worker)
    assert tally.done == Done(3, 0)
    line.embed(ids, worker)
    assert tally.done == Done(6, line.report(ids[0]).embedding.tokens)
    assert tally.done.tokens == sum(line.bench.encoder.count_tokens(list(line.paid())))


def test_a_job_says_what_was_embedded_before_and_what_that_saved(line: Line, capsys):
    reports: list[JobReport] = []
    for texts in (("Bees dance.", TEXT), (TEXT, "Owls sleep by day.")):
        ids = line.put(*texts)
        line.convert(ids)
        line.embed(ids)
        assert line.report(ids[0]).embedding.cached_tokens == 0
        line.drain()
        prices = line.settings.spend.model_copy(update={"embedding_per_mtok": Decimal(1000)})
        reports.append(line.queue.jobs.report(ids[0].rpartition("-")[0], SCOPE.tenant, prices))
    spent = [one.embedding for one in reports]
    told = [(one.tokens, one.cost_usd * 1000, one.cached_tokens, one.saved_usd * 1000) for one in spent]
    assert told == [(12, 12, 0, 0), (4, 4, 10, 10)]
    tell_notes(reports[1])
    assert capsys.readouterr().out.splitlines() == [
        "4 tokens embedded ($0.004000)",
        "10 tokens were embedded before (saved $0.010000)",
    ]


def test_what_the_cache_lost_before_a_document_is_brought_in_is_on_the_bill(line: Line):
    ids = line.put(TEXT, "Bees dance.")
    line.convert(ids)
    line.embed(ids)
    line.lose_vectors()
    line.drain()
    assert line.states(ids) == [State.APPLIED] * 2
    assert line.reconciles(ids)
    assert set(line.paid().values()) == {2}


def test_a_document_cut_by_other_settings_is_cut_again(line: Line):
    ids = line.put(TEXT)
    line.convert(ids)
    line.embed(ids)
    line.bench.encoder.fingerprint = "d" * 32
    assert line.drain() == 1
    assert line.states(ids) == [State.QUEUED]


def in_line_again(line: Line, state: State) -> None:
    while line.queue.jobs.documents.waiting(state) and not line.requeue():
        pass  # until its backoff is over


def test_what_a_worker_cut_that_had_not_moved_on_yet_is_cut_again(line: Line, monkeypatch):
    monkeypatch.setattr(stages, "MOVES_S", 0.0)
    ids = line.put(TEXT)
    line.convert(ids)
    line.bench.encoder.fingerprint = "d" * 32

    line.embed(ids)
    assert line.states(ids) == [State.QUEUED]
    in_line_again(line, State.QUEUED)
    line.convert(ids)
    line.embed(ids)

    assert line.drain() == 1
    assert line.states(ids) == [State.APPLIED]


def test_one_that_has_not_moved_on_yet_has_the_time_to_before_it_is_cut_again(line: Line, monkeypatch):
    ids = line.put(TEXT)
    line.convert(ids)
    line.bench.encoder.fingerprint = "d" * 32
    line.embed(ids)
    assert line.states(ids) == [State.QUEUED]
    assert line.requeue() == 0
    later = time.time() + stages.MOVES_S
    monkeypatch.setattr(document_line, "now", lambda: later)
    assert line.requeue() == 1


def test_a_document_between_workers_of_different_settings_is_dead_in_the_end_and_says_why(line: Line, monkeypatch):
    monkeypatch.setattr(stages, "MOVES_S", 0.0)
    ids = line.put(TEXT)
    for _ in range(line.settings.queue.max_attempts):
        line.bench.encoder.fingerprint = "d" * 32
        line.convert(ids)
        line.bench.encoder.fingerprint = "e" * 32
        line.embed(ids)
        in_line_again(line, State.QUEUED)
    assert line.states(ids) == [State.DEAD]
    assert "Give all workers the same settings" in line.report(ids[0]).errors[0].error


def test_a_worker_that_stops_hands_back_what_it_was_given(line: Line):
    ids = line.put(TEXT)
    stopping = line.worker()
    stopping.stopping.set()
    line.convert(ids, stopping)
    assert line.requeue() == 1
    line.convert(ids)
    line.embed(ids, stopping)
    assert line.states(ids) == [State.CONVERTED]
    assert line.requeue() == 1


def test_messages_that_wait_are_not_sent_again_and_lost_ones_are(hasty: Line, redis: RedisServer):
    hasty.put("One.", "Two.")
    assert hasty.requeue() == 0
    redis.stop()
    redis.lose()
    redis.start()
    assert hasty.requeue() == 2
    assert hasty.queue.broker.backlog(CONVERT) == 2


def test_a_dropped_job_leaves_messages_that_do_nothing(line: Line):
    ids = line.put(TEXT)
    assert line.queue.jobs.drop(ids[0].rpartition("-")[0], SCOPE.tenant)
    line.convert(ids)
    line.embed(ids)
    assert line.drain() == 0
    assert line.bench.encoder.paid == []


def test_messages_are_json_and_hold_nothing(line: Line):
    line.put("A secret text.")
    with line.queue.broker._app.connection_for_read() as connection:
        (raw,) = connection.default_channel.client.lrange(CONVERT, 0, -1)
    message = json.loads(raw)
    assert message["content-type"] == "application/json"
    assert json.loads(base64.b64decode(message["body"]))[:2] == [[], {}]
    assert b"secret" not in raw


def test_a_message_that_is_pickled_is_not_read(line: Line):
    accepted = line.queue.broker._app.conf.accept_content
    assert loads(json.dumps([1]), "application/json", "utf-8", accept=prepare_accept_content(accepted)) == [1]
    with pytest.raises(ContentDisallowed):
        loads(pickle.dumps([1]), "application/x-python-serialize", "binary", accept=prepare_accept_content(accepted))


def test_a_job_that_would_cost_more_than_is_allowed_is_refused_and_a_cheaper_one_is_not(line: Line, monkeypatch):
    dear = line.settings.model_copy(
        update={"spend": line.settings.spend.model_copy(update={"embedding_per_mtok": Decimal(10)})}
    )
    monkeypatch.setattr(planner, "load_encoder", lambda settings: line.bench.encoder)
    monkeypatch.setattr(line.queue, "_settings", dear)
    (line.bench.docs / "owls.md").write_text("Owls hunt voles at night.")
    cost = (
        Ingestor(dear, line.bench.index, line.bench.encoder, line.bench.manifest, line.bench.cache)
        .plan(line.bench.order(), SCOPE)
        .embedding.cost_usd
    )
    assert cost > 0
    with pytest.raises(TooExpensive, match=r"would cost \$.*--max-cost"):
        line.queue.put(line.bench.order(max_cost_usd=cost / 2), SCOPE)
    assert line.queue.jobs.reports(SCOPE.tenant, dear.spend) == []
    job = line.queue.put(line.bench.order(max_cost_usd=cost), SCOPE).job_id
    assert line.bench.encoder.paid == []
    ids = [f"{job}-0"]
    line.convert(ids)
    line.embed(ids)
    line.drain()
    assert line.states(ids) == [State.APPLIED]
    # What is in costs nothing, and what was embedded before does not either.
    assert line.queue.put(line.bench.order(max_cost_usd=0, checksum=True), SCOPE).documents.queued == 1


def test_a_guarded_process_is_used_again_and_ends_when_fewer_threads_work(line: Line, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cutting, "GuardedPool", GuardedPool)  # none that lasts longer
    line.put(TEXT, "Mice.")
    converting = Converting(line.worker())
    converting.convert()
    (pool,) = converting._idle
    process = pool._workers[0]._process
    converting.convert()
    assert converting._idle == [pool] and pool._workers[0]._process is process
    with converting._pool() as first, ExitStack() as others:
        assert first is pool
        others.enter_context(converting._pool())
        converting.keep(1)
    # the one that was given back last stays
    assert converting._idle == [pool] and process.poll() is None
    with ExitStack() as first:
        first.enter_context(converting._pool())
        with converting._pool():
            first.close()
            assert process.wait(60) is not None
    assert len(converting._idle) == 1
    converting.close()
