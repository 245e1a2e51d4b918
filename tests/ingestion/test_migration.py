"""Another model or chunker takes the old one's place at once, pays for nothing twice, and loses no document."""

import shutil
import signal
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import pytest

from ragsaver.errors import BudgetExceeded, IndexLocked, ModelMismatch, StorageError, TooExpensive, UsageError
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import read_identity
from ragsaver.index.ownership import Ownership
from ragsaver.index.scope import Scope
from ragsaver.index.store import current_store
from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.half import Building, take_ready
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.lifecycle import Lifecycle
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.migration import open_migration
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.models.registry import bundled_folder
from ragsaver.settings import Settings, SpendSettings
from tests.commands import as_json, committed_documents, environment, run, serving
from tests.ingestion.bench import SCOPE, Bench, CountingEncoder, Stopped
from tests.pdf_files import PICTURE, pdf
from tests.spend.ledgers import budget

OTHER_SCOPE = Scope("other", "notes")


class NewEncoder(CountingEncoder):
    """The model that is migrated to."""

    name, dim, fingerprint = "new", 16, "d" * 32


@pytest.fixture
def old(tmp_path: Path):
    """An index of the old model, with five files, a posted text, and a document of another tenant; still open."""
    bench = Bench(tmp_path, ingestion={"batch_chunks": 1}, index={"bm25_avg_words": 50.0})
    for n in range(5):
        (bench.docs / f"{n}.md").write_text(f"# Title {n}\n\nzebra number {n}")
    bench.ingest()
    bench.ingestor().ingest_texts([PostedDocument("note", "zebra posted", "text", {"by": "me"})], SCOPE)
    bench.ingestor().ingest_texts([PostedDocument("theirs", "zebra of another")], OTHER_SCOPE)
    yield bench
    if (bench.folder / "home" / "index").exists():
        bench.close()
    else:  # a real owner would have let go before the switch
        bench.manifest.close()
        bench.cache.close()


def open_store(store: Path, settings: Settings, encoder: CountingEncoder) -> EdgeIndex:
    return EdgeIndex(store / "index", Building.of(settings, encoder).identity)


@contextmanager
def migration(bench: Bench, encoder: CountingEncoder, stop_after: Step | None = None, times: int = 1, **settings):
    """A migration that ends when that step was done so many times."""
    left = times

    def fault(step: Step) -> None:
        nonlocal left
        left -= step == stop_after
        if left == 0:
            raise Stopped

    changed = bench.settings.model_copy(update=settings)
    with open_migration(changed, encoder, fault=fault) as opened:
        yield opened


def found_in_use(bench: Bench, encoder: CountingEncoder, scope: Scope = SCOPE) -> set[str]:
    """What a search for `zebra` shows in the store in use."""
    index = open_store(current_store(bench.settings.home), bench.settings, encoder)
    try:
        legs = index.search(scope, "zebra", encoder.vectors(["x"])[0], 50)
        return {hit.payload["text"] for hit in legs.lexical}
    finally:
        index.close()


ALL = {*(f"zebra number {n}" for n in range(5)), "zebra posted"}


def test_what_a_budget_has_no_room_for_leaves_the_old_index_in_use_and_a_later_run_goes_on(old: Bench):
    encoder = NewEncoder()

    def limited(micro_dollars: int) -> SpendSettings:
        wish = budget("tenant", "month", micro_dollars, "acme")
        return SpendSettings(embedding_per_mtok=Decimal(10), budgets=[wish])

    with migration(old, encoder, spend=limited(120)) as under_way, pytest.raises(BudgetExceeded) as refused:
        under_way.run()
    assert refused.value.report.documents.waiting > 0 and len(encoder.paid) > 0
    assert old.found("zebra") == ALL and (old.settings.home / "index").exists()
    with migration(old, encoder, spend=limited(10_000)) as under_way:
        assert under_way.run().switched
    assert len(encoder.paid) == len(set(encoder.paid)) == 7
    assert found_in_use(old, encoder) == ALL


