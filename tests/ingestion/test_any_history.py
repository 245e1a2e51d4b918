"""Whatever happens to a corpus, and wherever runs are stopped: nothing missing, orphaned or paid for twice."""

import contextlib
import itertools
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.preparing import Raw, prepare
from ragsaver.ingestion.summaries import long_sections
from tests.databases import database, needs_postgres
from tests.ingestion.bench import SCOPE, Bench, CountingSummariser, Stopped
from tests.ingestion.beside import two_runs

LONG_AGO = 1_600_000_000

names = st.sampled_from(["a.md", "sub/b.md"])
paragraphs = st.integers(0, 9).map(lambda n: f"Paragraph {n} of zebras says " + f"w{n} " * 45)
texts = st.lists(paragraphs, min_size=1, max_size=4).map(lambda found: "# Title\n\n" + "\n\n".join(found))

stops = st.none() | st.sampled_from(Step)
edits = st.sampled_from(["write", "delete", "rename"])


class Corpus(RuleBasedStateMachine):
    """Files are written, deleted and renamed; ingestions run, alone or two at a time, or are stopped after any step."""

    kind = "sqlite"
    checksum = True

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.kept = contextlib.ExitStack()
        settings = self.kept.enter_context(database(self.kind))
        outline = {"summary_model": "counting", "summary_min_words": 20}
        self.bench = Bench(self.folder, ingestion={"batch_chunks": 2}, database=settings, outline=outline)
        self.summariser = CountingSummariser()
        self.bench.summarise_by(self.summariser)
        self.times = itertools.count(LONG_AGO)
        (self.bench.docs / "always.txt").write_text("This file is always there.")
        self.settle(self.bench.docs / "always.txt")

    def settle(self, file: Path) -> None:
        """Where files are not read to see whether they changed, each write has a time of its own, long ago."""
        if not self.checksum:
            now = next(self.times)
            os.utime(file, (now, now))

    @rule(name=names, text=texts)
    def write(self, name: str, text: str) -> None:
        file = self.bench.docs / name
        file.parent.mkdir(exist_ok=True)
        draft = self.folder / "draft"  # a run that is under way reads all of it or nothing
        draft.write_text(text)
        self.settle(draft)
        draft.replace(file)

    @rule(name=names)
    def delete(self, name: str) -> None:
        (self.bench.docs / name).unlink(missing_ok=True)

    @rule(name=names, other=names)
    def rename(self, name: str, other: str) -> None:
        if (self.bench.docs / name).exists():
            (self.bench.docs / other).parent.mkdir(exist_ok=True)
            (self.bench.docs / name).rename(self.bench.docs / other)

    @rule(down=st.booleans())
    def silence(self, down: bool) -> None:
        self.summariser.down = down

    @rule(step=st.sampled_from(Step), prune=st.booleans())
    def ingest_and_stop(self, step: Step, prune: bool) -> None:
        with contextlib.suppress(Stopped):
            self.bench.ingest(step, prune=prune, checksum=self.checksum)

    @rule()
    def ingest(self) -> None:
        self.bench.ingest(prune=True, checksum=self.checksum)
        self.all_is_as_the_files_are()

    @rule(step=st.sampled_from(Step), stop=stops, other_stop=stops, processes=st.booleans(), name=names, text=texts)
    def ingest_while_another_begins(
        self, step: Step, stop: Step | None, other_stop: Step | None, processes: bool, name: str, text: str
    ) -> None:
        """The second begins when the first has done a step, and so finds a file that the first may have missed."""
        with two_runs(self.bench, processes=processes, waits=False, look=self.look, checksum=self.checksum) as runs:

            def begin(done: Step) -> None:
                if done == step and not runs.begun:
                    self.write(name, text)
                    runs.begin_second(other_stop)

            runs.first(stop, begin)
            runs.begin_second(other_stop)
            if runs.end_second():
                self.all_is_as_the_files_are()

    @rule(edit=edits, stop=stops, other_stop=stops, processes=st.booleans(), name=names, other=names, text=texts)
    def ingest_what_was_listed_before_another(
        self, edit: str, stop: Step | None, other_stop: Step | None, processes: bool, name: str, other: str, text: str
    ) -> None:
        """The second has listed the files when they change, and has its turn after a run that saw the change."""
        with two_runs(self.bench, processes=processes, waits=True, look=self.look, checksum=self.checksum) as runs:
            runs.begin_second(other_stop)
            if edit == "write":
                self.write(name, text)
            elif edit == "delete":
                self.delete(name)
            else:
                self.rename(name, other)
            first = runs.first(stop)
            if runs.end_second() and first:
                self.all_is_as_the_files_are()

    def look(self, step: Step) -> None:
        """What is invariant holds while a run is under way, too; beside the first two steps an older batch goes in."""
        if step not in (Step.INTENT, Step.EMBEDDED):
            self.every_document_is_found_whole()

    def all_is_as_the_files_are(self) -> None:
        documents = self.bench.manifest.documents(SCOPE)
        files = {path.relative_to(self.folder).as_posix() for path in self.bench.docs.rglob("*.*")}
        assert set(documents) == files
        points = {point for record in documents.values() for point in record.points}
        assert dict(self.bench.index.ids(SCOPE)) == dict.fromkeys(points, True)
        assert self.bench.manifest.intents(SCOPE) == []
        for source, record in documents.items():
            data = (self.folder / source).read_bytes()
            again = prepare(Raw(record.id, source, data, None, self.bench.ingestor().recipe)).chunks
            assert record.points == tuple(one.id for one in again)
            outline = self.bench.manifest.outline(SCOPE, source)
            assert outline is not None
            assert record.points == tuple(point for line in outline.lines for point in line.chunk_ids)
            if not self.summariser.down:
                long = {one.chunk_ids: one.hash for one in long_sections(again, self.bench.settings.outline)}
                assert {line.chunk_ids: line.summarised for line in outline.lines if line.summarised} == long

    @invariant()
    def nothing_was_paid_for_twice(self) -> None:
        if hasattr(self, "bench"):
            for paid in (self.bench.encoder.paid, self.summariser.paid):
                assert len(paid) == len(set(paid))

    @invariant()
    def every_document_is_found_whole(self) -> None:
        """All of what the manifest has, unless the swap to it is still to come: then all of what it had before."""
        if not hasattr(self, "bench"):
            return
        listed = self.bench.listed()
        waiting = {intent.document_id: intent for intent in self.bench.manifest.intents(SCOPE)}
        for record in self.bench.manifest.documents(SCOPE).values():
            intent = waiting.get(record.id)
            if intent is None or intent.generation != record.generation:
                assert listed.issuperset(record.points)
            else:
                before = (set(record.points) - set(intent.listed)) | set(intent.deleted)
                assert listed.issuperset(record.points) or listed.issuperset(before)

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.bench.close()
            self.kept.close()
            shutil.rmtree(self.folder)


Corpus.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestAnyHistory = Corpus.TestCase


class CorpusByItsTimes(Corpus):
    """The same, where runs look at files' times alone, and the same run is not made again."""

    checksum = False


CorpusByItsTimes.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestAnyHistoryByItsTimes = CorpusByItsTimes.TestCase


class CorpusInPostgres(Corpus):
    """The same."""

    kind = "postgres"


CorpusInPostgres.TestCase.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
TestAnyHistoryInPostgres = needs_postgres(CorpusInPostgres.TestCase)
