"""Which changes cost an embedding, which only rewrite what a point carries, and what is known beforehand."""

from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from ragsaver.errors import TooExpensive
from ragsaver.index.scope import Scope
from ragsaver.ingestion.sources import PostedDocument
from tests.ingestion.bench import SCOPE, Bench


def paragraph(n: int) -> str:
    return f"Paragraph {n} of zebras says " + " ".join(f"w{n}x{i}" for i in range(45)) + "."


def text(*numbers: int) -> str:
    return "# Zebras\n\n" + "\n\n".join(map(paragraph, numbers))


@pytest.fixture
def bench(tmp_path: Path):
    made = Bench(tmp_path, spend={"embedding_per_mtok": "1000"})
    yield made
    made.close()


def payload(bench: Bench) -> dict:
    return dict(bench.index.search(SCOPE, "zebras", bench.encoder.vectors(["x"])[0], 1).lexical[0].payload)


def vectors(bench: Bench) -> dict[str, list[float]]:
    """By the text."""
    listed = list(bench.listed())
    carried, kept = bench.index.payloads(SCOPE, listed), bench.index.vectors(SCOPE, listed)
    return {carried[point]["text"]: kept[point].tolist() for point in listed}


def test_a_renamed_and_a_moved_file_cost_nothing_and_are_found_under_their_new_names(bench: Bench):
    file = bench.docs / "a.md"
    file.write_text(text(1, 2, 3))
    (bench.docs / "untitled.txt").write_text("Plain text without any title.")
    first = bench.ingest()
    (bench.docs / "deep").mkdir()
    file.rename(bench.docs / "deep" / "b.md")
    (bench.docs / "untitled.txt").rename(bench.docs / "other.txt")

    moved = bench.ingest(prune=True)

    assert (moved.chunks.embedded, moved.documents.added, moved.documents.deleted) == (0, 2, 2)
    assert len(bench.encoder.paid) == first.chunks.embedded
    assert payload(bench)["source"] == "docs/deep/b.md"
    assert bench.verify().orphaned == 0


def test_the_same_text_in_two_documents_is_embedded_once_also_by_collections(bench: Bench):
    for name in ("a.md", "b.md"):
        (bench.docs / name).write_text(text(1, 2))
    report = bench.ingest()
    assert report.chunks.embedded == report.chunks.reused == report.chunks.total / 2
    again = bench.ingest(scope=Scope("acme", "other"))
    assert (again.chunks.embedded, again.chunks.reused) == (0, report.chunks.total)


