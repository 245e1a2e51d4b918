import itertools
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ragsaver.errors import IndexLocked, ModelMismatch, SettingsError, StorageError, UsageError
from ragsaver.index import edge
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import ChunkPoint
from ragsaver.index.scope import Scope

DIM = 8
IDENTITY = IndexIdentity("tiny", "f" * 32, DIM, "english", 50.0)
ACME = Scope("acme", "docs")
RIVAL = Scope("rival", "docs")


def vector(direction: int) -> np.ndarray:
    values = np.full(DIM, 0.01, dtype=np.float32)
    values[direction % DIM] = 1.0
    return values / np.linalg.norm(values)


def point(text: str, direction: int = 0, **payload: object) -> ChunkPoint:
    return ChunkPoint(str(uuid.uuid4()), "doc", vector(direction), text, {"text": text, **payload})


@pytest.fixture
def index(tmp_path: Path) -> Iterator[EdgeIndex]:
    opened = EdgeIndex(tmp_path / "index", IDENTITY, optimize_after_points=5)
    yield opened
    opened.close()


def listed(index: EdgeIndex, scope: Scope, *points: ChunkPoint) -> None:
    index.upsert(scope, points)
    index.list_and_delete(scope, [p.id for p in points], [])


def test_both_legs_find_what_they_are_for(index: EdgeIndex) -> None:
    by_word, by_meaning = point("a zebra crossing", 1), point("striped animals on the road", 2)
    listed(index, ACME, by_word, by_meaning)

    legs = index.search(ACME, "zebra", vector(2), 10)

    assert [hit.id for hit in legs.lexical] == [by_word.id]
    assert legs.dense[0].id == by_meaning.id
    assert legs.dense[0].score == pytest.approx(1.0, abs=1e-5)
    assert legs.dense[0].payload["text"] == "striped animals on the road"


def test_unlisted_points_are_not_found_until_they_are_listed(index: EdgeIndex) -> None:
    old, new = point("old zebra"), point("new zebra")
    listed(index, ACME, old)
    index.upsert(ACME, [new])
    assert {hit.id for hit in index.search(ACME, "zebra", vector(0), 10).lexical} == {old.id}

    index.list_and_delete(ACME, [new.id], [old.id])

    assert {hit.id for hit in index.search(ACME, "zebra", vector(0), 10).lexical} == {new.id}
    assert dict(index.ids(ACME)) == {new.id: True}


def test_no_search_sees_two_versions_while_one_takes_the_other_s_place(index: EdgeIndex) -> None:
    versions = [[point(f"zebra {version} {n}") for n in range(40)] for version in range(3)]
    listed(index, ACME, *versions[0])
    enough = threading.Event()

    def swap() -> None:
        for old, new in itertools.pairwise(itertools.cycle(versions)):
            if enough.is_set():
                return
            index.upsert(ACME, new)
            index.list_and_delete(ACME, [p.id for p in new], [p.id for p in old])

    seen: list[set[str]] = []
    with ThreadPoolExecutor(1) as writer:
        swapping = writer.submit(swap)
        try:
            while len(seen) < 20 or len(set.union(*seen)) < 2:
                hits = index.search(ACME, "zebra", vector(0), 100).lexical
                seen.append({hit.payload["text"].split()[1] for hit in hits})
                assert len(hits) == 40
        finally:
            enough.set()
        swapping.result()
    assert all(len(versions_seen) == 1 for versions_seen in seen)


def test_a_tenant_never_meets_the_points_of_another(index: EdgeIndex) -> None:
    secret = point("the secret zebra")
    listed(index, RIVAL, secret)

    legs = index.search(ACME, "secret zebra", vector(0), 10)
    index.list_and_delete(ACME, [], [secret.id])
    index.set_payload(ACME, {secret.id: {"text": "defaced"}})

    assert legs.dense == legs.lexical == ()
    assert index.vectors(ACME, [secret.id]) == {}
    assert index.search(RIVAL, "zebra", vector(0), 10).lexical[0].payload["text"] == "the secret zebra"


