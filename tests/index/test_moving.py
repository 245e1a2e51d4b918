"""An index moves to a server and back with every point, also after a stop, and only where both are built alike."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

import pytest

from ragsaver.errors import ModelMismatch, StorageError, UsageError
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.moving import LeftScope, move, require_alike
from ragsaver.index.protocol import VectorIndex
from tests.index.engines import KINDS, engine
from tests.index.points import ACME, IDENTITY, RIVAL, listed, point, vector


def free(tenant: str) -> nullcontext[None]:
    return nullcontext()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[VectorIndex]:
    with engine("edge", tmp_path / "here") as opening, closing(opening(IDENTITY)) as index:
        yield index


@pytest.fixture(params=KINDS)
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    with engine(request.param, tmp_path / "there") as opening, closing(opening(IDENTITY)) as index:
        yield index


def contents(index: VectorIndex) -> dict[str, object]:
    """Every point with all that it is."""
    return {
        one.id: (
            [round(float(value), 5) for value in one.vector],
            sorted(zip(one.word_ids, (round(weight, 5) for weight in one.word_weights), strict=True)),
            dict(one.payload),
        )
        for scope in index.scopes()
        for some in index.stored(scope)
        for one in some
    }


def fill(index: VectorIndex) -> None:
    listed(index, ACME, *[point(f"zebra {n}", n, n=n) for n in range(5)])
    index.upsert(ACME, [point("an unlisted horse", 2)])
    listed(index, RIVAL, point("another zebra"))


def test_there_and_back_again_nothing_is_lost(here: VectorIndex, there: VectorIndex, tmp_path: Path) -> None:
    fill(here)
    moved = move(here, there, free)
    assert {(one.tenant, one.points, one.copied, one.unchanged) for one in moved.scopes} == {
        ("acme", 6, 6, 0),
        ("rival", 1, 1, 0),
    }
    assert contents(there) == contents(here)
    with engine("edge", tmp_path / "back") as opening, closing(opening(IDENTITY)) as back:
        assert move(there, back, free).points == 7
        assert contents(back) == contents(here)
        before, after = (
            {hit.id: hit.score for hit in one.search(ACME, "zebra", vector(1), 5).lexical} for one in (here, back)
        )
        assert after == pytest.approx(before)


def test_what_is_there_is_not_sent_again_and_what_differs_is(here: VectorIndex, there: VectorIndex) -> None:
    fill(here)
    move(here, there, free)
    changed = next(iter(dict(here.ids(ACME))))
    here.set_payload(ACME, {changed: {"heading": "New"}})
    again = move(here, there, free)
    assert [(one.tenant, one.copied, one.unchanged) for one in again.scopes] == [("acme", 1, 5), ("rival", 0, 1)]
    assert contents(there) == contents(here)


def test_a_move_that_was_stopped_goes_on_where_it_was(here: VectorIndex, there: VectorIndex) -> None:
    many = [point(f"zebra {n}", n) for n in range(1500)]
    listed(here, ACME, *many)

    def stop(points: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(here, there, free, progress=stop)
    assert there.count(ACME) == 1000
    (rest,) = move(here, there, free).scopes
    assert (rest.points, rest.copied, rest.unchanged) == (1500, 500, 1000)


def test_points_that_are_only_there_go_when_told_to_and_other_collections_stay(
    here: VectorIndex, there: VectorIndex
) -> None:
    listed(here, ACME, point("zebra"))
    listed(there, ACME, point("an old zebra"))
    listed(there, RIVAL, point("a rival's zebra"))
    with pytest.raises(UsageError, match="acme/docs: 1 points are there.*--prune"):
        move(here, there, free)
    done = move(here, there, free, prune=True)
    (moved,) = done.scopes
    assert (moved.points, moved.copied, moved.removed) == (1, 1, 1)
    assert done.left == (LeftScope("rival", "docs", 1),)
    assert (there.count(ACME), there.count(RIVAL)) == (1, 1)


def test_a_collection_that_was_emptied_here_goes_there_when_told_to(here: VectorIndex, there: VectorIndex) -> None:
    fill(here)
    move(here, there, free)
    here.list_and_delete(RIVAL, [], list(dict(here.ids(RIVAL))))
    emptied = {RIVAL}.__contains__
    with pytest.raises(UsageError, match="rival/docs: 1 points are there.*--prune"):
        move(here, there, free, is_emptied=emptied)
    assert there.count(RIVAL) == 1
    done = move(here, there, free, prune=True, is_emptied=emptied)
    assert [(one.tenant, one.points, one.removed) for one in done.scopes] == [("acme", 6, 0), ("rival", 0, 1)]
    assert done.left == ()
    assert there.search(RIVAL, "zebra", vector(0), 5).lexical == ()
    assert contents(there) == contents(here)


def test_who_writes_meanwhile_is_noticed(here: VectorIndex, there: VectorIndex) -> None:
    listed(here, ACME, point("zebra"))
    with pytest.raises(StorageError, match="1 points were to be moved, and 2 are there.*run the command again"):
        move(here, there, free, progress=lambda points: listed(there, ACME, point("an intruder")))


def test_every_tenant_is_moved_in_its_turn(here: VectorIndex, there: VectorIndex) -> None:
    fill(here)
    taken: list[str] = []
    with ExitStack() as stack:
        move(here, there, lambda tenant: stack.enter_context(nullcontext(nullcontext(taken.append(tenant)))))
    assert taken == ["acme", "rival"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (IndexIdentity("bigger", "e" * 32, 8, "english", 50.0), "`bigger`.*`tiny`.*elsewhere"),
        (IndexIdentity("tiny", "f" * 32, 8, "german", 50.0), r"index\.language.*elsewhere"),
    ],
)
def test_an_index_that_was_built_otherwise_is_refused(other: IndexIdentity, words: str) -> None:
    require_alike(IDENTITY, None, where="there", remedy="Go elsewhere")
    require_alike(IDENTITY, IDENTITY, where="there", remedy="Go elsewhere")
    with pytest.raises(ModelMismatch, match=f"^there: .*{words}"):
        require_alike(IDENTITY, other, where="there", remedy="Go elsewhere")
