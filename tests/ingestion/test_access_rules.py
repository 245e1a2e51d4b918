"""Rules of the settings say who may read which files; other rules rewrite what points carry, and embed nothing."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ragsaver.errors import SettingsError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.lifecycle import Lifecycle
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.selection import DocumentSelection
from ragsaver.ingestion.sources import PostedDocument, SourceItem
from ragsaver.ingestion.sources.access import with_access
from ragsaver.settings import AccessRule, Settings
from ragsaver.settings_file import load_settings
from tests.ingestion.bench import SCOPE, Bench

HR = [{"glob": "hr/**", "groups": ["hr"]}]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    for name in ("hr/pay.md", "hr/open/hours.md", "owls.md"):
        file = made.docs / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# On {name}\n\nthe zebra of {name}")
        os.utime(file, (1_700_000_000, 1_700_000_000))
    yield made
    made.close()


def under(bench: Bench, rules: list[dict[str, Any]]) -> Ingestor:
    """An ingestion by other settings, as a later command has them."""
    values = bench.settings.model_dump()
    bench.settings = Settings.model_validate({**values, "sources": {**values["sources"], "access": rules}})
    return bench.ingestor()


def seen_by(bench: Bench, *groups: str) -> set[str]:
    scope = Scope(SCOPE.tenant, SCOPE.collection, frozenset(groups))
    legs = bench.index.search(scope, "zebra", bench.encoder.vectors(["x"])[0], 50)
    found = {hit.payload["source"].removeprefix("docs/") for hit in (*legs.lexical, *legs.dense)}
    listed = Lifecycle(bench.settings, bench.manifest, bench.ingestor(), 16).list(DocumentSelection(), scope)
    assert found == {one.source.removeprefix("docs/") for one in listed.documents}
    assert bench.index.count(scope) == len(found)
    return found


ALL = {"hr/pay.md", "hr/open/hours.md", "owls.md"}


def test_files_are_for_whom_the_rules_say_and_the_rest_is_everybody_s(bench: Bench):
    under(bench, HR).ingest(bench.order(), SCOPE)
    assert seen_by(bench) == seen_by(bench, "it") == {"owls.md"}
    assert seen_by(bench, "hr") == ALL


def test_other_rules_rewrite_and_embed_nothing_though_no_file_was_touched(bench: Bench):
    assert bench.ingest().documents.added == 3
    for _ in range(2):
        assert bench.ingest().documents.unchanged == 3  # the second one looks at no document
    paid = len(bench.encoder.paid)
    wanted: list[tuple[list[dict[str, Any]], int, set[str]]] = [
        (HR, 2, {"owls.md"}),
        ([*HR, {"glob": "hr/open/", "groups": ["hr", "all"]}], 1, {"owls.md"}),
        ([{"glob": "*.md", "groups": ["boss"]}], 3, set()),
        ([], 3, ALL),
    ]
    for rules, changed, public in wanted:
        plan = under(bench, rules).plan(bench.order(), SCOPE)
        assert (plan.documents.access, plan.documents.carried, plan.documents.edited) == (changed, 0, 0)
        assert {one.reason for one in plan.changes} == {"access changed"}
        assert (plan.chunks.embed, plan.chunks.cached, plan.chunks.move) == (0, 0, changed)
        report = bench.ingest()
        assert (report.documents.changed, report.chunks.embedded) == (changed, 0)
        assert seen_by(bench) == public
        for _ in range(2):
            assert bench.ingest().documents.unchanged == 3
    assert len(bench.encoder.paid) == paid


def test_a_quiet_run_under_rules_is_quiet_and_one_under_others_is_not(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    under(bench, HR)
    for _ in range(2):
        bench.ingest()
    looked: list[object] = []
    look = Ingestor._look_through
    monkeypatch.setattr(Ingestor, "_look_through", lambda self, *more: looked.append(1) or look(self, *more))
    assert bench.ingest().documents.unchanged == 3
    assert not looked
    assert under(bench, []).ingest(bench.order(), SCOPE).documents.changed == 2
    assert looked


def test_the_last_rule_that_matches_decides(bench: Bench):
    under(bench, [*HR, {"glob": "hr/open/", "groups": ["all"]}, {"glob": "hr/open/none.md", "groups": ["boss"]}])
    bench.ingest()
    assert seen_by(bench, "all") == {"owls.md", "hr/open/hours.md"}
    assert seen_by(bench, "hr") == {"owls.md", "hr/pay.md"}


def test_rules_hold_whatever_folder_a_command_is_run_from_and_through_links(bench: Bench, tmp_path: Path):
    ingestor = under(bench, HR)
    ingestor.ingest(IngestOrder(paths=(".",), cwd=bench.docs / "hr"), SCOPE)
    assert seen_by(bench) == set()
    (bench.docs / "shown").mkdir()
    (bench.docs / "shown" / "a.md").symlink_to("../hr/pay.md")
    other = Scope(SCOPE.tenant, "other")
    ingestor.ingest(IngestOrder(paths=(str(bench.docs / "shown/a.md"),), cwd=bench.folder), other)
    shutil.copy(bench.docs / "owls.md", tmp_path / "outside.md")
    (bench.docs / "hr" / "in.md").symlink_to(tmp_path / "outside.md")
    ingestor.ingest(IngestOrder(paths=(str(bench.docs / "hr/in.md"),), cwd=bench.folder), other)
    assert bench.index.count(other) == 2
    assert bench.index.count(Scope(SCOPE.tenant, "other", frozenset())) == 0


def test_what_is_repaired_from_its_file_keeps_its_readers(bench: Bench):
    under(bench, HR)
    bench.ingest()
    bench.index.list_and_delete(SCOPE, [], [point for point, _ in bench.index.ids(SCOPE)])
    assert bench.verify().repaired == 3
    assert seen_by(bench) == {"owls.md"}
    assert seen_by(bench, "hr") == ALL


def test_points_from_before_there_were_groups_get_those_that_their_document_names(bench: Bench):
    documents = [
        PostedDocument("hr/pay.md", "a zebra", metadata={"groups": ["hr"], "team": "owls"}),
        PostedDocument("owls.md", "a zebra of owls"),
        PostedDocument("open.md", "an open zebra"),
    ]
    bench.ingestor().ingest_texts(documents, SCOPE)
    pay, owls = (bench.manifest.document(SCOPE, source).points[0] for source in ("hr/pay.md", "owls.md"))
    bench.index.set_payload(SCOPE, {pay: {"groups": None}, owls: {"groups": ["hr"]}})
    paid = len(bench.encoder.paid)
    report = bench.verify()
    assert (report.readers, report.repaired, report.missing, report.orphaned) == (2, 2, 0, 0)
    assert seen_by(bench) == {"owls.md", "open.md"}
    assert seen_by(bench, "hr") == {"hr/pay.md", "owls.md", "open.md"}
    carried = bench.index.payloads(SCOPE, [pay])[pay]
    assert carried["metadata"]["team"] == "owls" and carried["text"] == "a zebra"
    assert (bench.verify().repaired, len(bench.encoder.paid)) == (0, paid)


def test_what_is_posted_says_itself_who_may_read_it(bench: Bench):
    ingestor = under(bench, [{"glob": "*", "groups": ["hr"]}])
    ingestor.ingest_texts([PostedDocument("hr/posted.md", "a zebra")], SCOPE)
    assert seen_by(bench) == {"hr/posted.md"}


@pytest.mark.parametrize(
    ("glob", "location", "matches"),
    [
        ("hr/**", "/srv/docs/hr/a.md", True),
        ("hr/**", "/srv/docs/hr", False),
        ("hr/", "/srv/docs/hr/deep/a.md", True),
        ("hr", "/srv/docs/hr/a.md", True),
        ("hr/", "/srv/docs/hr", False),
        ("hr/**", "/srv/docs/hr2/a.md", False),
        ("hr/**", "/srv/docs/the-hr/a.md", False),
        ("docs/hr/*.md", "/srv/docs/hr/a.md", True),
        ("docs/hr/*.md", "/srv/docs/hr/deep/a.md", False),
        ("docs/**/a.md", "/srv/docs/hr/deep/a.md", True),
        ("*.secret.md", "/srv/docs/a.secret.md", True),
        ("/srv/docs/", "/srv/docs/hr/a.md", True),
        ("/docs/", "/srv/docs/hr/a.md", False),
        ("file:///srv/docs/", "/srv/docs/hr/a.md", True),
        ("s3://house/hr/**", "s3://house/hr/a.md", True),
        ("s3://house/hr/**", "s3://house2/hr/a.md", False),
        ("hr/**", "s3://house/hr/a.md", True),
        ("https://intra.example/hr/", "https://intra.example/hr/pay?year=1", True),
        ("https://intra.example/hr/", "https://intra.example/hr/", True),
        ("https://intra.example/hr/", "https://intra.example.net/hr/", False),
        ("hr/[ab].md", "/srv/hr/b.md", True),
        ("Hr/", "/srv/hr/b.md", False),
    ],
)
def test_a_pattern_means_the_end_of_a_place_or_all_of_it(glob: str, location: str, matches: bool):
    item = SourceItem("another name", location, 1, "1", None, lambda: b"", {"team": "owls"})
    found = with_access(item, [AccessRule(glob=glob, groups=["b", "a", "b"])])
    assert found.metadata == ({"team": "owls", "groups": ["a", "b"]} if matches else {"team": "owls"})


@pytest.mark.parametrize(
    ("rule", "line", "says"),
    [
        ("- glob: hr/\n      groups: hr", 5, "sources.access.0.groups"),
        ("- glob: hr/\n      groups: []", 5, "sources.access.0.groups"),
        ("- glob: hr/\n      groups: [hr, ' ']", 5, "names of groups"),
        ("- glob: hr/\n      groups: [1]", 5, "sources.access.0.groups"),
        ("- groups: [hr]", 4, "sources.access.0.glob"),
        ("- glob: '!hr/'\n      groups: [hr]", 4, "takes no `!`"),
        ("- glob: '# hr'\n      groups: [hr]", 4, "takes no `!` or `#`"),
        ("- glob: ''\n      groups: [hr]", 4, "must be a pattern"),
        ("- glob: 'hr/ '\n      groups: [hr]", 4, "without spaces"),
        ("- glob: '/'\n      groups: [hr]", 4, "matches something"),
        ("- glob: hr/\n      groups: [hr]\n      for: hr", 6, "unknown key `sources.access.0.for`"),
        ("- hr/", 4, "sources.access.0"),
    ],
)
def test_a_bad_rule_is_refused_by_its_line(tmp_path: Path, rule: str, line: int, says: str):
    (tmp_path / "ragsaver.yaml").write_text(f"tenant: acme\nsources:\n  access:\n    {rule}\n")
    with pytest.raises(SettingsError) as refused:
        load_settings(tmp_path, {})
    assert f"ragsaver.yaml:{line}" in str(refused.value)
    assert says in str(refused.value)