def test_payloads_can_be_had_for_a_few_hits_and_never_across_tenants(index: EdgeIndex) -> None:
    mine, theirs = point("a zebra", heading="A"), point("another zebra", heading="B")
    listed(index, ACME, mine)
    listed(index, RIVAL, theirs)
    legs = index.search(ACME, "zebra", vector(0), 5, with_payload=False)
    assert [dict(hit.payload) for hit in legs.lexical] == [{}]
    found = index.payloads(ACME, [mine.id, theirs.id, str(uuid.uuid4())])
    assert {key: payload["heading"] for key, payload in found.items()} == {mine.id: "A"}
    assert index.payloads(ACME, []) == {}


def test_word_statistics_of_a_tenant_do_not_move_with_another_s_documents(index: EdgeIndex) -> None:
    listed(index, ACME, point("zebra one"), point("horse two"), point("horse three"))
    before = [hit.score for hit in index.search(ACME, "zebra", vector(0), 10).lexical]

    listed(index, RIVAL, *[point(f"zebra {n}") for n in range(50)])

    assert [hit.score for hit in index.search(ACME, "zebra", vector(0), 10).lexical] == before


def test_payload_changes_without_touching_the_vector(index: EdgeIndex) -> None:
    moved = point("zebra", 3, heading="Old")
    listed(index, ACME, moved)

    index.set_payload(ACME, {moved.id: {"heading": "New"}})

    hit = index.search(ACME, "zebra", vector(3), 1).dense[0]
    assert hit.payload["heading"] == "New"
    np.testing.assert_allclose(index.vectors(ACME, [moved.id])[moved.id], vector(3), atol=1e-6)


def test_a_question_without_known_words_still_searches_by_meaning(index: EdgeIndex) -> None:
    listed(index, ACME, point("zebra", 1))
    assert index.search(ACME, "   ", vector(1), 5).lexical == ()
    assert len(index.search(ACME, "的 是", vector(1), 5).dense) == 1


def test_points_survive_a_restart(tmp_path: Path) -> None:
    first = EdgeIndex(tmp_path, IDENTITY)
    kept = point("zebra")
    listed(first, ACME, kept)
    first.close()

    second = EdgeIndex(tmp_path, IDENTITY)
    assert dict(second.ids(ACME)) == {kept.id: True}
    assert second.scopes() == [ACME]
    assert second.count(ACME) == 1
    second.close()


def test_another_model_s_index_is_refused_with_the_remedy(tmp_path: Path) -> None:
    EdgeIndex(tmp_path, IDENTITY).close()
    other = IndexIdentity("bigger", "e" * 32, DIM, "english", 50.0)
    with pytest.raises(ModelMismatch, match="`tiny`.*`bigger`.*ragsaver migrate"):
        EdgeIndex(tmp_path, other)


def test_other_word_statistics_are_refused_too(tmp_path: Path) -> None:
    EdgeIndex(tmp_path, IDENTITY).close()
    with pytest.raises(ModelMismatch, match=r"index\.language"):
        EdgeIndex(tmp_path, IndexIdentity("tiny", "f" * 32, DIM, "german", 50.0))


def test_a_second_opening_of_the_same_shard_is_a_clear_error(index: EdgeIndex) -> None:
    with pytest.raises(IndexLocked, match="open in another process"):
        EdgeIndex(index.folder, IDENTITY)


def test_a_disk_that_runs_full_stops_writes_and_keeps_what_is_there(
    index: EdgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = point("zebra")
    listed(index, ACME, kept)
    monkeypatch.setattr(edge, "RESERVE_BYTES", 2**62)

    with pytest.raises(StorageError, match="are free on the disk.*Free some space"):
        index.upsert(ACME, [point("one more")])

    assert len(index.search(ACME, "zebra", vector(0), 5).lexical) == 1
    index.list_and_delete(ACME, [], [kept.id])
    assert index.count(ACME) == 0


def test_a_language_that_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"index\.language"):
        EdgeIndex(tmp_path, IndexIdentity("tiny", "f" * 32, DIM, "klingon", 50.0))


@pytest.mark.parametrize("scope", [Scope("", "docs"), Scope("a/b", "docs"), Scope("a", "b/c")])
def test_a_scope_that_could_be_read_as_another_is_refused(index: EdgeIndex, scope: Scope) -> None:
    with pytest.raises(UsageError, match="can't name a tenant"):
        index.search(scope, "zebra", vector(0), 5)