def test_all_tenants_files_and_posted_texts_come_over_and_the_old_half_goes(old: Bench):
    encoder = NewEncoder()
    emptied = Scope("acme", "emptied")
    old.ingestor().ingest_texts([PostedDocument("b.md", "Bees dance.")], emptied)
    old.ingestor().forget(emptied, lambda known: list(known.values()))
    uses = {old.manifest.documents(SCOPE)["note"].id: 5.0}
    old.manifest.uses.note(uses)
    before = {source: record.ingested_at for source, record in old.manifest.documents(SCOPE).items()}
    with migration(old, encoder) as under_way:
        report = under_way.run()
    assert report.switched and report.reason.startswith("from model `counting`")
    assert (report.documents.total, report.documents.brought, report.documents.missing) == (7, 7, 0)
    assert (report.chunks.embedded, len(encoder.paid)) == (7, 7)
    assert found_in_use(old, encoder) == ALL
    assert found_in_use(old, encoder, OTHER_SCOPE) == {"zebra of another"}
    home = old.settings.home
    assert not (home / "index").exists() and not (home / "manifest.sqlite").exists()
    assert [entry.name for entry in home.glob("store-*")] == ["store-1"]
    new = Manifest(current_store(home) / "manifest.sqlite")
    assert {source: record.ingested_at for source, record in new.documents(SCOPE).items()} == before
    assert new.uses.of(SCOPE) == uses
    assert (new.is_emptied(emptied), new.is_emptied(SCOPE)) == (True, False)
    assert new.changes.mark(SCOPE) != old.manifest.changes.mark(SCOPE) != ""
    note = new.documents(SCOPE)["note"]
    assert new.originals.get(note.id, note.generation).metadata == {"by": "me"}
    new.close()
    with migration(old, encoder) as under_way:
        assert under_way.run().waiting.endswith("nothing to do")


def test_what_documents_lost_is_told_by_the_new_half_too(old: Bench):
    (old.docs / "scan.pdf").write_bytes(pdf([["Owls hunt voles."], []], drawn={1: PICTURE}))
    old.ingest()
    with migration(old, NewEncoder()) as under_way:
        assert under_way.run().switched
    with closing(Manifest(current_store(old.settings.home) / "manifest.sqlite")) as new:
        assert new.originals.noted(SCOPE) == old.manifest.originals.noted(SCOPE) != {}


@pytest.mark.parametrize("step", Step)
def test_a_half_that_was_stopped_is_completed_and_nothing_is_embedded_twice(old: Bench, step: Step):
    encoder = NewEncoder()
    with migration(old, encoder, step, times=3) as under_way, pytest.raises(Stopped):
        under_way.run()
    assert 0 < len(encoder.paid) < 7 or step == Step.INTENT
    assert old.found("zebra") == ALL  # the old one serves
    with migration(old, encoder) as under_way:
        assert under_way.run().switched
    assert sorted(encoder.paid) == sorted(set(encoder.paid)) and len(encoder.paid) == 7
    assert found_in_use(old, encoder) == ALL


def test_a_half_by_other_settings_is_removed(old: Bench):
    first, second = NewEncoder(), NewEncoder()
    second.fingerprint = "e" * 32
    with migration(old, first, Step.CLEARED, times=3) as under_way, pytest.raises(Stopped):
        under_way.run()
    with migration(old, second) as under_way:
        assert under_way.plan().documents == 7
        assert (old.settings.home / "store-1").exists()  # a plan leaves another half as it is
        assert under_way.run().switched
    assert len(second.paid) == 7
    assert read_identity(current_store(old.settings.home) / "index").fingerprint == second.fingerprint


def test_going_back_to_the_old_settings_removes_the_half(old: Bench):
    with migration(old, NewEncoder(), Step.CLEARED) as under_way, pytest.raises(Stopped):
        under_way.run()
    with migration(old, old.encoder) as under_way:
        assert not under_way.run().switched
    assert not (old.settings.home / "store-1").exists()
    assert old.found("zebra") == ALL


def test_abort_removes_the_half_and_only_that(old: Bench):
    with migration(old, NewEncoder(), Step.CLEARED) as under_way, pytest.raises(Stopped):
        under_way.run()
    with migration(old, NewEncoder()) as under_way:
        assert (under_way.abort(), under_way.abort()) == (True, False)
    assert old.found("zebra") == ALL


