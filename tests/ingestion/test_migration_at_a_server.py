"""Another model takes the old one's place in a Qdrant server: a collection beside the old one, which goes later."""

import copy
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ragsaver.errors import IndexLocked, IndexMoved, IndexUnavailable, StorageError, UsageError
from ragsaver.index.connection import Connection, ServerPlace
from ragsaver.index.generation import settings_at
from ragsaver.index.manifest_place import place_in_use
from ragsaver.index.opening import open_server, server_identity
from ragsaver.index.protocol import ChunkPoint
from ragsaver.index.scope import Scope
from ragsaver.index.store import current_store
from ragsaver.ingestion import half, replaced
from ragsaver.ingestion.applying import Step
from ragsaver.ingestion.copying import copy_to_database
from ragsaver.ingestion.half import Building, take_ready
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.migration import Migration, open_migration
from ragsaver.ingestion.replaced import remove_when_due
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.ingestion.writers import turns
from ragsaver.settings import Settings
from tests.databases import KINDS, database, needs_postgres, schemas
from tests.index.engines import URL, needs_server
from tests.ingestion.bench import SCOPE, Bench, CountingEncoder, Stopped
from tests.qdrant_server import StandIn, qdrant_server

OTHER_SCOPE = Scope("other", "notes")
SERVERS = ["stand-in", pytest.param("server", marks=needs_server)]
ALL = {*(f"zebra number {n}" for n in range(4)), "zebra posted"}


class NewEncoder(CountingEncoder):
    """The model that is migrated to."""

    name, dim, fingerprint = "new", 16, "d" * 32


@dataclass
class Project:
    """An index of the old model at a server, which this process has open; nobody owns it.

    :ivar server: where it is a stand-in.
    """

    bench: Bench
    server: StandIn | None

    @property
    def settings(self) -> Settings:
        return self.bench.settings

    @contextmanager
    def migration(
        self, encoder: CountingEncoder, stop_after: Step | None = None, times: int = 1
    ) -> Iterator[Migration]:
        """One that ends when that step was done so many times."""
        left = times

        def fault(step: Step) -> None:
            nonlocal left
            left -= step == stop_after
            if left == 0:
                raise Stopped

        with open_migration(self.settings, encoder, fault=fault) as opened:
            yield opened

    def migrate(self, encoder: CountingEncoder) -> None:
        with self.migration(encoder) as under_way:
            assert under_way.run().switched

    def found(self, encoder: CountingEncoder, scope: Scope = SCOPE, words: str = "zebra") -> set[str]:
        """What a process finds that is started now, with this model."""
        settings = self.settings
        at = settings_at(settings.index, place_in_use(settings))
        with closing(open_server(at, Building.of(settings, encoder).identity)) as index:
            legs = index.search(scope, words, encoder.vectors(["x"])[0], 50)
            return {hit.payload["text"] for hit in legs.lexical}

    def collections(self) -> set[str]:
        """Those of the project at the server."""
        return set(collections_at(self.settings.index.url, self.settings.index.collection))

    def after_a_while(self) -> Settings:
        """The settings for which what was replaced has been kept long enough."""
        kept = self.settings.index.model_copy(update={"keep_replaced_s": 0.0})
        return self.settings.model_copy(update={"index": kept})

    def manifest(self) -> closing[Manifest]:
        """The one in use."""
        return closing(Manifest(place_in_use(self.settings)))


def collections_at(url: str, begin: str) -> list[str]:
    with closing(Connection(ServerPlace(url, grpc_port=None))) as connection:
        named = connection.ask(lambda client: client.get_collections()).collections
    return [one.name for one in named if one.name.startswith(begin)]


@pytest.fixture(params=KINDS)
def state(request: pytest.FixtureRequest) -> Iterator[object]:
    with database(request.param) as made:
        yield made