class TestWithoutTheCache:
    """The cache is gone, and the index has the vectors."""

    @staticmethod
    def forget(bench: Bench) -> None:
        with bench.cache._vectors._file.writing() as connection:
            connection.execute(sa.text("DELETE FROM embeddings"))
        bench.encoder.paid.clear()

    def test_a_renamed_a_moved_and_a_copied_file_cost_nothing(self, bench: Bench):
        for name, numbers in (("a.md", (1, 2)), ("b.md", (3, 4)), ("c.md", (5, 6))):
            (bench.docs / name).write_text(text(*numbers))
        first = bench.ingest()
        before = vectors(bench)
        (bench.docs / "deep").mkdir()
        (bench.docs / "a.md").rename(bench.docs / "other.md")
        (bench.docs / "b.md").rename(bench.docs / "deep" / "b.md")
        (bench.docs / "copy.md").write_text(text(5, 6))
        self.forget(bench)
        planned = bench.plan(prune=True)
        assert (planned.chunks.embed, planned.embedding.cost_usd) == (0, 0)

        done = bench.ingest(prune=True)

        assert bench.encoder.paid == []
        assert (done.chunks.embedded, done.documents.added, done.documents.deleted) == (0, 3, 2)
        assert (done.receipt.cost_usd, done.receipt.saved_usd) == (0, first.receipt.cost_usd)
        assert vectors(bench) == before
        assert bench.verify().missing == 0

    def test_of_an_edit_only_the_paragraph_is_embedded_also_of_a_file_that_is_renamed_with_it(self, bench: Bench):
        file = bench.docs / "a.md"
        file.write_text(text(1, 2, 3))
        bench.ingest()
        self.forget(bench)
        file.write_text(text(1, 9, 3))
        assert bench.ingest().chunks.embedded == 1
        self.forget(bench)
        file.rename(bench.docs / "b.md")
        (bench.docs / "b.md").write_text(text(1, 9, 4))
        assert bench.plan(prune=True).chunks.embed == 1
        assert bench.ingest(prune=True).chunks.embedded == 1
        assert len(bench.encoder.paid) == 1

    def test_a_text_that_stands_there_once_more_costs_nothing(self, bench: Bench):
        file = bench.docs / "a.md"
        file.write_text(text(1, 2))
        bench.ingest()
        self.forget(bench)
        file.write_text(text(1, 2, 1))
        assert bench.ingest().chunks.embedded == 0

    def test_another_tenant_s_are_not_used(self, bench: Bench):
        (bench.docs / "a.md").write_text(text(1, 2))
        first = bench.ingest()
        self.forget(bench)
        theirs = bench.ingest(scope=Scope("rival", "docs"))
        assert (theirs.chunks.embedded, theirs.receipt) == (first.chunks.embedded, first.receipt)

    def test_what_the_index_has_lost_too_is_embedded(self, bench: Bench):
        (bench.docs / "a.md").write_text(text(1, 2))
        first = bench.ingest()
        self.forget(bench)
        bench.index.list_and_delete(SCOPE, [], list(bench.listed()))
        (bench.docs / "a.md").rename(bench.docs / "b.md")
        assert bench.plan(prune=True).chunks.embed == first.chunks.embedded
        assert bench.ingest(prune=True).chunks.embedded == first.chunks.embedded

    def test_nobody_looks_where_the_cache_has_all(self, bench: Bench, monkeypatch):
        (bench.docs / "a.md").write_text(text(1, 2))
        bench.ingest()
        asked: list[object] = []
        monkeypatch.setattr(bench.index, "vectors", lambda scope, ids: asked.append(ids) or {})
        (bench.docs / "a.md").rename(bench.docs / "b.md")
        assert bench.ingest(prune=True).chunks.embedded == 0
        assert asked == []


def test_another_tenant_pays_for_itself_and_learns_nothing(bench: Bench):
    (bench.docs / "a.md").write_text(text(1, 2))
    first = bench.ingest()
    theirs = bench.ingest(scope=Scope("rival", "docs"))
    assert theirs.chunks == first.chunks
    assert theirs.receipt == first.receipt


def test_tenants_share_where_the_operator_says_so(tmp_path: Path):
    bench = Bench(tmp_path, embedding_cache={"shared_by_tenants": True})
    (bench.docs / "a.md").write_text(text(1, 2))
    bench.ingest()
    assert bench.ingest(scope=Scope("rival", "docs")).chunks.embedded == 0
    bench.close()


def test_the_receipt_says_what_the_cache_saved(bench: Bench):
    (bench.docs / "a.md").write_text(text(1, 2))
    first = bench.ingest()
    assert first.receipt.cost_usd == first.embedding.cost_usd == Decimal(first.embedding.tokens) / 1000
    (bench.docs / "b.md").write_text(text(1, 2))
    receipt = bench.ingest().receipt
    assert (receipt.cost_usd, receipt.saved_usd) == (0, first.receipt.cost_usd)
    assert [(line.stage, line.item) for line in receipt.lines] == [("embed", "embedding cache")]


def test_metadata_is_rewritten_and_embeds_nothing(bench: Bench):
    def post(**metadata: object):
        return bench.ingestor().ingest_texts([PostedDocument("a.md", text(1), metadata=metadata)], SCOPE)

    assert post(team="red").chunks.embedded == 1
    assert payload(bench)["metadata"] == {"team": "red"}
    changed = post(team="blue", level=3)
    assert (changed.documents.changed, changed.chunks.embedded, changed.chunks.deleted) == (1, 0, 0)
    assert payload(bench)["metadata"] == {"team": "blue", "level": 3}
    assert post(level=3, team="blue").documents.unchanged == 1
    assert post().chunks.embedded == 0
    assert not payload(bench)["metadata"]