def test_another_chunker_is_a_reason_too(old: Bench):
    chunking = old.settings.chunking.model_copy(update={"embed_headings": False})
    with migration(old, old.encoder, chunking=chunking) as under_way:
        assert under_way.reason() == "7 of 7 documents are cut by other settings"
        assert under_way.run().switched
    assert found_in_use(old, old.encoder) == ALL


def test_a_plan_says_what_it_takes_and_leaves_no_half(old: Bench):
    encoder = NewEncoder()
    with migration(old, encoder) as under_way:
        plan = under_way.plan()
        assert (plan.documents, plan.chunks, plan.missing) == (7, 7, ())
        assert plan.embedding.tokens > 0 and plan.reason
        assert {entry.name for entry in old.settings.home.iterdir()}.isdisjoint({"store-1", "current"})
        assert under_way.run().switched
    assert len(encoder.paid) == 7  # what the plan measured with was kept


def test_a_plan_for_another_chunker_knows_how_fast_the_model_was_even_where_embedding_costs(old: Bench):
    old.manifest.note_pace(old.ingestor().recipe.model, 10.0)
    changed = {
        "chunking": old.settings.chunking.model_copy(update={"embed_headings": False}),
        "spend": old.settings.spend.model_copy(update={"embedding_per_mtok": Decimal(1)}),
    }
    with migration(old, old.encoder, **changed) as under_way:
        embedding = under_way.plan().embedding
    assert embedding.tokens > 0
    assert embedding.seconds == pytest.approx(embedding.tokens / 10.0, abs=0.2)
    with migration(old, NewEncoder(), **changed) as under_way:
        assert under_way.plan().embedding.seconds is None  # nothing is known of this one


def test_too_dear_a_migration_is_refused_before_anything_is_built(old: Bench):
    spend = old.settings.spend.model_copy(update={"embedding_per_mtok": Decimal(1000)})
    with migration(old, NewEncoder(), spend=spend) as under_way:
        with pytest.raises(TooExpensive, match="--plan"):
            under_way.run(max_cost_usd=Decimal("0.001"))
        assert not (old.settings.home / "store-1").exists()
        assert under_way.run(max_cost_usd=Decimal(1)).switched


def test_a_document_that_can_t_be_read_any_more_stops_the_switch_until_somebody_decides(old: Bench):
    (old.docs / "3.md").unlink()
    (old.docs / "4.md").write_bytes(b"\xff\xfe\x00")
    encoder = NewEncoder()
    with migration(old, encoder) as under_way:
        assert [one.source for one in under_way.plan().missing] == ["docs/3.md", "docs/4.md"]
        report = under_way.run()
    assert (report.switched, report.documents.missing) == (False, 2)
    assert [one.source for one in report.errors] == ["docs/3.md", "docs/4.md"]
    assert "--drop-missing" in report.waiting
    assert take_ready(old.settings, encoder) == old.settings.home
    with migration(old, encoder) as under_way:
        report = under_way.run(drop_missing=True)
    assert report.switched and report.documents.brought == 5
    assert found_in_use(old, encoder) == ALL - {"zebra number 3", "zebra number 4"}


def test_an_index_that_is_held_is_switched_when_its_next_owner_starts(old: Bench):
    encoder = NewEncoder()
    held = Ownership.acquire(old.settings.home, "a Haystack pipeline")
    with migration(old, encoder) as under_way:
        report = under_way.run()
    assert not report.switched and "a Haystack pipeline" in report.waiting
    old.manifest.uses.note({old.manifest.documents(SCOPE)["note"].id: 7.0})
    assert current_store(old.settings.home) == old.settings.home
    assert take_ready(old.settings, old.encoder) == old.settings.home  # it is not for these settings
    store = take_ready(old.settings, encoder)
    held.release()
    assert store == current_store(old.settings.home) != old.settings.home
    assert found_in_use(old, encoder) == ALL
    new = Manifest(store / "manifest.sqlite")
    assert list(new.uses.of(SCOPE).values()) == [7.0]
    new.close()


