"""What only an index in a server has: how its collection is made, what passes, and what it says when it fails."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from operator import methodcaller
from pathlib import Path

import pytest
from pydantic import SecretStr
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest

from ragsaver.errors import IndexLocked, IndexUnavailable, ModelMismatch, SettingsError, StorageError
from ragsaver.index.blend import Blend
from ragsaver.index.connection import Connection, ServerPlace
from ragsaver.index.hnsw import HNSW_EF
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.keys import shown_in
from ragsaver.index.quantization import Quantization
from ragsaver.index.server import ServerIndex, _set, _within
from ragsaver.index.server_collection import Growth, take_over
from tests.index.points import ACME, IDENTITY, RIVAL, listed, point, vector
from tests.qdrant_grpc import created, grpc_port
from tests.qdrant_server import StandIn, qdrant_server

SOON, LATE = 0.4, 60.0


def at(server: StandIn, deadline_s: float = LATE, **more: object) -> ServerIndex:
    place = ServerPlace(server.url, grpc_port=None, deadline_s=deadline_s)
    return ServerIndex(Connection(place), "corpus", IDENTITY, **more)


def creations(server: StandIn) -> list[dict]:
    return [body for method, path, body in server.asked if (method, path) == ("PUT", "/collections/corpus")]


@pytest.fixture
def server() -> Iterator[StandIn]:
    with qdrant_server() as started:
        yield started


@pytest.fixture
def index(server: StandIn) -> Iterator[ServerIndex]:
    with closing(at(server)) as opened:
        yield opened


def test_the_collection_is_made_to_grow(server: StandIn) -> None:
    at(server, growth=Growth(shards=6, replicas=3, on_disk=True)).close()
    made = models.CreateCollection.model_validate(creations(server)[0])
    assert (made.shard_number, made.replication_factor, made.write_consistency_factor) == (6, 3, 2)
    assert made.vectors["dense"].on_disk and made.hnsw_config.on_disk and made.sparse_vectors["bm25"].index.on_disk
    assert made.metadata["ragsaver"]["fingerprint"] == IDENTITY.fingerprint
    fields = {body["field_name"]: body["field_schema"] for body in server.requests("/index")}
    assert fields["scope"]["is_tenant"] is True
    assert fields["listed_in"] == fields["groups"] == "keyword"


def test_what_is_there_is_neither_made_nor_changed_again(server: StandIn) -> None:
    at(server).close()
    before = len(server.requests("/index"))
    at(server, growth=Growth(shards=9)).close()
    assert len(server.requests("/index")) == before == 3
    assert len(creations(server)) == 1


def test_a_field_that_a_dying_process_left_without_an_index_gets_one(server: StandIn) -> None:
    at(server).close()
    del server.indexed["corpus"]["listed_in"]
    at(server).close()
    assert set(server.indexed["corpus"]) == {"scope", "listed_in", "groups"}


def test_points_of_an_earlier_version_are_listed_as_they_were(tmp_path: Path) -> None:
    shown, hidden, theirs = point("zebra"), point("a hidden zebra", 1), point("another zebra", 2)
    connection = Connection(ServerPlace(f"file:{tmp_path / 'qdrant'}"))
    with closing(ServerIndex(connection, "corpus", IDENTITY)) as index:
        listed(index, ACME, shown)
        index.upsert(ACME, [hidden])
        listed(index, RIVAL, theirs)
        for one, state in ((shown, "listed"), (hidden, "unlisted"), (theirs, "listed")):  # as it was written then
            connection.ask(methodcaller("set_payload", "corpus", {"state": state}, [one.id]))
            connection.ask(methodcaller("delete_payload", "corpus", ["listed_in"], [one.id]))
        assert index.search(ACME, "zebra", vector(0), 10).lexical == ()
        for _ in range(2):
            take_over(connection, "corpus")
            assert [hit.id for hit in index.search(ACME, "zebra", vector(0), 10).lexical] == [shown.id]
            assert [hit.id for hit in index.search(RIVAL, "zebra", vector(0), 10).lexical] == [theirs.id]
            assert dict(index.ids(ACME)) == {shown.id: True, hidden.id: False}
            assert "state" not in index.payloads(ACME, [hidden.id])[hidden.id]


def test_both_legs_are_one_request_with_word_statistics_of_the_tenant(server: StandIn, index: ServerIndex) -> None:
    listed(index, ACME, point("zebra"))
    index.search(ACME, "zebra", vector(0), 7)
    (asked,) = server.requests("/points/query/batch")
    dense, lexical = asked["searches"]
    assert (dense["using"], lexical["using"]) == ("dense", "bm25")
    assert dense["params"] == {"hnsw_ef": HNSW_EF}
    assert dense["filter"] == lexical["filter"]
    assert dense["filter"] == {"must": [{"key": "listed_in", "match": {"value": "acme/docs"}}]}
    assert lexical["params"]["idf"]["corpus"] == {"must": [{"key": "scope", "match": {"value": "acme/docs"}}]}


def test_word_statistics_of_a_reader_are_of_what_the_groups_may_read(server: StandIn, index: ServerIndex) -> None:
    index.search(replace(ACME, groups=frozenset({"hr"})), "zebra", vector(0), 7)
    (asked,) = server.requests("/points/query/batch")
    for searched in asked["searches"]:
        listed_there, readable = searched["filter"]["must"]
    assert searched["params"]["idf"]["corpus"] == {"must": [{**listed_there, "key": "scope"}, readable]}


def test_what_the_server_makes_one_order_of_is_filtered_as_the_legs_are(server: StandIn, index: ServerIndex) -> None:
    listed(index, ACME, point("zebra"))
    reader = replace(ACME, groups=frozenset({"hr"}))
    index.search(reader, "zebra", vector(0), 7)
    index.blended(reader, "zebra", vector(0), 7, Blend("rrf", 0.5), 3)
    legs, asked = (one["searches"] for one in server.requests("/points/query/batch"))
    (asked,) = asked
    assert (asked["limit"], asked["query"]) == (3, {"rrf": {"k": 61}})
    assert asked["filter"] == legs[0]["filter"]
    for leg, before in zip(legs, asked["prefetch"], strict=True):
        assert {key: leg[key] for key in before} == before and {"filter", "params", "limit", "using"} <= before.keys()


def test_new_points_are_listed_before_old_ones_go_and_both_in_one_request(server: StandIn, index: ServerIndex) -> None:
    index.list_and_delete(ACME, ["0" * 32], ["1" * 32])
    (asked,) = server.requests("/points/batch")
    assert [set(one) for one in asked["operations"]] == [{"set_payload"}, {"delete"}]
    index.list_and_delete(ACME, [], [])
    assert len(server.requests("/points/batch")) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_is_asked_again(server: StandIn, index: ServerIndex, status: int) -> None:
    kept = point("zebra")
    listed(index, ACME, kept)
    server.failures = [status]
    assert [hit.id for hit in index.search(ACME, "zebra", vector(0), 5).lexical] == [kept.id]


def test_a_write_whose_answer_was_lost_is_made_again_and_stands_once(server: StandIn, index: ServerIndex) -> None:
    kept = point("zebra")
    server.failures = [-503]
    index.upsert(ACME, [kept])
    server.failures = [-503]
    index.list_and_delete(ACME, [kept.id], [])
    assert dict(index.ids(ACME)) == {kept.id: True}
    assert len(server.requests("/collections/corpus/points")) == 2


def test_after_the_deadline_it_says_where_and_what_to_do(server: StandIn) -> None:
    with closing(at(server, SOON)) as index:
        server.failures = [503] * 100
        with pytest.raises(IndexUnavailable, match=rf"{server.url}: .*does not answer.*index\.url") as failed:
            index.count(ACME)
    assert isinstance(failed.value, StorageError)
    assert 0 < len(server.failures) < 100


def test_what_does_not_pass_is_not_asked_again(server: StandIn, index: ServerIndex) -> None:
    server.failures = [400]
    with pytest.raises(StorageError, match="the index failed: 400.*on purpose"):
        index.count(ACME)
    assert len(server.requests("/count")) == 1


@pytest.mark.parametrize("grpc", [False, True])
def test_a_server_that_is_not_there_is_named(grpc: bool) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        place = ServerPlace(f"http://127.0.0.1:{port}", grpc_port=port if grpc else None, deadline_s=SOON)
        with pytest.raises(IndexUnavailable, match=rf"127\.0\.0\.1:{port}: the Qdrant server does not answer"):
            ServerIndex(Connection(place), "corpus", IDENTITY)


def test_a_wrong_key_is_told_without_the_key() -> None:
    with qdrant_server(api_key="right") as server:
        place = ServerPlace(server.url, SecretStr("wrong-key"), grpc_port=None, deadline_s=LATE)
        with pytest.warns(UserWarning, match="insecure"), pytest.raises(IndexUnavailable) as failed:
            ServerIndex(Connection(place), "corpus", IDENTITY)
        assert "QDRANT_API_KEY" in str(failed.value) and "wrong-key" not in str(failed.value)
        with pytest.warns(UserWarning, match="insecure"):
            right = Connection(ServerPlace(server.url, SecretStr("right"), grpc_port=None))
        ServerIndex(right, "corpus", IDENTITY).close()


def test_a_password_in_the_url_is_never_shown() -> None:
    assert ServerPlace("https://me:secret@qdrant.example:6333/a").shown == "https://qdrant.example:6333/a"


def test_a_url_that_is_none_is_a_setting_s_error() -> None:
    with pytest.raises(SettingsError, match=r"index\.url"):
        Connection(ServerPlace("ftp://somewhere"))


@pytest.mark.parametrize(
    ("version", "tenant_idf", "remedy"),
    [("1.18.4", True, "Upgrade the server, or set `index.tenant_idf: false`"), ("1.15.4", False, "Upgrade the server")],
)
def test_a_server_that_can_not_keep_tenants_apart_is_refused(version: str, tenant_idf: bool, remedy: str) -> None:
    with qdrant_server(version) as server, pytest.raises(StorageError, match=f"this is Qdrant {version}.*{remedy}"):
        at(server, tenant_idf=tenant_idf)


def test_an_older_server_does_where_tenants_share_word_statistics() -> None:
    with qdrant_server("1.16.0") as server, closing(at(server, tenant_idf=False)) as index:
        listed(index, ACME, point("zebra"))
        index.search(ACME, "zebra", vector(0), 5)
        assert server.requests("/points/query/batch")[0]["searches"][1].get("params") is None


def test_a_server_that_knows_no_turbo_says_so_and_keeps_a_collection_that_is_there() -> None:
    turbo = Growth(quantization=Quantization("turbo"))
    with qdrant_server("1.17.1") as server:
        with pytest.raises(StorageError, match=r"no `turbo`.*1\.18.*index\.quantization"):
            at(server, tenant_idf=False, growth=turbo)
        assert creations(server) == []
        at(server, tenant_idf=False).close()
        at(server, tenant_idf=False, growth=turbo).close()


def test_a_collection_of_somebody_else_is_left_alone(server: StandIn) -> None:
    server.client.create_collection("corpus", models.VectorParams(size=4, distance=models.Distance.DOT))
    with pytest.raises(StorageError, match=r"corpus: .*not made by RAGSaver.*index\.collection"):
        at(server)


def test_of_two_that_make_the_collection_at_once_the_second_takes_it(server: StandIn) -> None:
    server.failures = [0, 0, -503]  # version, is it there, make it: its answer is lost, and it is made again
    with closing(at(server)) as index:
        assert index.count(ACME) == 0
    with pytest.raises(ModelMismatch, match=r"index\.collection"):
        other = IndexIdentity("bigger", "e" * 32, 16, "english", 50.0)
        ServerIndex(Connection(ServerPlace(server.url, grpc_port=None)), "corpus", other)


def test_a_coroutine_finds_what_a_thread_finds(server: StandIn, index: ServerIndex) -> None:
    listed(index, ACME, point("zebra"), point("horse", 2))
    listed(index, RIVAL, point("zebra"))

    async def ask() -> object:
        try:
            server.failures = [503]
            return await index.search_async(ACME, "zebra", vector(0), 5)
        finally:
            await index.close_async()

    assert asyncio.run(ask()) == asyncio.run(ask()) == index.search(ACME, "zebra", vector(0), 5)


def test_a_coroutine_is_told_of_a_server_that_fails(server: StandIn) -> None:
    index = at(server, SOON)

    async def ask() -> None:
        server.failures = [503] * 100
        try:
            await index.search_async(ACME, "zebra", vector(0), 5)
        finally:
            await index.close_async()

    with closing(index), pytest.raises(IndexUnavailable, match="does not answer"):
        asyncio.run(ask())


def test_a_coroutine_that_meets_a_swap_of_its_process_asks_again(server: StandIn, index: ServerIndex) -> None:
    old, new = point("old zebra"), point("new zebra")
    listed(index, ACME, old)
    index.upsert(ACME, [new])

    async def ask() -> set[str]:
        asking = asyncio.create_task(index.search_async(ACME, "zebra", vector(0), 5))
        with index._swaps.swap():
            index._change([_set(shown_in(ACME), _within(ACME, ids=[new.id]))])
            while not server.requests("/points/query/batch"):
                await asyncio.sleep(0)
            gone = models.FilterSelector(filter=_within(ACME, ids=[old.id]))
            index._change([models.DeleteOperation(delete=gone)])
        found = await asking
        await index.close_async()
        return {hit.id for hit in found.lexical}

    assert asyncio.run(ask()) == {new.id}


def test_what_was_opened_for_an_event_loop_that_is_over_is_let_go(index: ServerIndex) -> None:
    for _ in range(3):
        asyncio.run(index.search_async(ACME, "zebra", vector(0), 5))
    assert len(index._connection._clients) == 1


def test_who_closes_it_lets_go_of_what_running_event_loops_have_open(index: ServerIndex) -> None:
    async def ask() -> None:
        await index.search_async(ACME, "zebra", vector(0), 5)
        (client,) = index._connection._clients.values()
        closed, close = asyncio.Event(), client.close

        async def noticed() -> None:
            await close()
            closed.set()

        client.close = noticed
        await asyncio.to_thread(index.close)
        await closed.wait()

    asyncio.run(ask())
    assert not index._connection._clients


def test_local_mode_is_one_process_s_and_serves_coroutines_too(tmp_path: Path) -> None:
    place = ServerPlace(f"file:{tmp_path / 'qdrant'}")
    with closing(ServerIndex(Connection(place), "corpus", IDENTITY)) as index:
        listed(index, ACME, point("zebra"))
        assert len(asyncio.run(index.search_async(ACME, "zebra", vector(0), 5)).lexical) == 1
        with pytest.raises(IndexLocked, match="open in another process"):
            Connection(place)


def test_by_grpc_the_same_is_made_asked_and_tried_again(server: StandIn) -> None:
    growth = Growth(shards=6, replicas=3, on_disk=True, quantization=Quantization("turbo"))
    with grpc_port(server) as port:
        place = ServerPlace(server.url, grpc_port=port, deadline_s=LATE)
        with closing(ServerIndex(Connection(place), "corpus", IDENTITY, growth=growth)) as index:
            made = created(server)
            assert (made.shard_number, made.replication_factor, made.write_consistency_factor) == (6, 3, 2)
            assert made.vectors["dense"].on_disk and made.quantization_config.turbo.always_ram
            fields = {body.field_name: body for _, name, body in server.asked if name == "CreateFieldIndex"}
            assert fields["scope"].field_index_params.keyword_index_params.is_tenant
            kept = point("zebra")
            server.failures = [-503]
            listed(index, ACME, kept)
            server.failures = [429, 504]
            assert [hit.id for hit in index.search(ACME, "zebra", vector(0), 5).lexical] == [kept.id]
            asked = next(body for _, name, body in server.asked if name == "QueryBatch").query_points
            by_vectors = GrpcToRest.convert_search_params(asked[0].params)
            assert (by_vectors.hnsw_ef, by_vectors.quantization.oversampling) == (HNSW_EF, 2.0)
            corpus = GrpcToRest.convert_search_params(asked[1].params).idf.corpus
            assert [one.match.value for one in corpus.must] == ["acme/docs"]
            server.failures = [401]
            with pytest.raises(IndexUnavailable, match="refuses the key"):
                index.count(ACME)
        hurried = Connection(ServerPlace(server.url, grpc_port=port, deadline_s=SOON))
        with closing(ServerIndex(hurried, "corpus", IDENTITY)) as index:
            server.failures = [503] * 100
            with pytest.raises(IndexUnavailable, match="does not answer: on purpose"):
                index.count(ACME)
    assert {method for method, _, _ in server.asked} == {"GRPC"}


def test_by_grpc_a_coroutine_finds_the_same(server: StandIn) -> None:
    with grpc_port(server) as port:
        place = ServerPlace(server.url, grpc_port=port, deadline_s=LATE)
        with closing(ServerIndex(Connection(place), "corpus", IDENTITY)) as index:
            listed(index, ACME, point("zebra"), point("horse", 2))

            async def ask() -> object:
                try:
                    return await index.search_async(ACME, "zebra", vector(0), 5)
                finally:
                    await index.close_async()

            assert asyncio.run(ask()) == index.search(ACME, "zebra", vector(0), 5)