@pytest.fixture(params=SERVERS)
def old(request: pytest.FixtureRequest, tmp_path: Path, state: object) -> Iterator[Project]:
    """Four files, a posted text, and a document of another tenant."""
    with ExitStack() as opened:
        server = opened.enter_context(qdrant_server()) if request.param == "stand-in" else None
        name = f"test-{tmp_path.name[-20:]}-{request.param}"
        url = server.url if server else URL
        index = {"engine": "qdrant", "url": url, "grpc_port": None, "collection": name, "bm25_avg_words": 50.0}
        settings = Settings.model_validate({"home": tmp_path / "home", "index": index})
        bench = Bench(
            tmp_path,
            lambda identity: open_server(settings.index, identity),
            ingestion={"batch_chunks": 1},
            index={**index, "deadline_s": 1.0},
            database=state,
        )
        opened.callback(bench.close)
        for n in range(4):
            (bench.docs / f"{n}.md").write_text(f"# Title {n}\n\nzebra number {n}")
        bench.ingest()
        bench.ingestor().ingest_texts([PostedDocument("note", "zebra posted", "text", {"by": "me"})], SCOPE)
        bench.ingestor().ingest_texts([PostedDocument("theirs", "zebra of another")], OTHER_SCOPE)
        yield Project(bench, server)
        for left in collections_at(url, name) if server is None else []:
            Connection(ServerPlace(url, grpc_port=None)).ask(lambda client, left=left: client.delete_collection(left))


def test_all_comes_over_at_once_and_the_old_collection_serves_who_has_it_until_it_goes(old: Project):
    encoder, name = NewEncoder(), old.settings.index.collection
    old.migrate(encoder)
    assert sorted(encoder.paid) == sorted(set(encoder.paid)) and len(encoder.paid) == 6
    assert old.found(encoder) == ALL
    assert old.found(encoder, OTHER_SCOPE) == {"zebra of another"}
    assert old.bench.found("zebra") == ALL  # who has not noticed yet asks the old one, by the old model
    assert len(old.collections()) == 2
    assert not remove_when_due(old.settings)
    assert len(old.collections()) == 2
    assert remove_when_due(old.after_a_while()) and remove_when_due(old.settings)
    (only,) = old.collections()
    assert only.startswith(f"{name}_")
    assert old.found(encoder) == ALL
    with old.migration(encoder) as under_way:
        assert under_way.run().waiting.endswith("nothing to do")
    assert old.collections() == {only}


def test_going_back_takes_another_collection_and_embeds_nothing(old: Project):
    encoder = NewEncoder()
    old.migrate(encoder)
    remove_when_due(old.after_a_while())
    paid = len(old.bench.encoder.paid)
    old.migrate(old.bench.encoder)
    assert len(old.bench.encoder.paid) == paid
    assert old.found(old.bench.encoder) == ALL
    remove_when_due(old.after_a_while())
    assert len(old.collections()) == 1
    with old.manifest() as manifest:
        assert set(manifest.documents(SCOPE)) == {*(f"docs/{n}.md" for n in range(4)), "note"}


@pytest.mark.parametrize("step", Step)
def test_a_half_that_was_stopped_is_completed_and_nothing_is_embedded_twice(old: Project, step: Step):
    encoder = NewEncoder()
    with old.migration(encoder, step, times=3) as under_way, pytest.raises(Stopped):
        under_way.run()
    assert old.found(old.bench.encoder) == old.bench.found("zebra") == ALL
    old.migrate(encoder)
    assert sorted(encoder.paid) == sorted(set(encoder.paid)) and len(encoder.paid) == 6
    assert old.found(encoder) == ALL
    remove_when_due(old.after_a_while())
    assert len(old.collections()) == 1


