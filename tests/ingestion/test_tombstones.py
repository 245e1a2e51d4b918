"""What retention took out is not brought in, parsed or paid for again, until its content changes or somebody asks."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ragsaver.index.scope import Scope
from ragsaver.index.store import current_store
from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.lifecycle import Lifecycle
from ragsaver.ingestion.migration import open_migration
from ragsaver.ingestion.opening import open_manifest
from ragsaver.ingestion.retention import DAY_S, keeps_out
from ragsaver.ingestion.selection import DocumentSelection
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.ingestion.tombstones import Tombstone
from ragsaver.settings import DatabaseSettings, RetentionSettings
from tests.commands import as_json, run
from tests.ingestion.bench import SCOPE, Bench, CountingEncoder, Stopped

OLD = 1e9


@pytest.fixture
def bench(tmp_path: Path, database: DatabaseSettings):
    made = Bench(tmp_path, database=database)
    yield made
    if (made.settings.home / "index").exists():
        made.close()
    else:
        made.manifest.close()
        made.cache.close()


def keeping(bench: Bench, **retention: float) -> None:
    """From now on the collection has this rule; none without."""
    rules = {"docs": retention} if retention else {}
    bench.settings = bench.settings.model_validate({**bench.settings.model_dump(), "lifecycle": {"retention": rules}})


def write(bench: Bench, **texts: str) -> None:
    """Files that were written long enough ago for their time to tell."""
    for name, text in texts.items():
        (bench.docs / f"{name}.md").write_text(f"# {name}\n\n{text}")
        os.utime(bench.docs / f"{name}.md", (OLD, OLD))


def sources(bench: Bench) -> list[str]:
    return sorted(Path(source).stem for source in bench.manifest.documents(SCOPE))


def stones(bench: Bench) -> list[str]:
    return sorted(Path(source).stem for source in bench.manifest.tombstones.of(SCOPE))


def grow_old(bench: Bench, days: float = 100, *names: str) -> None:
    records = bench.manifest.documents(SCOPE).values()
    aged = [
        one._replace(ingested_at=one.ingested_at - days * DAY_S)
        for one in records
        if not names or Path(one.source).stem in names
    ]
    bench.manifest.commit(SCOPE, aged)


def expired(bench: Bench) -> None:
    """Two files, of which `a` has expired by age."""
    write(bench, a="first zebra", b="second zebra")
    bench.ingest()
    grow_old(bench, 100, "a")
    keeping(bench, max_age_days=30)
    bench.ingest()
    assert (sources(bench), stones(bench)) == (["b"], ["a"])


def test_an_expired_file_stays_out_until_its_content_changes(bench: Bench):
    expired(bench)
    report = bench.ingest()
    assert (report.documents.seen, report.documents.tombstoned, report.documents.failed) == (2, 1, 0)
    assert (report.documents.added, report.documents.deleted, len(bench.encoder.paid)) == (0, 0, 2)
    assert bench.plan().documents.tombstoned == 1

    (bench.docs / "a.md").touch()
    assert bench.ingest().documents.tombstoned == 1
    assert bench.ingest(checksum=True).documents.tombstoned == 1

    write(bench, a="third zebra")
    report = bench.ingest()
    assert (report.documents.added, report.documents.tombstoned, report.documents.deleted) == (1, 0, 0)
    assert (sources(bench), stones(bench)) == (["a", "b"], [])


def test_a_file_that_was_touched_is_read_once_and_then_no_more(bench: Bench):
    expired(bench)
    os.utime(bench.docs / "a.md", (OLD + 5, OLD + 5))
    bench.ingest()
    (stone,) = bench.manifest.tombstones.of(SCOPE).values()
    assert stone.version.endswith(str(int((OLD + 5) * 1e9)))
    (bench.docs / "a.md").write_bytes(b"\0" * (bench.docs / "a.md").stat().st_size)
    os.utime(bench.docs / "a.md", (OLD + 5, OLD + 5))
    assert bench.ingest().documents.tombstoned == 1


def test_what_is_asked_for_comes_in_as_new(bench: Bench):
    expired(bench)
    report = bench.ingest(include_expired=True)
    assert (report.documents.added, report.documents.deleted, report.chunks.embedded) == (1, 0, 0)
    assert (sources(bench), stones(bench)) == (["a", "b"], [])
    assert bench.ingest().documents.unchanged == 2


def test_what_is_posted_under_its_name_comes_in(bench: Bench):
    expired(bench)
    text = (bench.docs / "a.md").read_text()
    report = bench.ingestor().ingest_texts([PostedDocument("docs/a.md", text)], SCOPE)
    assert (report.documents.added, stones(bench)) == (1, [])


def test_a_posted_text_that_expires_leaves_no_tombstone(bench: Bench):
    bench.ingestor().ingest_texts([PostedDocument("note", "zebra")], SCOPE)
    grow_old(bench)
    keeping(bench, max_age_days=30)
    assert len(bench.ingestor().expire(SCOPE)) == 1
    assert (sources(bench), stones(bench)) == ([], [])


def test_a_rule_that_would_keep_it_lets_it_in_no_younger_than_it_was(bench: Bench):
    expired(bench)
    keeping(bench, max_age_days=60)
    assert bench.ingest().documents.tombstoned == 1
    keeping(bench, max_age_days=200)
    assert bench.ingest().documents.added == 1
    keeping(bench, max_age_days=30)
    report = bench.ingest()
    assert (report.documents.deleted, stones(bench)) == (1, ["a"])
    keeping(bench)
    assert (bench.ingest().documents.added, stones(bench)) == (1, [])


def test_beyond_a_count_room_brings_nothing_back_and_a_larger_count_does(bench: Bench):
    keeping(bench, max_documents=2)
    write(bench, a="first zebra", b="second zebra", c="third zebra")
    assert bench.ingest().documents.deleted == 1
    (out,) = stones(bench)
    stay = sources(bench)
    (bench.docs / f"{stay[0]}.md").unlink()
    report = bench.ingest(prune=True)
    assert (report.documents.tombstoned, sources(bench)) == (1, stay[1:])
    keeping(bench, max_documents=3)
    bench.ingest()
    assert sources(bench) == sorted([out, *stay[1:]])


def test_deleting_leaves_no_tombstone(bench: Bench):
    write(bench, a="zebra")
    bench.ingest()
    life = Lifecycle(bench.settings, bench.manifest, bench.ingestor(), 16)
    life.delete(DocumentSelection(cwd=bench.folder, source="docs/a.md"), SCOPE)
    assert (stones(bench), bench.ingest().documents.added) == ([], 1)


def test_a_tombstone_goes_with_its_file_and_not_with_a_listing_that_leaves_it_out(bench: Bench):
    expired(bench)
    bench.ingest(exclude=("a.md",), prune=True)
    assert stones(bench) == ["a"]
    (bench.docs / "a.md").unlink()
    bench.ingest()
    assert stones(bench) == []
    write(bench, a="first zebra")
    assert bench.ingest().documents.added == 1


def test_tombstones_are_their_scope_s_own(bench: Bench):
    expired(bench)
    other = Scope("acme", "more")
    assert bench.ingest(scope=other).documents.added == 2
    assert bench.manifest.tombstones.of(other) == {}


@pytest.mark.parametrize("step", [Step.INTENT, Step.COMMITTED, Step.SWAPPED])
def test_a_stop_while_a_document_expires_leaves_it_in_or_buried(bench: Bench, step: Step):
    write(bench, a="first zebra", b="second zebra")
    bench.ingest()
    grow_old(bench, 100, "a")
    keeping(bench, max_age_days=30)
    with pytest.raises(Stopped):
        bench.ingestor(step).expire(SCOPE)
    assert (sources(bench), stones(bench)) in ((["a", "b"], []), (["b"], ["a"]))
    bench.ingest()
    assert (sources(bench), stones(bench), bench.verify().orphaned) == (["b"], ["a"], 0)


def test_a_migration_takes_tombstones_over(bench: Bench):
    expired(bench)
    encoder = CountingEncoder()
    encoder.fingerprint = "d" * 32
    with open_migration(bench.settings, encoder) as migration:
        assert migration.run().switched
    new = open_manifest(bench.settings, current_store(bench.settings.home))
    assert new.tombstones.of(SCOPE) == bench.manifest.tombstones.of(SCOPE) != {}
    new.close()


rules = st.builds(
    RetentionSettings,
    max_age_days=st.none() | st.floats(1, 100),
    max_unused_days=st.none() | st.floats(1, 100),
    max_documents=st.none() | st.integers(1, 10),
)


@given(rules, st.floats(0, 200), st.sampled_from(["max_age_days", "max_unused_days", "max_documents"]))
def test_what_a_tombstone_lets_in_is_neither_too_old_nor_too_long_unused(now: RetentionSettings, age: float, by: str):
    stone = Tombstone("i", "a", "/a", "", "h", 0.0, 0.0, "why", by, 5.0)
    if not keeps_out(stone, now, age * DAY_S):
        assert all(limit is None or age <= limit for limit in (now.max_age_days, now.max_unused_days))
        assert by != "max_documents" or now.max_documents is None or now.max_documents > 5


names = st.sampled_from(["a", "b", "c"])


class Shelf(RuleBasedStateMachine):
    """Files change, grow old and are asked for; ingestions run under a rule of age, or are stopped."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.bench = Bench(self.folder, lifecycle={"retention": {"docs": {"max_age_days": 30}}})
        (self.bench.docs / "always.txt").write_text("This file is always there.")
        self.kept_out: dict[str, str] = {}

    def text(self, name: str) -> str | None:
        file = self.bench.docs / f"{name}.md"
        return file.read_text() if file.exists() else None

    @rule(name=names, number=st.integers(0, 3))
    def write(self, name: str, number: int) -> None:
        (self.bench.docs / f"{name}.md").write_text(f"# {name}\n\nzebra number {number}")

    @rule(name=names)
    def delete(self, name: str) -> None:
        (self.bench.docs / f"{name}.md").unlink(missing_ok=True)

    @rule(name=names)
    def age(self, name: str) -> None:
        if name in sources(self.bench):
            grow_old(self.bench, 100, name)

    @rule(step=st.sampled_from(Step))
    def ingest_and_stop(self, step: Step) -> None:
        with contextlib.suppress(Stopped):
            self.bench.ingest(step, prune=True)

    @rule(asked=st.booleans())
    def ingest(self, asked: bool) -> None:
        before = self.bench.manifest.tombstones.of(SCOPE)
        there = {name: self.text(name) for name in "abc"}
        parsed = len(self.bench.encoder.paid)
        self.bench.ingest(prune=True, include_expired=asked)
        assert len(self.bench.encoder.paid) == len(set(self.bench.encoder.paid)) >= parsed
        documents, after = self.bench.manifest.documents(SCOPE), self.bench.manifest.tombstones.of(SCOPE)
        for name, text in there.items():
            source = f"docs/{name}.md"
            assert (source in documents or source in after) == (text is not None)
            if source in before and not asked and text is not None:
                same = before[source].content_hash == after[source].content_hash if source in after else False
                assert same == (source not in documents)

    @invariant()
    def nothing_is_in_and_buried(self) -> None:
        if hasattr(self, "bench"):
            assert not set(sources(self.bench)) & set(stones(self.bench))

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.bench.close()
            shutil.rmtree(self.folder)


Shelf.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestShelf = Shelf.TestCase


def test_the_commands_count_what_stays_out_and_bring_it_in(tmp_path: Path):
    (tmp_path / "docs").mkdir()
    for n in range(3):
        (tmp_path / "docs" / f"{n}.md").write_text(f"# Page {n}\n\nowls hunt voles {n}\n")
    rule = {"RAGSAVER_LIFECYCLE__RETENTION__DEFAULT__MAX_DOCUMENTS": "2"}
    assert as_json(tmp_path, "ingest", "docs", **rule)["documents"]["deleted"] == 1
    again = as_json(tmp_path, "ingest", "docs", **rule)["documents"]
    assert (again["tombstoned"], again["added"], again["deleted"]) == (1, 0, 0)
    assert as_json(tmp_path, "documents", "list", **rule)["tombstoned"] == 1
    assert as_json(tmp_path, "documents", "report", **rule)["tombstoned"] == 1
    assert "1 documents stay out" in run(tmp_path, "plan", "docs", **rule).stdout
    asked = as_json(tmp_path, "ingest", "docs", "--include-expired", **rule)["documents"]
    assert (asked["added"], asked["deleted"]) == (1, 1)
