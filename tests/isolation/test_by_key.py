"""Whoever holds a key works in its tenant and reads in its groups' name, whatever others have, ask and send."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragsaver.access.identity import Permission
from ragsaver.index.scope import Scope
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from tests.isolation.strangers import GROUPS

patiently = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])

TENANTS = ("a", "aa", "a.", "A", "default")
_WORDS = st.lists(st.sampled_from(["zebra", "horse", "secret", "budget", "tenant:a", "*"]), min_size=1, max_size=4)
# Who brings in what, named for whom: the text says it, so that a passage tells where it is from.
CORPUS = st.lists(st.tuples(st.sampled_from(TENANTS), GROUPS, _WORDS), min_size=1, max_size=8)
READERS = st.lists(st.tuples(st.sampled_from(TENANTS), GROUPS), min_size=1, max_size=4)


@pytest.fixture
def served(runtime: Runtime):
    access = Access(LiveRuntime(runtime), "token")
    with TestClient(create_app(access), raise_server_exceptions=False) as client:
        yield client, access
    access.close()


def key_of(access: Access, tenant: str, groups: Sequence[str] = ()) -> dict[str, str]:
    _, presented = access.keys.create("somebody", tenant, groups, [Permission.QUERY, Permission.INGEST])
    return {"authorization": f"Bearer {presented.text()}"}


def post(client: TestClient, key: dict[str, str], source: str, text: str, groups: Sequence[str] = ()) -> dict[str, Any]:
    document = {
        "source": source,
        "text": text,
        "format": "text",
        "metadata": {"groups": list(groups)} if groups else {},
    }
    report = client.post("/v1/documents", json={"documents": [document]}, headers=key).json()
    assert report["documents"]["added"] == 1, report
    return report


@patiently
@given(CORPUS, READERS)
def test_a_key_s_holder_finds_counts_and_lists_what_is_its_tenant_s_and_its_groups_and_nothing_else(
    served: tuple[TestClient, Access],
    corpus: Sequence[tuple[str, list[str], list[str]]],
    readers: Sequence[tuple[str, list[str]]],
) -> None:
    client, access = served
    bringers = {tenant: key_of(access, tenant) for tenant in TENANTS}
    for number, (tenant, groups, words) in enumerate(corpus):
        post(client, bringers[tenant], f"{number}.txt", f"{' '.join(words)} {number}", groups)
    for tenant, groups in readers:
        key = key_of(access, tenant, groups)
        mine = {
            f"{number}.txt"
            for number, (whose, named, _) in enumerate(corpus)
            if whose == tenant and (not named or not set(named).isdisjoint(groups))
        }
        question = {"query": "zebra horse secret budget"}
        found = client.post("/v1/search", json={**question, "debug": True}, headers=key).json()
        assert {one["source"] for one in found["passages"]} == mine
        assert {one["source"] for one in found["debug"]["passages"]} == mine
        listed = client.get("/v1/documents", headers=key).json()["documents"]
        assert {one["source"] for one in listed} == mine
        answer = client.post("/v1/query", json=question, headers=key).json()
        assert {one["source"] for one in answer["citations"]} <= mine
        asked = client.post("/v1/chat/completions", json=chat(question["query"]), headers=key)
        if asked.status_code == 200:
            assert {one["source"] for one in asked.json()["ragsaver"]["citations"]} <= mine
    for tenant in TENANTS:
        access.live._now.ingestor.forget(Scope(tenant, "default"), lambda known: list(known.values()))


@patiently
@given(st.lists(st.tuples(st.sampled_from(TENANTS), GROUPS), min_size=2, max_size=6), READERS)
def test_of_copies_the_further_sources_are_those_that_the_reader_may_read_all_of_them_and_no_other(
    served: tuple[TestClient, Access],
    copies: Sequence[tuple[str, list[str]]],
    readers: Sequence[tuple[str, list[str]]],
) -> None:
    client, access = served
    for number, (tenant, groups) in enumerate(copies):
        post(client, key_of(access, tenant), f"copy-{number}.txt", "A zebra crosses the road at noon.", groups)
    for tenant, groups in readers:
        key = key_of(access, tenant, groups)
        mine = {
            f"copy-{number}.txt"
            for number, (whose, named) in enumerate(copies)
            if whose == tenant and (not named or not set(named).isdisjoint(groups))
        }
        for path in ("/v1/search", "/v1/query"):
            answer = client.post(path, json={"query": "When does a zebra cross?", "debug": True}, headers=key)
            assert set(re.findall(r"copy-\d\.txt", answer.text)) == mine
            told = answer.json()["debug"]["passages"]
            (shown,) = [one for one in told if one["left_out"] is None] if mine else [None]
            further = {place["source"] for place in shown["also_in"]} | {shown["source"]} if shown else set()
            assert further == mine
    for tenant in TENANTS:
        access.live._now.ingestor.forget(Scope(tenant, "default"), lambda known: list(known.values()))


def chat(question: str) -> dict[str, Any]:
    return {"model": "query", "messages": [{"role": "user", "content": question}]}


@pytest.mark.parametrize("theirs", ["aa", "a.", "A", "default"])
def test_another_tenant_s_document_is_as_if_it_were_not_there(served: tuple[TestClient, Access], theirs: str) -> None:
    client, access = served
    me, them = key_of(access, "a"), key_of(access, theirs)
    post(client, them, "a.txt", "a secret zebra")
    (their,) = client.get("/v1/documents", headers=them).json()["documents"]
    refused = client.delete(f"/v1/documents/{their['id']}", headers=me)
    absent = client.delete("/v1/documents/3b241101-e2bb-4255-8caf-4136c566a962", headers=me)
    assert (refused.status_code, refused.json()["type"]) == (absent.status_code, absent.json()["type"])
    assert refused.status_code == 404 and "secret" not in refused.text
    assert post(client, me, "a.txt", "a secret zebra")["chunks"]["embedded"] == 1
    (mine,) = client.get("/v1/documents", headers=me).json()["documents"]
    assert mine["id"] != their["id"]
    assert client.delete(f"/v1/documents/{mine['id']}", headers=me).status_code == 200
    assert client.get("/v1/documents", headers=them).json()["documents"] == [their]


def test_nothing_that_a_request_sends_changes_in_whose_name_it_is_made(served: tuple[TestClient, Access]) -> None:
    client, access = served
    me, them = key_of(access, "a"), key_of(access, "aa", ["hr"])
    post(client, them, "theirs.txt", "a secret zebra", ["hr"])
    post(client, me, "hidden.txt", "a secret zebra for hr", ["hr"])
    for named in ("x-tenant", "x-ragsaver-tenant", "x-groups", "x-ragsaver-groups", "x-forwarded-user", "x-principal"):
        for value in ("aa", "hr", "default"):
            found = client.post("/v1/search", json={"query": "secret zebra"}, headers={**me, named: value}).json()
            assert found["passages"] == []
    for parameter in ("tenant", "groups", "principal", "key"):
        found = client.post(f"/v1/search?{parameter}=aa", json={"query": "secret zebra"}, headers=me).json()
        assert found["passages"] == []
        body = json.dumps({"query": "secret zebra", parameter: "aa"})
        assert client.post("/v1/query", content=body, headers=me).status_code == 422