def test_a_half_by_other_settings_goes_with_its_collection(old: Project):
    first, second = NewEncoder(), NewEncoder()
    second.fingerprint = "e" * 32
    with old.migration(first, Step.CLEARED, times=2) as under_way, pytest.raises(Stopped):
        under_way.run()
    before = old.collections()
    old.migrate(second)
    assert len(old.collections()) == 2 and len(old.collections() & before) == 1
    at = settings_at(old.settings.index, place_in_use(old.settings))
    assert server_identity(at).fingerprint == second.fingerprint


def test_abort_removes_the_half_and_only_that(old: Project):
    with old.migration(NewEncoder(), Step.CLEARED) as under_way, pytest.raises(Stopped):
        under_way.run()
    assert len(old.collections()) == 2
    with old.migration(NewEncoder()) as under_way:
        assert (under_way.abort(), under_way.abort()) == (True, False)
    assert old.collections() == {old.settings.index.collection}
    assert old.found(old.bench.encoder) == ALL


def test_abort_finds_the_half_though_the_settings_name_another_collection_by_now(old: Project):
    name = old.settings.index.collection
    with old.migration(NewEncoder(), Step.CLEARED) as under_way, pytest.raises(Stopped):
        under_way.run()
    renamed = old.settings.index.model_copy(update={"collection": "another"})
    with open_migration(old.settings.model_copy(update={"index": renamed}), NewEncoder()) as under_way:
        assert under_way.abort()
    assert old.collections() == {name}


@pytest.mark.parametrize("old", ["stand-in"], indirect=True)  # a real server does not fail on purpose
def test_a_half_whose_server_is_away_is_not_forgotten(old: Project):
    with old.migration(NewEncoder(), Step.CLEARED) as under_way, pytest.raises(Stopped):
        under_way.run()
    with old.migration(NewEncoder()) as under_way:
        old.server.failures = [503] * 100
        with pytest.raises(IndexUnavailable):
            under_way.abort()
        old.server.failures = []
        assert under_way.abort()
    assert old.collections() == {old.settings.index.collection}


def test_a_plan_makes_nothing_at_the_server(old: Project):
    with old.migration(NewEncoder()) as under_way:
        plan = under_way.plan()
    assert (plan.documents, plan.chunks, plan.missing) == (6, 6, ())
    assert plan.reason.startswith("from model `counting`")
    assert old.collections() == {old.settings.index.collection}
    assert not (old.settings.home / "store-1").exists()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_stop_at_the_switch_leaves_one_whole_half_in_use(old: Project, moment: str, monkeypatch: pytest.MonkeyPatch):
    encoder = NewEncoder()

    def dying(switch):
        def dies(*place: object) -> None:
            if moment == "after":
                switch(*place)
            raise Stopped

        return dies

    for name in ("switch", "note_place"):
        monkeypatch.setattr(half, name, dying(getattr(half, name)))
    with old.migration(encoder) as under_way, pytest.raises(Stopped):
        under_way.run()
    monkeypatch.undo()
    in_use = encoder if moment == "after" else old.bench.encoder
    assert old.found(in_use) == old.bench.found("zebra") == ALL
    with old.migration(encoder) as under_way:
        report = under_way.run()
    assert (report.switched, report.chunks.embedded) == (moment == "before", 0)
    assert old.found(encoder) == ALL and len(encoder.paid) == 6
    remove_when_due(old.after_a_while())
    assert len(old.collections()) == 1


def test_what_a_stop_left_of_the_old_one_goes_the_next_time(old: Project, monkeypatch: pytest.MonkeyPatch):
    encoder = NewEncoder()
    old.migrate(encoder)

    def dies(*_: object) -> None:
        raise Stopped

    drop = replaced.drop_server
    for dying in (dies, lambda *of: (drop(*of), dies())):
        monkeypatch.setattr(replaced, "drop_server", dying)
        with pytest.raises(Stopped):
            remove_when_due(old.after_a_while())
        monkeypatch.undo()
        assert old.found(encoder) == ALL
    assert remove_when_due(old.after_a_while())
    assert len(old.collections()) == 1 and old.found(encoder) == ALL


