"""What every engine keeps: the embedded one, the client's local mode, REST, and a real server where there is one; asked
by a thread, and by a task.
"""

import itertools
import pickle
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragsaver.errors import ModelMismatch, SettingsError
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import VectorIndex
from ragsaver.index.words import LANGUAGES, WordSettings, word_encoder, words_of
from tests.index.engines import AWAITED, KINDS, Opening, engine
from tests.index.points import ACME, DIM, IDENTITY, RIVAL, listed, point, vector


@pytest.fixture(params=[*KINDS, *AWAITED])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opening]:
    with engine(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture
def index(opening: Opening) -> Iterator[VectorIndex]:
    opened = opening(IDENTITY)
    yield opened
    opened.close()


def test_both_legs_find_what_they_are_for(index: VectorIndex) -> None:
    by_word, by_meaning = point("a zebra crossing", 1), point("striped animals on the road", 2)
    listed(index, ACME, by_word, by_meaning)

    legs = index.search(ACME, "zebra", vector(2), 10)

    assert [hit.id for hit in legs.lexical] == [by_word.id]
    assert legs.dense[0].id == by_meaning.id
    assert legs.dense[0].score == pytest.approx(1.0, abs=1e-5)
    assert legs.dense[0].payload["text"] == "striped animals on the road"


def test_words_that_were_made_elsewhere_are_taken_if_they_were_made_alike(index: VectorIndex) -> None:
    text = "Zebras were crossing 3 crossings, naïvely, again and again"
    other = index.words._replace(k1=2.0)
    alike = point(text)._replace(words=words_of(text, index.words))
    index.upsert(ACME, [point(text), alike, point(text)._replace(words=words_of("something else", other))])

    (kept,) = index.stored(ACME)

    first, *others = [dict(zip(one.word_ids, one.word_weights, strict=True)) for one in kept]
    assert len(first) > 3
    assert others == [first, first]


def test_words_of_this_machine_are_sent_and_read_as_they_were_made(index: VectorIndex) -> None:
    text = "a zebra, two zebras"
    made, sent = word_encoder(index.words).embed_document(text), words_of(text, index.words)
    ids, weights = pickle.loads(pickle.dumps(sent)).lists()
    assert dict(zip(ids, weights, strict=True)) == dict(zip(made.indices, made.values, strict=True))


def test_unlisted_points_are_not_found_until_they_are_listed(index: VectorIndex) -> None:
    old, new = point("old zebra"), point("new zebra")
    listed(index, ACME, old)
    index.upsert(ACME, [new])
    assert {hit.id for hit in index.search(ACME, "zebra", vector(0), 10).lexical} == {old.id}

    index.list_and_delete(ACME, [new.id], [old.id])

    assert {hit.id for hit in index.search(ACME, "zebra", vector(0), 10).lexical} == {new.id}
    assert dict(index.ids(ACME)) == {new.id: True}


def test_no_search_sees_two_versions_while_one_takes_the_other_s_place(
    index: VectorIndex, request: pytest.FixtureRequest
) -> None:
    size = 4 if "local" in request.node.name else 40  # local mode writes each point in a transaction of its own
    versions = [[point(f"zebra {version} {n}") for n in range(size)] for version in range(3)]
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
                assert len(hits) == size
        finally:
            enough.set()
        swapping.result()
    assert all(len(versions_seen) == 1 for versions_seen in seen)


def test_a_tenant_never_meets_the_points_of_another(index: VectorIndex) -> None:
    secret = point("the secret zebra")
    listed(index, RIVAL, secret)

    legs = index.search(ACME, "secret zebra", vector(0), 10)
    index.list_and_delete(ACME, [], [secret.id])
    index.set_payload(ACME, {secret.id: {"text": "defaced"}})

    assert legs.dense == legs.lexical == ()
    assert index.vectors(ACME, [secret.id]) == {}
    assert index.search(RIVAL, "zebra", vector(0), 10).lexical[0].payload["text"] == "the secret zebra"


def test_payloads_can_be_had_for_a_few_hits_and_never_across_tenants(index: VectorIndex) -> None:
    mine, theirs = point("a zebra", heading="A"), point("another zebra", heading="B")
    listed(index, ACME, mine)
    listed(index, RIVAL, theirs)
    legs = index.search(ACME, "zebra", vector(0), 5, with_payload=False)
    assert [dict(hit.payload) for hit in legs.lexical] == [{}]
    found = index.payloads(ACME, [mine.id, theirs.id, str(uuid.uuid4())])
    assert {key: payload["heading"] for key, payload in found.items()} == {mine.id: "A"}
    assert index.payloads(ACME, []) == {}


def test_word_statistics_of_a_tenant_do_not_move_with_another_s_documents(index: VectorIndex) -> None:
    listed(index, ACME, point("zebra one"), point("horse two"), point("horse three"))
    before = [hit.score for hit in index.search(ACME, "zebra", vector(0), 10).lexical]

    listed(index, RIVAL, *[point(f"zebra {n}") for n in range(50)])

    assert [hit.score for hit in index.search(ACME, "zebra", vector(0), 10).lexical] == before


@pytest.mark.parametrize("again", [False, True], ids=["written", "restored"])
def test_a_text_without_words_counts_whoever_else_is_there(index: VectorIndex, again: bool) -> None:
    wordless = [point(text) for text in ("", "*", "the of")]
    listed(index, ACME, point("zebra one"), point("horse two"), *wordless)
    if again:  # as an index of an earlier version kept them
        ids = {one.id for one in wordless}
        kept = [one for some in index.stored(ACME) for one in some if one.id in ids]
        index.restore(ACME, [replace(one, word_ids=[], word_weights=[]) for one in kept])
    before = [hit.score for hit in index.search(ACME, "zebra", vector(0), 10).lexical]

    listed(index, RIVAL, point("zebra two"))

    assert [hit.score for hit in index.search(ACME, "zebra", vector(0), 10).lexical] == before


def test_a_reader_sees_what_names_no_groups_or_one_of_its_own(index: VectorIndex) -> None:
    old, everybody_s = point("old zebra"), point("open zebra", groups=[])
    of_hr, of_both = point("hr zebra", groups=["hr"]), point("shared zebra", groups=["hr", "it"])
    listed(index, ACME, old, everybody_s, of_hr, of_both)
    ids = {"old": old.id, "open": everybody_s.id, "hr": of_hr.id, "both": of_both.id}
    for groups, seen in (
        (None, {"old", "open", "hr", "both"}),
        (frozenset(), {"old", "open"}),
        (frozenset({"it"}), {"old", "open", "both"}),
        (frozenset({"hr", "x"}), {"old", "open", "hr", "both"}),
        (frozenset({"h", "*", "HR"}), {"old", "open"}),
    ):
        reader, expected = replace(ACME, groups=groups), {ids[name] for name in seen}
        legs = index.search(reader, "zebra", vector(0), 10)
        assert {hit.id for hit in legs.dense} == {hit.id for hit in legs.lexical} == expected
        assert set(index.payloads(reader, list(ids.values()))) == expected
        assert set(index.vectors(reader, list(ids.values()))) == expected
        assert set(dict(index.ids(reader))) == {one.id for some in index.stored(reader) for one in some} == expected
        assert index.count(reader) == len(expected)


def test_other_groups_take_effect_without_touching_the_vector(index: VectorIndex) -> None:
    moved, reader = point("zebra", 3, groups=["hr"]), replace(ACME, groups=frozenset({"it"}))
    listed(index, ACME, moved)
    before = index.vectors(ACME, [moved.id])[moved.id].tobytes()

    for groups, count in ((["it"], 1), (["hr"], 0), ([], 1)):
        index.set_payload(ACME, {moved.id: {"groups": groups}})
        assert len(index.search(reader, "zebra", vector(3), 5).lexical) == count
    assert index.vectors(ACME, [moved.id])[moved.id].tobytes() == before


def test_word_statistics_of_a_reader_do_not_move_with_other_groups_documents(index: VectorIndex) -> None:
    reader = replace(ACME, groups=frozenset({"it"}))
    listed(index, ACME, point("zebra one", groups=["it"]), point("horse two"), point("horse three"))
    before = [hit.score for hit in index.search(reader, "zebra", vector(0), 10).lexical]

    listed(index, ACME, *[point(f"zebra {n}", groups=["hr"]) for n in range(50)])

    assert [hit.score for hit in index.search(reader, "zebra", vector(0), 10).lexical] == before


def test_a_new_version_s_words_count_before_it_is_listed_and_the_old_one_s_no_more_when_it_is_gone(
    index: VectorIndex,
) -> None:
    old, new = point("zebra one"), point("zebra two")
    listed(index, ACME, old, *[point(f"horse {n}") for n in range(9)])

    def best() -> float:
        return index.search(ACME, "zebra", vector(0), 5).lexical[0].score

    alone = best()
    index.upsert(ACME, [new])
    together = best()
    index.list_and_delete(ACME, [new.id], [old.id])
    assert together < best() == pytest.approx(alone)


def test_changes_are_counted_where_nobody_else_writes(index: VectorIndex) -> None:
    counted, written = [index.changes()], point("zebra")
    for write in (
        lambda: index.upsert(ACME, [written]),
        lambda: index.list_and_delete(ACME, [written.id], []),
        lambda: index.set_payload(ACME, {written.id: {"groups": ["hr"]}}),
        lambda: [index.restore(RIVAL, some) for some in index.stored(ACME)],
        lambda: index.list_and_delete(ACME, [], [written.id]),
    ):
        write()
        counted.append(index.changes())
    assert len(set(counted)) == (len(counted) if isinstance(index, EdgeIndex) else 1)


def test_payload_changes_without_touching_the_vector(index: VectorIndex) -> None:
    moved = point("zebra", 3, heading="Old")
    listed(index, ACME, moved)

    index.set_payload(ACME, {moved.id: {"heading": "New"}})

    hit = index.search(ACME, "zebra", vector(3), 1).dense[0]
    assert hit.payload["heading"] == "New"
    np.testing.assert_allclose(index.vectors(ACME, [moved.id])[moved.id], vector(3), atol=1e-6)


def test_a_question_without_known_words_still_searches_by_meaning(index: VectorIndex) -> None:
    listed(index, ACME, point("zebra", 1))
    assert index.search(ACME, "   ", vector(1), 5).lexical == ()
    assert len(index.search(ACME, "的 是", vector(1), 5).dense) == 1


def test_points_survive_a_restart(opening: Opening) -> None:
    first = opening(IDENTITY)
    kept = point("zebra")
    listed(first, ACME, kept)
    first.close()

    second = opening(IDENTITY)
    assert dict(second.ids(ACME)) == {kept.id: True}
    assert second.scopes() == [ACME]
    assert second.count(ACME) == 1
    second.close()


def test_another_model_s_index_is_refused_with_the_remedy(opening: Opening) -> None:
    opening(IDENTITY).close()
    other = IndexIdentity("bigger", "e" * 32, DIM, "english", 50.0)
    with pytest.raises(ModelMismatch, match="`tiny`.*`bigger`.*(ragsaver migrate|index.collection)"):
        opening(other)


@pytest.mark.parametrize("changed", [{"language": "german"}, {"bm25_k1": 2.0}, {"bm25_b": 0.5}])
def test_other_word_statistics_are_refused_too(opening: Opening, changed: dict[str, Any]) -> None:
    opening(IDENTITY).close()
    with pytest.raises(ModelMismatch, match=r"index\.language.*index\.bm25_b"):
        opening(replace(IDENTITY, **changed))


def test_a_language_that_is_not_known_is_named(opening: Opening) -> None:
    with pytest.raises(SettingsError, match=r"index\.language: .*`klingon`.*english, finnish"):
        opening(IndexIdentity("tiny", "f" * 32, DIM, "klingon", 50.0))


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_that_is_named_in_its_place_is_known(language: str) -> None:
    word_encoder(WordSettings(language, 50.0, 1.2, 0.75))


def test_points_move_to_another_index_as_they_are_kept(opening: Opening, index: VectorIndex, tmp_path: Path) -> None:
    shown, hidden = point("a zebra crossing", 1, heading="A"), point("an unlisted zebra", 2)
    listed(index, ACME, shown, point("a horse", 3))
    index.upsert(ACME, [hidden])
    listed(index, RIVAL, point("another zebra"))

    with closing(EdgeIndex(tmp_path / "other", IDENTITY)) as other:
        for some in index.stored(ACME):
            other.restore(ACME, some)

        assert dict(other.ids(ACME)) == dict(index.ids(ACME))
        assert other.scopes() == [ACME]
        here, there = (one.search(ACME, "zebra", vector(1), 5) for one in (index, other))
        assert [(hit.id, hit.payload) for hit in there.lexical] == [(hit.id, hit.payload) for hit in here.lexical]
        assert [hit.score for hit in there.lexical] == pytest.approx([hit.score for hit in here.lexical], rel=1e-5)
        assert there.dense[0].score == pytest.approx(here.dense[0].score, abs=1e-6)

        for some in other.stored(ACME):
            index.restore(ACME, some)
        assert index.count(ACME) == 3
        index.list_and_delete(ACME, [hidden.id], [])
        assert {hit.id for hit in index.search(ACME, "zebra", vector(1), 5).lexical} == {shown.id, hidden.id}


def test_more_points_than_one_request_takes_are_all_there(index: VectorIndex) -> None:
    many = [point(f"zebra {n}", n) for n in range(1100)]
    listed(index, ACME, *many)
    assert dict(index.ids(ACME)) == {one.id: True for one in many}
    assert (
        len(index.payloads(ACME, [one.id for one in many]))
        == len(index.vectors(ACME, [one.id for one in many]))
        == 1100
    )
    index.set_payload(ACME, {one.id: {"heading": "H"} for one in many[:150]})
    changed = index.payloads(ACME, [one.id for one in many])
    assert sum("heading" in payload for payload in changed.values()) == 150