def test_documents_that_came_in_meanwhile_keep_the_half_waiting_and_the_next_run_brings_them(old: Bench):
    encoder = NewEncoder()
    held = Ownership.acquire(old.settings.home, "a Haystack pipeline")
    with migration(old, encoder) as under_way:
        under_way.run()
    note = old.manifest.documents(SCOPE)["note"]
    Lifecycle(old.settings, old.manifest, old.ingestor(), 16).delete_one(note.id, SCOPE)
    old.ingestor().ingest_texts([PostedDocument("late", "zebra that came late")], SCOPE)
    assert take_ready(old.settings, encoder) == old.settings.home
    held.release()
    with migration(old, encoder) as under_way:
        report = under_way.run()
    assert report.switched and report.chunks.embedded == 1
    assert found_in_use(old, encoder) == (ALL | {"zebra that came late"}) - {"zebra posted"}


def test_documents_that_come_in_while_it_builds_are_brought_too(old: Bench):
    encoder = NewEncoder()
    late = iter([PostedDocument("late", "zebra that came late")])

    def meanwhile(_: object) -> None:
        for document in late:
            old.ingestor().ingest_texts([document], SCOPE)

    with migration(old, encoder) as under_way:
        assert under_way.run(progress=meanwhile).switched
    assert found_in_use(old, encoder) == ALL | {"zebra that came late"}


def test_a_stop_just_before_the_switch_leaves_a_half_that_the_next_owner_takes(
    old: Bench, monkeypatch: pytest.MonkeyPatch
):
    encoder = NewEncoder()

    def dies(home: Path, store: Path) -> None:
        raise Stopped

    with migration(old, encoder) as under_way:
        monkeypatch.setattr("ragsaver.ingestion.half.switch", dies)
        with pytest.raises(Stopped):
            under_way.run()
        monkeypatch.undo()
    assert current_store(old.settings.home) == old.settings.home
    assert take_ready(old.settings, encoder) == current_store(old.settings.home) == old.settings.home / "store-1"
    assert found_in_use(old, encoder) == ALL


def test_a_stop_just_after_the_switch_leaves_the_new_half_and_the_next_owner_cleans(
    old: Bench, monkeypatch: pytest.MonkeyPatch
):
    encoder = NewEncoder()

    def dies(settings: Settings) -> None:
        raise Stopped

    with migration(old, encoder) as under_way:
        monkeypatch.setattr("ragsaver.ingestion.migration.remove_replaced", dies)
        with pytest.raises(Stopped):
            under_way.run()
    assert (old.settings.home / "manifest.sqlite").exists()
    with migration(old, encoder) as under_way:
        assert under_way.abort() is False  # it is in use, no half any more
    assert take_ready(old.settings, encoder) == current_store(old.settings.home) != old.settings.home
    assert found_in_use(old, encoder) == ALL
    assert not (old.settings.home / "manifest.sqlite").exists()


