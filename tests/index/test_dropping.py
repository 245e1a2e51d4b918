"""A collection that is of no use any more goes, and what others have in it stays."""

from contextlib import closing
from pathlib import Path

import pytest

from ragsaver.index.server_collection import drop_collection
from tests.index.engines import KINDS, engine
from tests.index.points import ACME, IDENTITY, RIVAL, listed, point

pytestmark = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "edge"])


def test_all_of_it_goes_and_a_second_time_nothing_happens(kind: str, tmp_path: Path) -> None:
    with engine(kind, tmp_path) as opening, closing(opening(IDENTITY)) as index:
        listed(index, ACME, point("zebra"))
        for scopes in (None, None, [ACME]):
            drop_collection(index._connection, index._name, scopes)
            assert not index._connection.ask(lambda client: client.collection_exists(index._name))


def test_where_only_its_own_scopes_have_points_it_goes(kind: str, tmp_path: Path) -> None:
    with engine(kind, tmp_path) as opening, closing(opening(IDENTITY)) as index:
        listed(index, ACME, point("zebra"))
        drop_collection(index._connection, index._name, [ACME, RIVAL])
        assert not index._connection.ask(lambda client: client.collection_exists(index._name))


@pytest.mark.parametrize("scopes", [[ACME], []])
def test_points_of_others_stay(kind: str, tmp_path: Path, scopes: list) -> None:
    with engine(kind, tmp_path) as opening, closing(opening(IDENTITY)) as index:
        listed(index, ACME, point("zebra"))
        listed(index, RIVAL, point("zebra"))
        drop_collection(index._connection, index._name, scopes)
        assert (index.count(ACME), index.count(RIVAL)) == (0 if scopes else 1, 1)