def test_chunks_that_both_versions_share_are_written_only_if_they_stand_elsewhere(bench: Bench, monkeypatch):
    file = bench.docs / "a.md"
    file.write_text(text(*range(30)))
    total = bench.ingest().chunks.total
    rewritten: list[str] = []
    set_payload = bench.index.set_payload
    monkeypatch.setattr(
        bench.index,
        "set_payload",
        lambda scope, payloads: (rewritten.extend(payloads), set_payload(scope, payloads))[1],
    )
    file.write_text(text(*range(29), 99))
    assert bench.ingest().chunks.embedded <= 2
    assert rewritten == []
    file.write_text(text(77, *range(29), 99))
    report = bench.ingest()
    assert report.chunks.embedded <= 2
    assert total - 3 <= len(rewritten) <= total


def test_a_file_that_was_only_touched_is_read_once_more_and_not_cut(bench: Bench):
    file = bench.docs / "a.md"
    file.write_text(text(1))
    bench.ingest()
    again = bench.ingest()
    assert (again.documents.unchanged, again.chunks.embedded) == (1, 0)
    assert bench.manifest.documents(SCOPE)["docs/a.md"].generation == 1


class TestPlan:
    def test_it_says_what_ingest_then_does_and_why(self, bench: Bench):
        for name, numbers in (("a.md", (1, 2)), ("b.md", (3, 4)), ("c.md", (5,))):
            (bench.docs / name).write_text(text(*numbers))
        bench.ingest()
        bench.manifest.note_pace(bench.encoder.fingerprint, 1000.0)
        (bench.docs / "a.md").write_text(text(1, 9))
        (bench.docs / "b.md").rename(bench.docs / "d.md")
        (bench.docs / "bad.md").write_bytes(bytes(range(256)) * 8)
        paid = list(bench.encoder.paid)

        planned = bench.plan(prune=True)

        assert bench.encoder.paid == paid
        reasons = {change.source: (change.reason, change.embed) for change in planned.changes}
        assert reasons == {"docs/a.md": ("edited", 1), "docs/d.md": ("new", 0)}
        assert (planned.documents.unchanged, planned.documents.deleted, planned.documents.failed) == (1, 1, 1)
        done = bench.ingest(prune=True)
        assert (done.chunks.embedded, done.chunks.deleted) == (planned.chunks.embed, planned.chunks.delete)
        assert (done.embedding.tokens, done.embedding.cost_usd) == (
            planned.embedding.tokens,
            planned.embedding.cost_usd,
        )
        assert bench.plan(prune=True).changes == ()

    def test_other_chunking_makes_documents_stale(self, bench: Bench, tmp_path: Path):
        (bench.docs / "a.md").write_text(text(1, 2, 3))
        bench.ingest()
        chunking = bench.settings.chunking.model_copy(update={"min_words": 150})
        bench.settings = bench.settings.model_copy(update={"chunking": chunking})
        (change,) = bench.plan().changes
        assert change.reason == "stale by configuration"
        assert bench.ingest().documents.changed == 1
        assert bench.plan().changes == ()

    def test_a_machine_that_never_embedded_is_measured_on_texts_that_are_then_paid_for(self, tmp_path: Path):
        (tmp_path / "free").mkdir()
        bench = Bench(tmp_path / "free")
        (bench.docs / "a.md").write_text(text(*range(60)))
        planned = bench.plan()
        assert planned.embedding.seconds >= 0 and 0 < len(bench.encoder.paid) <= 16
        bench.ingest()
        assert len(bench.encoder.paid) == len(set(bench.encoder.paid)) == planned.chunks.embed
        bench.close()

    def test_past_the_ceiling_nothing_is_spent(self, bench: Bench):
        (bench.docs / "a.md").write_text(text(1, 2, 3))
        planned = bench.plan().embedding
        cost = planned.cost_usd
        assert planned.seconds is None  # where embedding costs money, nothing is embedded to find out
        with pytest.raises(TooExpensive, match=r"would cost \$.*--max-cost"):
            bench.ingest(max_cost_usd=cost / 2)
        assert bench.encoder.paid == [] and bench.manifest.documents(SCOPE) == {}
        assert bench.ingest(max_cost_usd=cost).embedding.cost_usd == cost