def test_a_disk_that_refuses_the_switch_leaves_the_old_half_in_use(old: Bench, monkeypatch: pytest.MonkeyPatch):
    encoder = NewEncoder()

    def full(file: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    with migration(old, encoder) as under_way:
        monkeypatch.setattr("ragsaver.index.store.put", full)
        with pytest.raises(StorageError, match="No space left"):
            under_way.run()
        monkeypatch.undo()
    assert old.found("zebra") == ALL
    with migration(old, encoder) as under_way:
        report = under_way.run()
    assert (report.switched, report.chunks.embedded) == (True, 0)
    assert found_in_use(old, encoder) == ALL


def test_one_migration_at_a_time(old: Bench):
    with (
        migration(old, NewEncoder()),
        pytest.raises(IndexLocked, match="ragsaver migrate"),
        migration(old, NewEncoder()),
    ):
        pass


def test_where_nothing_is_in_there_is_nothing_to_migrate(tmp_path: Path):
    with (
        open_migration(Settings(home=tmp_path / "home"), NewEncoder()) as under_way,
        pytest.raises(UsageError, match="ragsaver ingest"),
    ):
        under_way.run()


def test_retention_and_quotas_are_no_matter_of_a_migration(old: Bench):
    limited = Settings.model_validate(
        {
            **old.settings.model_dump(),
            "lifecycle": {"retention": {"docs": {"max_documents": 1}}, "quota": {"max_documents": 1}},
        }
    )
    encoder = NewEncoder()
    with open_migration(limited, encoder) as under_way:
        assert under_way.run().documents.brought == 7


def test_what_comes_in_after_the_switch_goes_into_the_new_half(old: Bench):
    encoder = NewEncoder()
    with migration(old, encoder) as under_way:
        under_way.run()
    store = current_store(old.settings.home)
    index, manifest = open_store(store, old.settings, encoder), Manifest(store / "manifest.sqlite")
    (old.docs / "9.md").write_text("# New\n\na new zebra")
    report = Ingestor(old.settings, index, encoder, manifest, old.cache).ingest(old.order(), SCOPE)
    index.close()
    manifest.close()
    assert (report.documents.added, report.documents.unchanged, report.chunks.embedded) == (1, 5, 1)
    with pytest.raises(ModelMismatch, match="ragsaver migrate"):
        open_store(store, old.settings, old.encoder)


# The command, with two real models

DOCUMENTS = 60


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for n in range(DOCUMENTS):
        words = " ".join(f"word{n}x{i}" for i in range(120))
        (tmp_path / "docs" / f"{n:02}.md").write_text(f"# Zebra {n}\n\nZebra number {n} lives here. {words}\n")
    shutil.copytree(bundled_folder(), tmp_path / "other-model")
    tokenizer = tmp_path / "other-model" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    return tmp_path


def kill_in_the_middle(project: Path, new_model: dict[str, str]) -> int:
    """Kill a migration once it has committed something; how many documents that was."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ragsaver", "migrate", "--json"],
        cwd=project,
        env=environment(project, RAGSAVER_INGESTION__BATCH_CHUNKS="2", **new_model),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        while not committed_documents(project / ".ragsaver" / "store-1"):
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
                raise AssertionError(process.communicate())
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    return committed_documents(project / ".ragsaver" / "store-1")


def test_a_killed_migration_is_completed_while_the_server_answers_and_switched_at_its_restart(project: Path):
    new_model = {"RAGSAVER_EMBEDDING__MODEL": str(project / "other-model")}
    run(project, "ingest", "docs")
    refused = as_json(project, "ask", "Where does zebra number 2 live?", code=2, **new_model)["error"]
    assert "ragsaver migrate" in refused["remedy"]
    plan = as_json(project, "migrate", "--plan", **new_model)
    assert (plan["documents"], plan["missing"]) == (DOCUMENTS, [])
    assert plan["embedding"]["tokens"] > 0 and plan["embedding"]["seconds"] > 0

    with serving(project, says="its own settings mean another index"):
        before = kill_in_the_middle(project, new_model)
        assert 0 < before < DOCUMENTS
        assert "lives here" in as_json(project, "ask", "Where does zebra number 2 live?")["answer"]
        report = as_json(project, "migrate", **new_model)
        assert (report["switched"], report["documents"]["brought"]) == (False, DOCUMENTS)
        assert "ragsaver serve" in report["waiting"]
        assert report["chunks"]["embedded"] <= DOCUMENTS - before
        assert "lives here" in as_json(project, "ask", "Where does zebra number 2 live?")["answer"]

    with serving(project, **new_model):
        assert "lives here" in as_json(project, "ask", "Where does zebra number 2 live?")["answer"]
        assert as_json(project, "ingest", "docs")["documents"]["unchanged"] == DOCUMENTS
    checked = as_json(project, "verify", **new_model)
    assert (checked["documents"], checked["missing"], checked["orphaned"]) == (DOCUMENTS, 0, 0)
    assert "ragsaver migrate" in as_json(project, "search", "zebra", code=2)["error"]["remedy"]

    back = as_json(project, "migrate")  # nobody owns the index: it is switched at once, and the vectors are still there
    assert (back["switched"], back["chunks"]["embedded"]) == (True, 0)
    assert "lives here" in as_json(project, "ask", "Where does zebra number 2 live?")["answer"]
    assert as_json(project, "migrate", "--abort") == {"removed": False}
