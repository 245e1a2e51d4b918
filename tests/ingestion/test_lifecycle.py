"""A corpus stays as small as its owner wants: deleting, retention, quotas, and a report that adds up."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.uses import UseLog
from ragsaver.errors import DocumentNotFound, StorageError, UsageError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.holdings import report_holdings
from ragsaver.ingestion.identity import Fingerprints
from ragsaver.ingestion.lifecycle import Lifecycle
from ragsaver.ingestion.manifest import DocumentRecord
from ragsaver.ingestion.rereading import item_again
from ragsaver.ingestion.retention import DAY_S, expiries
from ragsaver.ingestion.selection import DocumentSelection, pairs_of, seconds_of
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.ingestion.standing import Standing, standings
from ragsaver.pipelines.runtime import Runtime
from ragsaver.settings import DatabaseSettings, RetentionSettings
from tests.commands import as_json, run, serving
from tests.ingestion.bench import SCOPE, Bench, Stopped

NOW = 1_000 * DAY_S


def standing(source: str, age_days: float = 0, used_days: float | None = None, size: int = 2**20, **more) -> Standing:
    prints = more.pop("prints", (f"{source}-text",))
    record = DocumentRecord(
        id=source, source=source, location=None, size=size, version="", content_hash=more.pop("content", source),
        metadata_hash="", config="", generation=1, ingested_at=NOW - age_days * DAY_S,
        chunks=tuple(Fingerprints(f"{source}{one}", one, "", "") for one in prints),
    )  # fmt: skip
    return Standing(record, 0, size, None if used_days is None else NOW - used_days * DAY_S, **more)


def gone(documents: list[Standing], **rule: float) -> list[str]:
    return [one.document.record.source for one in expiries(documents, RetentionSettings.model_validate(rule), NOW)]


def bench(folder: Path, **lifecycle: object) -> Bench:
    return Bench(folder, lifecycle=lifecycle)


def lifecycle(of: Bench) -> Lifecycle:
    return Lifecycle(of.settings, of.manifest, of.ingestor(), of.encoder.dim)


@pytest.fixture
def plain(tmp_path: Path, database: DatabaseSettings):
    made = Bench(tmp_path, database=database)
    yield made
    made.close()


def write(of: Bench, **texts: str) -> None:
    for name, text in texts.items():
        (of.docs / f"{name}.md").write_text(f"# {name}\n\n{text}")


def sources(of: Bench, scope: Scope = SCOPE) -> list[str]:
    return [Path(source).stem for source in sorted(of.manifest.documents(scope))]


# Retention, decided


def test_what_is_older_than_the_age_goes_however_often_it_is_used():
    assert gone([standing("old", 31, used_days=0), standing("new", 29)], max_age_days=30) == ["old"]


def test_what_was_long_unused_goes_and_what_just_came_in_does_not():
    documents = [standing("used", 90, used_days=5), standing("unused", 90, used_days=40), standing("new", 1)]
    assert gone([*documents, standing("never", 90)], max_unused_days=30) == ["never", "unused"]


def test_beyond_the_count_the_longest_unused_go_first():
    documents = [standing("a", 3, used_days=1), standing("b", 2), standing("c", 9, used_days=0)]
    assert gone(documents, max_documents=2) == ["b"]
    assert gone(documents, max_documents=1) == ["b", "a"]


def test_beyond_the_bytes_the_longest_unused_go_first_and_no_more_than_needed():
    documents = [standing("a", 3), standing("b", 2), standing("c", 1)]
    assert gone(documents, max_mb=2) == ["a"]
    assert gone(documents, max_mb=1.5) == ["a", "b"]


def test_no_rule_takes_nothing():
    assert gone([standing("a", 10_000)]) == []


ages = st.floats(0, 100)


@given(
    documents=st.lists(st.tuples(ages, st.none() | ages, st.integers(0, 2**21)), max_size=12),
    max_documents=st.none() | st.integers(1, 12),
    max_mb=st.none() | st.floats(0.1, 8),
    max_unused_days=st.none() | st.floats(0.1, 100),
)
def test_what_stays_keeps_to_every_rule_and_nothing_that_stays_is_longer_unused_than_what_goes(
    documents, max_documents, max_mb, max_unused_days
):
    given_ = [standing(str(n), age, used, size) for n, (age, used, size) in enumerate(documents)]
    rule = RetentionSettings(max_documents=max_documents, max_mb=max_mb, max_unused_days=max_unused_days)
    going = expiries(given_, rule, NOW)
    names = {expiry.document.record.id for expiry in going}
    stay = [one for one in given_ if one.record.id not in names]
    assert len(names) == len(going)
    assert max_documents is None or len(stay) <= max_documents
    assert max_mb is None or sum(one.bytes for one in stay) <= max_mb * 2**20
    assert max_unused_days is None or all(NOW - one.touched_at <= max_unused_days * DAY_S for one in stay)
    if going and stay:
        assert max(expiry.document.touched_at for expiry in going) <= min(one.touched_at for one in stay)
    assert not expiries(stay, rule, NOW)


# Retention, applied


def test_retention_is_applied_after_an_ingestion_and_says_what_went_and_why(tmp_path: Path):
    of = bench(tmp_path, retention={"docs": {"max_documents": 2}, "elsewhere": {"max_documents": 1}})
    write(of, a="first zebra", b="second zebra")
    of.ingest()
    of.manifest.uses.note({of.manifest.documents(SCOPE)["docs/a.md"].id: 2e9})
    write(of, c="third zebra")
    report = of.ingest()
    assert [(one.source, "max_documents" in one.reason) for one in report.expired] == [("docs/b.md", True)]
    assert (report.documents.deleted, report.chunks.deleted) == (1, 1)
    assert of.found("zebra") == {"first zebra", "third zebra"}
    assert of.verify().points == 2
    of.close()


@pytest.mark.parametrize("rule", [{"max_documents": 2}, {"max_mb": 0.0003}, {}])
def test_a_plan_foresees_what_retention_takes_out(tmp_path: Path, rule: dict[str, float]):
    of = bench(tmp_path, retention={"docs": rule})
    went = 0
    for texts in ({"a": "first", "b": "second", "c": "third"}, {"b": "another", "d": "much longer"}, {"e": "fifth"}):
        write(of, **{name: f"{text} zebra" for name, text in texts.items()})
        if "d" in texts:
            (of.docs / "c.md").unlink()
        planned, done = of.plan(prune=True), of.ingest(prune=True)
        assert [one.source for one in planned.expired] == [one.source for one in done.expired]
        assert (planned.documents.deleted, planned.chunks.delete) == (done.documents.deleted, done.chunks.deleted)
        went += len(done.expired)
    assert bool(went) == bool(rule)
    of.close()


def test_a_dry_run_of_expiry_takes_nothing_away(tmp_path: Path):
    of = bench(tmp_path)
    write(of, a="first zebra", b="second zebra")
    of.ingest()
    of.settings = of.settings.model_validate(
        {**of.settings.model_dump(), "lifecycle": {"retention": {"docs": {"max_documents": 1}}}}
    )
    told = lifecycle(of).expire(SCOPE, dry_run=True)
    assert (len(told.documents), told.dry_run, len(of.found("zebra"))) == (1, True, 2)
    assert lifecycle(of).expire(SCOPE).documents == told.documents
    assert (len(of.found("zebra")), lifecycle(of).expire(SCOPE).documents) == (1, ())
    of.close()


@pytest.mark.parametrize("step", [Step.INTENT, Step.COMMITTED, Step.REWRITTEN, Step.SWAPPED])
def test_a_stop_while_documents_expire_is_completed_by_the_next_run(tmp_path: Path, step: Step):
    of = bench(tmp_path)
    write(of, a="first zebra", b="second zebra")
    of.ingest()
    of.settings = of.settings.model_validate(
        {**of.settings.model_dump(), "lifecycle": {"retention": {"docs": {"max_documents": 1}}}}
    )
    with pytest.raises(Stopped):
        of.ingestor(step).expire(SCOPE)
    of.ingestor().expire(SCOPE)
    assert len(of.found("zebra")) == 1
    report = of.verify()
    assert (report.documents, report.points, report.orphaned) == (1, 1, 0)
    of.close()


# Deleting


def test_documents_are_taken_by_source_place_age_and_metadata(plain: Bench):
    (plain.docs / "sub").mkdir()
    write(plain, a="zebra", sub="zebra of the file")
    (plain.docs / "sub" / "c.md").write_text("# c\n\nzebra below")
    plain.ingest()
    plain.ingestor().ingest_texts([PostedDocument("note", "zebra posted", None, {"year": 2020, "by": "me"})], SCOPE)
    life = lifecycle(plain)

    def taken(**conditions: object) -> list[str]:
        selection = DocumentSelection.model_validate({"cwd": plain.folder, **conditions})
        return [one.source for one in life.list(selection, SCOPE).documents]

    assert taken() == ["docs/a.md", "docs/sub.md", "docs/sub/c.md", "note"]
    assert taken(source="docs/a.md") == taken(source=str(plain.docs / "a.md")) == ["docs/a.md"]
    assert taken(under="docs/sub") == taken(under=str(plain.docs / "sub")) == ["docs/sub/c.md"]
    assert taken(under="docs/") == ["docs/a.md", "docs/sub.md", "docs/sub/c.md"]
    assert taken(older_than_s=3600) == [] and len(taken(older_than_s=0)) == 4
    assert taken(metadata={"year": "2020", "by": "me"}) == ["note"]
    assert taken(metadata={"year": "2020", "by": "you"}) == taken(metadata={"none": "x"}) == []
    assert taken(under="docs", metadata={"by": "me"}) == []


def test_deleting_takes_what_was_selected_and_nothing_of_another_scope(plain: Bench):
    other = Scope("other", "docs")
    write(plain, a="first zebra", b="second zebra")
    plain.ingest()
    plain.ingest(scope=other)
    selection = DocumentSelection(cwd=plain.folder, source="docs/a.md")
    told = lifecycle(plain).delete(selection, SCOPE, dry_run=True)
    assert (told.chunks, sources(plain)) == (1, ["a", "b"])
    assert lifecycle(plain).delete(selection, SCOPE).documents == told.documents
    assert (sources(plain), sources(plain, other)) == (["b"], ["a", "b"])
    assert (plain.found("zebra"), plain.index.count(other)) == ({"second zebra"}, 2)
    assert lifecycle(plain).delete(selection, SCOPE).documents == ()


def test_deleting_without_a_condition_is_refused(plain: Bench):
    with pytest.raises(UsageError, match="which documents.*0d"):
        lifecycle(plain).delete(DocumentSelection(), SCOPE)


def test_an_id_of_another_tenant_is_not_found(plain: Bench):
    write(plain, a="zebra")
    plain.ingest(scope=Scope("other", "docs"))
    (theirs,) = plain.manifest.documents(Scope("other", "docs")).values()
    with pytest.raises(DocumentNotFound):
        lifecycle(plain).delete_one(theirs.id, SCOPE)
    assert plain.index.count(Scope("other", "docs")) == 1


def test_what_is_deleted_and_ingested_again_is_not_embedded_again(plain: Bench):
    write(plain, a="zebra")
    plain.ingest()
    lifecycle(plain).delete(DocumentSelection(older_than_s=0), SCOPE)
    assert plain.ingest().chunks.embedded == 0
    assert plain.found("zebra") == {"zebra"}


@pytest.mark.parametrize(("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("1.5m", 90), ("2w", 1_209_600)])
def test_durations_are_read(text: str, seconds: float):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1y", "1d2h"])
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(UsageError, match="30d"):
        seconds_of(text)


@pytest.mark.parametrize("given_", [["a"], ["=b"], ["a=1", "a=2"]])
def test_what_is_no_condition_is_refused(given_: list[str]):
    with pytest.raises(UsageError, match="key=value"):
        pairs_of(given_)


# Quotas


def test_documents_beyond_the_quota_are_refused_by_name_and_the_rest_goes_in(tmp_path: Path):
    of = bench(tmp_path, quota={"max_documents": 2})
    write(of, a="first zebra", b="second zebra", c="third zebra")
    report = of.ingest()
    assert (report.documents.added, report.documents.failed) == (2, 1)
    (failure,) = report.errors
    assert failure.source == "docs/c.md"
    assert "3 documents, `lifecycle.quota.max_documents` allows 2" in failure.error
    assert "ragsaver documents delete" in failure.error
    assert len(of.encoder.paid) == 2
    assert of.plan().documents.failed == 1
    of.close()


def test_a_document_is_never_half_in_and_its_old_version_stays(tmp_path: Path):
    of = bench(tmp_path, quota={"max_chunks": 3})
    write(of, a="the old zebra")
    of.ingest()
    long = "\n\n".join(f"## Part {n}\n\nthe new zebra {n} " + "word " * 60 for n in range(6))
    write(of, a=long)
    report = of.ingest()
    assert (report.documents.failed, report.documents.changed) == (1, 0)
    assert "its old version stays" in report.errors[0].error
    assert of.found("zebra") == {"the old zebra"}
    write(of, a="the short zebra")
    assert of.ingest().documents.changed == 1
    of.close()


def test_what_a_run_takes_away_makes_room_for_what_it_brings(tmp_path: Path):
    of = bench(tmp_path, quota={"max_documents": 1})
    write(of, a="zebra")
    of.ingest()
    (of.docs / "a.md").rename(of.docs / "b.md")
    report = of.ingest(prune=True)
    assert (report.documents.failed, sources(of)) == (0, ["b"])
    of.close()


def test_a_quota_counts_all_collections_of_a_tenant_and_of_no_other(tmp_path: Path):
    of = bench(tmp_path, quota={"max_mb": 0.001})
    write(of, a="zebra " * 100)
    assert of.ingest().documents.added == 1
    refused = of.ingest(scope=Scope("acme", "more"))
    assert "MB, `lifecycle.quota.max_mb` allows 0.001" in refused.errors[0].error
    assert of.ingest(scope=Scope("other", "docs")).documents.added == 1
    of.close()


def test_a_corpus_beyond_a_lowered_quota_may_still_shrink(tmp_path: Path):
    of = bench(tmp_path)
    write(of, a="first zebra is here", b="second zebra")
    of.ingest()
    of.settings = of.settings.model_validate({**of.settings.model_dump(), "lifecycle": {"quota": {"max_mb": 0}}})
    write(of, a="zebra")
    assert of.ingest().documents.changed == 1
    write(of, a="zebra that grows")
    assert of.ingest().documents.failed == 1
    of.close()


# Posted texts


def test_a_posted_text_is_kept_with_its_version_and_goes_with_it(plain: Bench):
    def post(text: str) -> DocumentRecord:
        plain.ingestor().ingest_texts([PostedDocument("note", text, "text", {"by": "me"})], SCOPE)
        return plain.manifest.documents(SCOPE)["note"]

    first = post("the first text")
    again = plain.manifest.originals.get(first.id, first.generation).posted("note")
    assert (again.read(), again.format, again.metadata) == (b"the first text", "text", {"by": "me"})
    second = post("the second text")
    assert plain.manifest.originals.get(first.id, first.generation) is None
    assert plain.manifest.originals.get(second.id, second.generation).posted("note").read() == b"the second text"
    lifecycle(plain).delete_one(second.id, SCOPE)
    assert plain.manifest.originals.of(SCOPE) == {}


def test_the_text_of_a_version_that_was_never_committed_is_not_taken_for_the_true_one(plain: Bench):
    post = [PostedDocument("note", "the first zebra")]
    plain.ingestor().ingest_texts(post, SCOPE)
    with pytest.raises(Stopped):
        plain.ingestor(Step.UPSERTED).ingest_texts([PostedDocument("note", "the second zebra")], SCOPE)
    record = plain.manifest.documents(SCOPE)["note"]
    assert item_again(record, plain.manifest, plain.settings).read() == b"the first zebra"


def test_a_file_that_is_posted_unchanged_is_kept_as_text(plain: Bench):
    write(plain, a="zebra")
    plain.ingest()
    text = (plain.docs / "a.md").read_text()
    (plain.docs / "a.md").unlink()
    report = plain.ingestor().ingest_texts([PostedDocument("docs/a.md", text)], SCOPE)
    assert report.documents.unchanged == 1
    record = plain.manifest.documents(SCOPE)["docs/a.md"]
    assert item_again(record, plain.manifest, plain.settings).read().decode() == text


def test_verify_mends_a_posted_document_from_its_text(plain: Bench):
    plain.ingestor().ingest_texts([PostedDocument("note", "the zebra")], SCOPE)
    plain.index.list_and_delete(SCOPE, [], [next(iter(plain.index.ids(SCOPE)))[0]])
    assert plain.verify().repaired == 1
    assert plain.found("zebra") == {"the zebra"}


# The report


def test_the_report_adds_up_and_finds_what_is_cold_or_there_twice():
    same = {"content": "same", "prints": ("shared", "x")}
    documents = [
        standing("a", 90, used_days=2, **same),
        standing("b", 90, used_days=60, **same),
        standing("c", 40, prints=("shared",)),
        standing("d", 1),
    ]
    report = report_holdings(documents, NOW, cold_after_s=30 * DAY_S, usd_per_gb_month=Decimal(1024), vector_bytes=100)
    assert (report.total.documents, report.total.chunks, report.total.mb) == (4, 6, 4.0)
    assert report.total.cost_usd_per_month == 4
    assert [one.source for one in report.cold.items] == ["b", "c"]
    assert (report.never_used.documents, report.cold.cost_usd_per_month) == (2, 2)
    (twice,) = report.same_content
    assert (twice.sources, twice.bytes) == (("a", "b"), 2**20)
    assert (report.same_chunks.texts, report.same_chunks.surplus_points, report.same_chunks.vector_bytes) == (2, 3, 300)
    assert report.same_chunks.sources == ("a", "b", "c")


def test_bytes_are_those_of_the_vectors_and_of_what_points_carry(plain: Bench):
    write(plain, a="zebra")
    plain.ingest()
    (document,) = standings(plain.manifest, SCOPE, plain.encoder.dim)
    assert (document.vector_bytes, document.payload_bytes > len("zebra")) == (16 * 4, True)
    assert plain.manifest.usage("acme").payload_bytes == document.payload_bytes


# Uses


def test_uses_are_written_together_and_never_on_the_question_s_thread():
    written: list[dict[str, float]] = []
    log = UseLog()
    log.note(["nobody listens yet"])
    log.write_to(lambda used: written.append(dict(used)), every_s=3600)
    for ids in (["a", "b"], ["b", ""], ["c"]):
        log.note(ids)
    assert written == []
    log.close()
    assert [set(used) for used in written] == [{"a", "b", "c"}]
    log.note(["too late"])
    log.close()
    assert len(written) == 1


def test_uses_that_can_t_be_written_are_told_and_disturb_nobody(caplog: pytest.LogCaptureFixture):
    def refuse(_: object) -> None:
        raise StorageError("the disk is full")

    log = UseLog()
    log.write_to(refuse, every_s=3600)
    log.note(["a"])
    log.close()
    assert "the disk is full" in caplog.text


def test_a_use_of_a_document_that_is_gone_is_passed_over_and_an_older_use_changes_nothing(plain: Bench):
    write(plain, a="zebra")
    plain.ingest()
    (record,) = plain.manifest.documents(SCOPE).values()
    plain.manifest.uses.note({record.id: 20.0, "gone": 20.0})
    plain.manifest.uses.note({record.id: 10.0})
    assert plain.manifest.uses.of(SCOPE) == {record.id: 20.0}
    plain.manifest.commit(SCOPE, [record._replace(generation=2)])
    assert plain.manifest.uses.of(SCOPE) == {record.id: 20.0}
    lifecycle(plain).delete_one(record.id, SCOPE)
    assert plain.manifest.uses.of(SCOPE) == {}


def test_what_a_search_shows_and_what_a_context_holds_counts_as_used(runtime: Runtime):
    scope = runtime.scope()
    texts = {"owls": "Owls hunt voles at night.", "bees": "Bees gather honey by day.", "stones": "Granite is hard."}
    runtime.ingestor.ingest_texts([PostedDocument(name, text) for name, text in texts.items()], scope)
    ids = {source: record.id for source, record in runtime.manifest.documents(scope).items()}
    shown = runtime.engine().search("Who gathers honey?", top_k=1).passages
    assert [passage.source for passage in shown] == ["bees"]
    runtime.resources.uses.close()
    assert set(runtime.manifest.uses.of(scope)) == {ids["bees"]}


# The commands


def test_what_a_quota_refuses_is_told_together(tmp_path: Path):
    for number in range(30):
        (tmp_path / f"{number:02}.md").write_text(f"Owl {number} hunts voles.")
    quota = {"RAGSAVER_LIFECYCLE__QUOTA__MAX_DOCUMENTS": "2"}
    for command, word in (("plan", "would fail"), ("ingest", "failed")):
        told = run(tmp_path, command, ".", code=3 if command == "ingest" else 0, **quota).stderr.splitlines()
        assert len(told) == 21 and told[0].startswith(f"{word}: 02.md: would bring tenant")
        assert told[-1] == f"{word}: 8 documents more (--json has them all)"
    assert len(as_json(tmp_path, "ingest", ".", code=3, **quota)["errors"]) == 28


def test_a_list_without_documents_says_so_to_people_alone(tmp_path: Path):
    (tmp_path / "a.md").write_text("Owls hunt voles.")
    listed = run(tmp_path, "documents", "list")
    assert (listed.stdout, listed.stderr) == ("", "collection `default` holds no document\n")
    assert run(tmp_path, "documents", "list", "--json").stderr == ""
    run(tmp_path, "ingest", "a.md")
    assert run(tmp_path, "documents", "list").stderr == ""
    assert "`default` holds no document that meets these" in run(tmp_path, "documents", "list", "--under", "b").stderr
    assert "`other` holds no document\n" in run(tmp_path, "documents", "list", "--collection", "other").stderr


def test_the_commands_list_delete_expire_and_report_here_and_through_the_server(tmp_path: Path):
    (tmp_path / "docs").mkdir()
    for n, words in enumerate(("owls hunt voles", "bees gather honey", "granite is hard", "granite is hard")):
        (tmp_path / "docs" / f"{n}.md").write_text(f"# Page\n\n{words}\n")
    run(tmp_path, "ingest", "docs")
    as_json(tmp_path, "search", "owls", "--top-k", "1")

    listed = as_json(tmp_path, "documents", "list")["documents"]
    assert [one["source"] for one in listed] == [f"docs/{n}.md" for n in range(4)]
    assert [one["source"] for one in listed if one["last_used"]] == ["docs/0.md"]
    with serving(tmp_path):
        assert as_json(tmp_path, "documents", "list")["documents"] == listed
        told = as_json(tmp_path, "documents", "delete", "--source", "docs/1.md", "--dry-run")
        assert (len(told["documents"]), told["dry_run"]) == (1, True)
        assert as_json(tmp_path, "documents", "delete", "--source", "docs/1.md")["chunks"] == 1
        error = as_json(tmp_path, "documents", "delete", code=2)["error"]
        assert "which documents" in error["problem"]
        report = as_json(tmp_path, "documents", "report", "--cold-after", "0d")
    assert report == as_json(tmp_path, "documents", "report", "--cold-after", "0d")
    assert (report["total"]["documents"], report["never_used"]["documents"]) == (3, 2)
    assert [one["sources"] for one in report["same_content"]] == [["docs/2.md", "docs/3.md"]]
    assert report["cold"]["items"][-1]["source"] == "docs/0.md"

    rule = {"RAGSAVER_LIFECYCLE__RETENTION__DEFAULT__MAX_DOCUMENTS": "1"}
    told = as_json(tmp_path, "documents", "expire", "--dry-run", **rule)
    assert [one["source"] for one in told["documents"]] == ["docs/2.md", "docs/3.md"]
    assert as_json(tmp_path, "documents", "expire", **rule)["documents"] == told["documents"]
    assert as_json(tmp_path, "documents", "expire", **rule)["documents"] == []
    assert [one["source"] for one in as_json(tmp_path, "documents", "list")["documents"]] == ["docs/0.md"]
    assert as_json(tmp_path, "verify")["points"] == 1
