"""200 requests at once, of four processes on one ledger, one of which is killed, at an endpoint that fails at random;
most pay for something else as well, which is over, refused or unknown.
"""

import itertools
import json
import multiprocessing
import signal
import time
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from ragsaver.settings import DatabaseSettings, Settings
from ragsaver.spend.budgets import Budgets
from ragsaver.spend.ledger import Ledger, ledger_place
from ragsaver.spend.tables import entries, leases, receipts, windows
from tests.clock import Clock
from tests.spend.failing_endpoint import PRICES, endpoint
from tests.spend.ledgers import budget, check
from tests.spend.peaks import check_peaks, note_peaks
from tests.spend.spenders import FEE, FEES, spend

PROCESSES, REQUESTS, SEED = 4, 200, 11

BUDGETS = [
    budget("total", "day", 60_000),
    budget("tenant", "month", 26_000),
    budget("tenant", "hour", 9_000, "tenant1"),
    budget("principal", "day", 3_500),
    budget("pipeline", "month", 58_000),
]


def test_no_budget_is_passed_every_reservation_ends_and_all_books_agree(tmp_path: Path, database: DatabaseSettings):
    wishes = {"prices": PRICES, "prompt_margin": 0.5, "budgets": [one.model_dump(mode="json") for one in BUDGETS]}
    settings = Settings.model_validate({"home": tmp_path, "database": database, "spend": wishes})
    given = settings.model_dump(mode="json", exclude={"database"})
    if database.url is not None:
        given["database"] = {"url": database.url.get_secret_value(), "schema_name": database.schema_name}
    book = Ledger(ledger_place(settings), Budgets(BUDGETS))
    note_peaks(book)
    started = multiprocessing.get_context("forkserver")
    started.set_forkserver_preload(["tests.spend.spenders"])
    # The one that is killed begins, so that the others leave it something to hold; it waits for an answer when it is.
    ready, first, others = started.Semaphore(0), started.Event(), started.Event()
    numbers = [range(number, REQUESTS, PROCESSES) for number in range(PROCESSES)]
    calls = itertools.count(1)

    async def heard(number: int) -> None:
        if number in numbers[0]:
            count = next(calls)
            if count == 10:
                others.set()
            elif count == 11:
                processes[0].kill()

    with endpoint(SEED, heard) as asked:
        begins = [first, *[others] * (PROCESSES - 1)]
        processes = [
            started.Process(target=spend, args=(json.dumps(given), asked.url, mine, SEED, ready, begin))
            for mine, begin in zip(numbers, begins, strict=True)
        ]
        for process in processes:
            process.start()
        for _ in processes:
            assert ready.acquire(timeout=60)
        first.set()
        processes[0].join()
        others.set()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [-signal.SIGKILL, 0, 0, 0]
    check_peaks(book)
    check(book)

    # What the killed process held ends too, once its leases are over.
    with book.database.reading() as connection:
        held = connection.scalars(sa.select(leases.c.request_id)).all()
    assert {int(one.removeprefix("req_")) % PROCESSES for one in held} == {0}
    book.clock = Clock(time.time() + 3600)
    book.expire_due(at_once=True)
    check(book)
    with book.database.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(leases)) == 0
        assert set(connection.scalars(sa.select(windows.c.reserved))) == {0}
        made = connection.execute(sa.select(entries).where(entries.c.task != "saving")).all()
        kept = connection.execute(sa.select(receipts)).all()

    # Receipts and ledger agree to the micro-dollar, request by request; only the killed process owes receipts.
    assert {row.request_id for row in kept} >= {f"req_{n}" for n in range(REQUESTS) if n % PROCESSES}
    for row in kept:
        cost = Decimal(str(json.loads(row.receipt)["cost_usd"])) * 1_000_000
        assert cost == sum(one.cost for one in made if one.request_id == row.request_id)

    # What the endpoint told is in the ledger as it told it; what it could not tell is there with no less than it was.
    for number in range(REQUESTS):
        mine = [one for one in made if one.request_id == f"req_{number}" and one.task not in FEES]
        calls = asked.calls.get(number, [])
        assert sum(one.cost for one in mine) >= sum(call.cost for call in calls)
        done = [one for one in mine if one.outcome == "done"]
        assert len(done) <= 1
        for one in done:
            if one.estimated:
                assert not calls[-1].told and one.output <= calls[-1].limit
                continue
            assert (one.fresh, one.cache_read, one.output) == (13, 7, calls[-1].written)
            assert one.cost == calls[-1].cost
    outcomes = {
        outcome: sum(one.outcome == outcome for one in made) for outcome in ("done", "nothing", "unknown", "expired")
    }
    assert min(outcomes.values()) > 0
    fees = [one for one in made if one.task in FEES]
    assert {one.task for one in fees} == {"rerank", "embed_query"}
    assert all(one.cost == (0 if one.outcome == "nothing" else FEE * 1_000_000) for one in fees)
    refused = [row for row in kept if not row.complete and all(one.request_id != row.request_id for one in made)]
    assert refused
    assert asked.total() <= sum(one.cost for one in made) <= 60_000
    book.close()
