"""Over HTTP: rerankers and embeddings that cost pass no budget and no ceiling, however many ask at once."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.live import LiveRuntime
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.server.access import Access
from ragsaver.server.app import create_app
from ragsaver.settings import Settings
from ragsaver.spend.reports import find_receipt
from ragsaver.spend.tables import entries, leases
from tests.listening import listening
from tests.openai_server import Script as Answers
from tests.openai_server import openai_server
from tests.rerank_server import Script, rerank_server
from tests.spend.ledgers import check
from tests.spend.peaks import check_peaks, note_peaks

ASKED, RERANK = 60, 2000
QUESTION = "Who issues the permit number {}?"
LIMITS = {"total": "0.05", "tenant": "0.03"}


@contextmanager
def served(folder: Path, url: str, rerank: str, **spend: object) -> Iterator[tuple[httpx.Client, Runtime]]:
    settings = {
        "home": folder / "home",
        "query": {"pipeline": "reranked"},
        "cache": {"answers": "off", "retrieval": False, "embeddings": False},
        "rerank": {
            "mode": "always", "backend": "remote", "url": rerank, "model": "big", "deadline_ms": 60_000,
            "usd_per_1k_calls": "2",
        },
        "generation": {
            "extractive_first": False,
            "models": [{"name": "tiny", "base_url": url, "max_retries": 0, "max_output_tokens": 40}],
        },
        "spend": {
            "prices": {"tiny": {"input_per_mtok": 1, "output_per_mtok": 10}},
            "embedding_per_mtok": 10,
            "pacing": {"enabled": False},
            "budgets": [{"scope": scope, "period": "day", "limit_usd": usd} for scope, usd in LIMITS.items()],
            **spend,
        },
    }  # fmt: skip
    for_nothing = {**settings, "spend": {"embedding_per_mtok": 0}}
    with open_runtime(Settings.model_validate(for_nothing), "a test") as runtime:
        texts = [f"# Parrots {n}\n\nThe permit number {n} is issued by the office of {n}.\n" for n in range(4)]
        documents = [PostedDocument(f"{n}.md", text, "markdown") for n, text in enumerate(texts)]
        runtime.ingestor.ingest_texts(documents, runtime.scope())
    with open_runtime(Settings.model_validate(settings), "a test") as runtime:
        access = Access(LiveRuntime(runtime), "")
        with listening(create_app(access)) as at, httpx.Client(base_url=at, timeout=60) as client:
            yield client, runtime
        runtime.resources.till.flush()
        check(runtime.resources.till.ledger)


def made(runtime: Runtime) -> list[sa.Row]:
    runtime.resources.till.flush()
    with runtime.resources.till.ledger.database.reading() as connection:
        assert connection.execute(sa.select(leases)).all() == []
        return list(connection.execute(sa.select(entries).where(entries.c.task != "saving")).all())


def ask(client: httpx.Client, path: str, number: int, **headers: str) -> httpx.Response:
    question = QUESTION.format(number)
    if path == "/v1/chat/completions":
        body = {"model": "reranked", "messages": [{"role": "user", "content": question}]}
    else:
        body = {"query": question}
    return client.post(path, json=body, headers=headers)


@pytest.mark.parametrize("path", ["/v1/query", "/v1/chat/completions", "/v1/search"])
def test_sixty_at_once_pass_no_budget_and_all_books_agree(tmp_path: Path, path: str):
    with (
        rerank_server(script := Script()) as rerank,
        openai_server(Answers(reply="The office [1].")) as url,
        served(tmp_path, url, rerank) as (client, runtime),
    ):
        note_peaks(ledger := runtime.resources.till.ledger)
        with ThreadPoolExecutor(ASKED) as pool:
            answers = list(pool.map(lambda n: ask(client, path, n), range(ASKED)))
        charges = made(runtime)
        check_peaks(ledger)
        tasks = Counter(one.task for one in charges if one.cost)
        assert tasks["rerank"] == len(script.requests) > 0
        assert sum(one.cost for one in charges) <= 30_000
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) <= {200, 429}
        if path == "/v1/search":
            assert statuses[200] >= len(script.requests)
            return
        for answer in answers:
            request_id = answer.headers["x-request-id"]
            kept = find_receipt(ledger, "default", request_id)
            assert kept is not None
            mine = sum(one.cost for one in charges if one.request_id == request_id)
            assert kept.receipt.cost_usd * 1_000_000 == mine
            if answer.status_code == 200:
                assert Decimal(answer.headers["x-ragsaver-cost"]) * 1_000_000 == mine
        assert {one.request_id for one in charges} <= {answer.headers["x-request-id"] for answer in answers}


@pytest.mark.parametrize("path", ["/v1/query", "/v1/search"])
def test_a_ceiling_is_over_embedding_reranking_and_the_answer(tmp_path: Path, path: str):
    with (
        rerank_server(script := Script()) as rerank,
        openai_server(Answers(reply="The office [1].")) as url,
        served(tmp_path, url, rerank) as (client, runtime),
    ):
        # not even the question is embedded
        refused = ask(client, path, 1, **{"x-ragsaver-max-cost": "0.000001"})
        assert (refused.status_code, made(runtime)) == (402, [])
        # all but the reranker
        cheap = ask(client, path, 2, **{"x-ragsaver-max-cost": "0.0019"})
        assert cheap.status_code == 200 and script.requests == []
        (line,) = (one for one in cheap.json()["receipt"]["lines"] if one["stage"] == "rerank")
        assert line["reason"].startswith("unpaid: ") and "the request's ceiling" in line["reason"]
        # everything
        dear = ask(client, path, 3, **{"x-ragsaver-max-cost": "0.01"})
        assert dear.status_code == 200 and len(script.requests) == 1
        told = sum(Decimal(str(one.json()["receipt"]["cost_usd"])) for one in (cheap, dear))
        assert told * 1_000_000 == sum(one.cost for one in made(runtime))


def test_an_estimate_tells_what_embedding_would_be_refused_for_and_leaves_out_what_would_not_be_asked(tmp_path: Path):
    with (
        rerank_server(script := Script()) as rerank,
        openai_server(Answers(reply="The office [1].")) as url,
        served(tmp_path, url, rerank) as (client, runtime),
    ):
        refused = ask(client, "/v1/estimate", 1, **{"x-ragsaver-max-cost": "0.000001"}).json()
        assert (refused["refused"]["status"], refused["high_usd"], made(runtime)) == (402, 0, [])
        cheap = ask(client, "/v1/estimate", 1, **{"x-ragsaver-max-cost": "0.0019"}).json()
        assert cheap["refused"] is None and "reranking" not in cheap["high_reason"]
        dear = ask(client, "/v1/estimate", 1, **{"x-ragsaver-max-cost": "0.01"}).json()
        assert "reranking" in dear["high_reason"] and dear["beside_usd"] > 0.002
        assert script.requests == []
        assert {one.request_id.partition("_")[0] for one in made(runtime)} == {"estimate"}
