"""Keys as they are kept: shown once, hashed, with an end; in either database."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.access import secret
from ragsaver.access.duration import seconds_of
from ragsaver.access.identity import Permission
from ragsaver.access.key_store import KeyStore, keys_place
from ragsaver.access.keyring import FRESH_S, Keyring
from ragsaver.access.secret import Presented, digest, new_id, new_secret, read, same
from ragsaver.errors import Forbidden, KeyNotFound, StorageError, Unauthorized, UsageError
from ragsaver.settings import DatabaseSettings, Settings
from tests.clock import Clock


@pytest.fixture
def store(database: DatabaseSettings, tmp_path: Path, clock: Clock) -> Iterator[KeyStore]:
    settings = Settings(home=tmp_path / "home", database=database)
    with closing(KeyStore(keys_place(settings), clock)) as made:
        yield made


def identified(store: KeyStore, clock: Clock, presented: Presented):
    ring = Keyring(store, clock)
    ring.fetch(presented.id)
    return ring.identify(presented)


def test_a_key_comes_back_as_it_was_made_without_its_secret(store: KeyStore, clock: Clock):
    made, presented = store.create(
        "ana", "acme", ["it", "hr", "it"], [Permission.INGEST, Permission.QUERY], ["b", "a"], 60
    )
    (kept,) = store.all()
    assert kept == made == store.find(made.id)
    assert (kept.groups, kept.permissions, kept.pipelines) == (("hr", "it"), ("ingest", "query"), ("b", "a"))
    assert presented.secret not in repr(kept) and presented.secret not in repr(presented)
    assert kept.secret_hash not in repr(kept)
    identity = identified(store, clock, read(presented.text()))
    assert (identity.tenant, identity.groups, identity.principal) == ("acme", {"hr", "it"}, "ana")
    assert (identity.key_id, identity.permissions, identity.pipelines) == (made.id, {"ingest", "query"}, ("b", "a"))


def test_no_file_holds_a_secret(tmp_path: Path):
    with closing(KeyStore(tmp_path / "home" / "keys.sqlite")) as store:
        secrets = [store.create("ana", "acme")[1], store.rotate(store.all()[0].id, 60)[1]]
    for file in (tmp_path / "home").iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        assert not any(one.secret.encode() in file.read_bytes() for one in secrets)


def test_a_key_ends_when_it_expires_or_is_revoked(store: KeyStore, clock: Clock):
    _, lasting = store.create("ana", "acme")
    _, short = store.create("bob", "acme", lasts_s=60)
    clock.now += 59
    assert identified(store, clock, short).principal == "bob"
    clock.now += 1
    with pytest.raises(Unauthorized, match="is expired"):
        identified(store, clock, short)
    assert store.revoke(lasting.id).state(clock.now) == "revoked"
    for presented in (lasting, short):
        with pytest.raises(Unauthorized, match=r"is (revoked|expired)"):
            identified(store, clock, presented)
        with pytest.raises(KeyNotFound):
            store.rotate(presented.id, 60)
    assert store.any() and store.revoke(lasting.id).revoked_at == clock.now
    with pytest.raises(KeyNotFound):
        store.revoke("0" * 16)


def test_a_rotated_key_has_two_secrets_for_a_while_and_one_then(store: KeyStore, clock: Clock):
    made, first = store.create("ana", "acme", ["hr"])
    key, second = store.rotate(made.id, 60)
    assert (first.id, first.secret != second.secret, key.groups) == (second.id, True, made.groups)
    assert identified(store, clock, first) == identified(store, clock, second)
    clock.now += 60
    assert identified(store, clock, second).principal == "ana"
    with pytest.raises(Unauthorized, match="no such"):
        identified(store, clock, first)
    _, third = store.rotate(made.id, 0)
    with pytest.raises(Unauthorized):
        identified(store, clock, second)
    store.rotate(made.id, 60)
    store.revoke(made.id)
    with pytest.raises(Unauthorized):
        identified(store, clock, third)


def test_secrets_are_compared_in_constant_time_and_in_no_other_way(
    store: KeyStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    _, presented = store.create("ana", "acme")
    compared = []

    def never_the_same(one: str, other: str) -> bool:
        compared.append(one == other)
        return False

    monkeypatch.setattr(secret.hmac, "compare_digest", never_the_same)
    with pytest.raises(Unauthorized):
        identified(store, clock, presented)
    assert any(compared)


def test_who_has_not_the_secret_is_not_told_whether_there_is_such_a_key(store: KeyStore, clock: Clock):
    made, _ = store.create("ana", "acme")
    store.revoke(made.id)
    told = set()
    for id in (made.id, new_id()):
        with pytest.raises(Unauthorized) as refused:
            identified(store, clock, Presented(id, new_secret()))
        told.add(str(refused.value))
    assert len(told) == 1


def test_a_server_learns_of_a_revoked_key_in_moments_and_reads_no_key_twice_before(store: KeyStore, clock: Clock):
    made, presented = store.create("ana", "acme")
    ring = Keyring(store, clock)
    assert ring.stale(made.id)
    ring.fetch(made.id)
    store.revoke(made.id)
    assert not ring.stale(made.id) and ring.identify(presented)
    clock.now += FRESH_S
    assert ring.stale(made.id)
    ring.fetch(made.id)
    with pytest.raises(Unauthorized, match="revoked"):
        ring.identify(presented)


def test_that_a_key_was_used_is_noted_once_a_minute(store: KeyStore, clock: Clock):
    made, _ = store.create("ana", "acme")
    ring = Keyring(store, clock)
    assert ring.use_to_note(made.id) and not ring.use_to_note(made.id)
    ring.note_use(made.id)
    assert store.find(made.id).last_used_at == clock.now
    clock.now += 60
    assert ring.use_to_note(made.id)


def test_a_project_without_keys_gets_no_file_by_being_asked(tmp_path: Path):
    store = KeyStore(tmp_path / "home" / "keys.sqlite")
    assert (store.any(), store.all(), store.find(new_id())) == (False, [], None)
    assert not (tmp_path / "home").exists()


def test_a_file_of_another_format_is_refused(tmp_path: Path):
    place = tmp_path / "keys.sqlite"
    KeyStore(place).create("ana", "acme")
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        connection.execute(sa.text("PRAGMA user_version = 99"))
    with pytest.raises(StorageError, match="format 99"):
        KeyStore(place).any()


@given(st.text(max_size=80))
def test_what_is_no_key_is_read_as_none(text: str):
    assert read(text) is None


def test_secrets_are_their_own_and_fit_only_themselves():
    made = [new_secret() for _ in range(100)]
    assert len({*made}) == 100
    assert [[same(one, digest(other)) for other in made[:9]] for one in made[:9]] == [
        [one == other for other in made[:9]] for one in made[:9]
    ]
    assert read(Presented(new_id(), made[0]).text()).secret == made[0]


def test_a_key_s_rights_are_asked_for_by_name(store: KeyStore, clock: Clock):
    _, presented = store.create("ana", "acme", pipelines=["b", "a"])
    identity = identified(store, clock, presented)
    identity.require(Permission.INGEST, Permission.QUERY)
    with pytest.raises(Forbidden, match="would need ingest or admin"):
        identity.require(Permission.INGEST, Permission.ADMIN)
    assert (identity.pipeline(None), identity.pipeline("a")) == ("b", "a")
    with pytest.raises(Forbidden, match="`query`"):
        identity.pipeline("query")


@pytest.mark.parametrize(("text", "seconds"), [("90d", 7_776_000), ("15m", 900), ("0s", 0), ("2w", 1_209_600)])
def test_lengths_of_time(text: str, seconds: float):
    assert seconds_of(text, "--expires") == seconds


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5h", "1y", "1d1h"])
def test_what_is_no_length_of_time_is_refused(text: str):
    with pytest.raises(UsageError, match="no length of time"):
        seconds_of(text, "--expires")


def test_what_a_listing_shows_is_json(store: KeyStore):
    from ragsaver.cli.keys import _shown

    made, presented = store.create("ana", "acme", ["hr"], lasts_s=60)
    shown = json.dumps(_shown(made))
    assert made.id in shown and made.secret_hash not in shown and presented.secret not in shown