def test_who_writes_by_the_old_half_is_told_and_who_is_at_it_is_waited_for(old: Project):
    encoder = NewEncoder()
    at_it, go_on = threading.Event(), threading.Event()
    home = old.settings.home

    def bring_in() -> None:
        with closing(turns(old.settings, home)) as writers, writers.turn("new tenant"):
            at_it.set()
            assert go_on.wait(60)
            late = [PostedDocument("late", "zebra that came late")]
            old.bench.ingestor().ingest_texts(late, Scope("new tenant", "docs"))

    with ThreadPoolExecutor(1) as threads, closing(turns(old.settings, home)) as others:
        bringing = threads.submit(bring_in)
        assert at_it.wait(60)
        with old.migration(encoder) as under_way:
            report = under_way.run(waits=lambda what: go_on.set())
        bringing.result(60)
        assert report.switched
        assert old.found(encoder, Scope("new tenant", "docs")) == {"zebra that came late"}
        with pytest.raises(IndexMoved, match="ragsaver migrate"), others.turn("acme"):
            pass
    with closing(turns(old.settings, current_store(home))) as anew, anew.turn("acme"):
        pass


def test_a_right_to_write_that_was_lost_meanwhile_leaves_the_old_half(old: Project, monkeypatch: pytest.MonkeyPatch):
    encoder = NewEncoder()
    take_over = half.Half.take_over

    def lost() -> None:
        raise StorageError("the connection was lost")

    monkeypatch.setattr(half.Half, "take_over", lambda self, old, still: take_over(self, old, lost))
    with old.migration(encoder) as under_way, pytest.raises(StorageError, match="was lost"):
        under_way.run()
    monkeypatch.undo()
    assert old.found(old.bench.encoder) == ALL
    old.migrate(encoder)


def test_points_of_others_in_the_collection_of_the_settings_stay(old: Project):
    encoder, theirs = NewEncoder(), Scope("another project", "docs")
    point = ChunkPoint("00000000-0000-0000-0000-000000000001", "theirs", encoder.vectors(["x"])[0], "zebra")
    old.bench.index.upsert(theirs, [point])
    old.migrate(encoder)
    remove_when_due(old.after_a_while())
    assert len(old.collections()) == 2
    assert (old.bench.index.count(theirs), old.bench.index.count(SCOPE)) == (1, 0)


def test_what_comes_in_after_the_switch_goes_into_the_new_collection(old: Project):
    encoder = NewEncoder()
    old.migrate(encoder)
    (old.bench.docs / "9.md").write_text("# New\n\na new zebra")
    at = settings_at(old.settings.index, place_in_use(old.settings))
    with (
        old.manifest() as manifest,
        closing(open_server(at, Building.of(old.settings, encoder).identity)) as index,
    ):
        report = Ingestor(old.settings, index, encoder, manifest, old.bench.cache).ingest(old.bench.order(), SCOPE)
    assert (report.documents.added, report.documents.unchanged, report.chunks.embedded) == (1, 4, 1)
    assert old.bench.found("new") == set()


@needs_postgres
@pytest.mark.parametrize("state", ["postgres"], indirect=True)  # files are on one machine
def test_machines_with_homes_of_their_own_follow_one_another(old: Project, tmp_path: Path):
    encoder = NewEncoder()
    old.migrate(encoder)
    elsewhere = copy.copy(old)
    elsewhere.bench = copy.copy(old.bench)
    elsewhere.bench.settings = old.settings.model_copy(update={"home": tmp_path / "elsewhere"})
    assert elsewhere.found(encoder) == ALL
    elsewhere.migrate(old.bench.encoder)
    assert old.found(old.bench.encoder) == elsewhere.found(old.bench.encoder) == ALL
    with old.migration(encoder), pytest.raises(IndexLocked, match="under way"), elsewhere.migration(encoder):
        pass
    old.migrate(encoder)
    assert elsewhere.found(encoder) == ALL and len(encoder.paid) == 6
    assert remove_when_due(elsewhere.after_a_while())
    assert len(old.collections()) == 1 and len(schemas(old.settings.database)) == 2


@needs_postgres
@pytest.mark.parametrize("state", ["sqlite"], indirect=True)  # the other one is there already
def test_state_that_is_copied_to_a_database_names_the_collection_too(old: Project):
    encoder = NewEncoder()
    old.migrate(encoder)
    with database("postgres") as made:
        old.bench.settings = old.settings.model_copy(update={"database": made})
        copy_to_database(old.settings)
        assert old.found(encoder) == ALL
        old.migrate(old.bench.encoder)
        assert old.found(old.bench.encoder) == ALL


@needs_postgres
@pytest.mark.parametrize("state", ["sqlite"], indirect=True)
def test_collections_that_were_replaced_before_a_copy_go_when_they_are_due(old: Project):
    encoder = NewEncoder()
    old.migrate(encoder)
    old.migrate(old.bench.encoder)
    assert len(old.collections()) == 3
    with database("postgres") as made:
        old.bench.settings = old.settings.model_copy(update={"database": made})
        for _ in range(2):
            copy_to_database(old.settings)
        assert not remove_when_due(old.settings) and len(old.collections()) == 3
        assert remove_when_due(old.after_a_while())
        assert len(old.collections()) == 1 and old.found(old.bench.encoder) == ALL
        assert old.found(old.bench.encoder, OTHER_SCOPE) == {"zebra of another"}
        assert len(schemas(made)) == 4  # the note, manifest, jobs and ledger
        old.migrate(encoder)
        copy_to_database(old.settings)
        assert remove_when_due(old.after_a_while()) and len(old.collections()) == 1


@needs_postgres
@pytest.mark.parametrize("state", ["sqlite"], indirect=True)
def test_state_is_not_copied_while_a_migration_is_half_done(old: Project):
    with old.migration(NewEncoder(), Step.COMMITTED, 2) as under_way, pytest.raises(Stopped):
        under_way.run()
    with database("postgres") as made:
        moved = old.settings.model_copy(update={"database": made})
        with old.migration(NewEncoder()) as under_way:
            with pytest.raises(IndexLocked, match="under way"):
                copy_to_database(moved)
            with pytest.raises(UsageError, match="half done"):
                under_way._lock.release()
                copy_to_database(moved)
            assert under_way.abort()
        assert copy_to_database(moved).manifest["documents"] == 6


def test_in_local_mode_the_half_has_a_folder_of_its_own_and_its_owner_takes_it(tmp_path: Path):
    index = {"engine": "qdrant", "url": f"file:{tmp_path / 'qdrant'}", "bm25_avg_words": 50.0}
    settings = Settings.model_validate({"home": tmp_path / "home", "index": index})
    bench = Bench(tmp_path, lambda identity: open_server(settings.index, identity), index=index)
    project = Project(bench, None)
    (bench.docs / "0.md").write_text("# Title\n\nzebra number 0")
    bench.ingest()
    bench.close()
    encoder = NewEncoder()
    with project.migration(encoder, Step.SWAPPED) as under_way, pytest.raises(Stopped):
        under_way.run()
    assert take_ready(bench.settings, bench.encoder) == bench.settings.home
    assert project.found(bench.encoder) == {"zebra number 0"}
    assert len(list(tmp_path.glob("qdrant-*"))) == 1
    project.migrate(encoder)
    assert take_ready(bench.settings, encoder) == bench.settings.home / "store-1"
    assert project.found(encoder) == {"zebra number 0"} and len(encoder.paid) == 1
    assert not (bench.settings.home / "manifest.sqlite").exists()
    project.migrate(bench.encoder)
    assert project.found(bench.encoder) == {"zebra number 0"}
    assert len(list(tmp_path.glob("qdrant-*"))) == 1
