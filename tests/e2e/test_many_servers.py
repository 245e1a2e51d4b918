"""200 requests at once, of three servers on one ledger, one of which is killed, at an endpoint that fails at random."""

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import httpx
import sqlalchemy as sa

from ragsaver.access.key_store import open_keys
from ragsaver.settings import DatabaseSettings, Settings
from ragsaver.spend.ledger import DONE, EXPIRED, NOTHING, UNKNOWN, Ledger, open_ledger
from ragsaver.spend.tables import entries, leases, receipts, windows
from tests.clock import Clock
from tests.commands import as_json, serving, started
from tests.e2e.askers import Ask, Course, Told, ask_all
from tests.qdrant_server import qdrant_server
from tests.spend.failing_endpoint import PRICES, Call, endpoint
from tests.spend.ledgers import budget, check
from tests.spend.peaks import check_peaks, note_peaks

REQUESTS, SERVERS, SEED = 200, 3, 5
EARLY, FIRST, TOGETHER = 60, 8, 45
TENANTS = ("acme", "umbrella", "initech")
GUIDE = "# Parrots\n\nParrots need an export permit. The permit is issued by the veterinary office.\n"
MOST_OUTPUT = 100
CALL = 1_300  # micro-dollars that one holds, and a little more

BUDGETS = [
    budget("total", "day", 75 * CALL),
    budget("pipeline", "month", 72 * CALL, "query"),
    budget("tenant", "month", 28 * CALL),
    budget("tenant", "hour", 22 * CALL, "umbrella"),
    budget("principal", "day", 4 * CALL),
    budget("principal", "hour", 2 * CALL, "acme/user1"),
]
# What clients may be told, with its status: that there is no money, that the endpoint failed, or that their own time
# was over.
REFUSALS = {
    ("urn:ragsaver:problem:budget-exceeded", 429),
    ("urn:ragsaver:problem:too-expensive", 402),
    ("urn:ragsaver:problem:generation-error", 502),
    ("urn:ragsaver:problem:cut-reply", 502),
    ("urn:ragsaver:problem:generation-late", 504),
    ("urn:ragsaver:problem:deadline-exceeded", 504),
    ("urn:ragsaver:problem:storage-late", 504),
}


def an_ask(number: int) -> Ask:
    return Ask(
        number,
        server=number % SERVERS,
        tenant=TENANTS[number // SERVERS % len(TENANTS)],
        principal=f"user{number % 7}",
        stream=number % 10 in (0, 2, 3, 4, 8),
        after_pieces=number % 9 + 1 if number % 10 == 3 else None,
        when_heard=number % 10 == 6,
        late=number % 10 == 9,
        most={1: 1, 11: 2 * CALL}.get(number % 20),
    )


def test_budgets_hold_whatever_becomes_of_servers_callers_and_the_endpoint(tmp_path: Path, database: DatabaseSettings):
    asks = [an_ask(number) for number in range(REQUESTS)]
    course = Course(asks, EARLY, FIRST, TOGETHER)
    with qdrant_server() as index, endpoint(SEED, course.hear, hang_s=0.5) as asked:
        more = prepare(tmp_path, database, index.url, asked.url)
        home = tmp_path / ".ragsaver"
        settings = Settings.model_validate({"home": home, "database": database, "spend": {"budgets": BUDGETS}})
        with closing(open_keys(settings)) as store:
            people = {(one.tenant, one.principal) for one in asks}
            keys = {(tenant, who): store.create(who, tenant)[1].text() for tenant, who in people}
        book = open_ledger(settings)
        note_peaks(book)
        logs = [tmp_path / f"{number}.log" for number in range(SERVERS)]
        (first, *others) = ({**more, "RAGSAVER_LOGGING__FILE": str(log)} for log in logs)
        with (
            started(tmp_path, **first) as doomed,
            serving(tmp_path, **others[0]) as second,
            serving(tmp_path, **others[1]) as third,
        ):
            urls = [doomed.url, second, third]

            async def ask_in_time() -> list[Told]:
                async with asyncio.timeout(100):  # nothing is measured by it: it ends a test that hangs
                    return await ask_all(course, urls, keys, doomed.process.kill)

            told = asyncio.run(ask_in_time())
            assert doomed.process.wait() == -signal.SIGKILL
            shown = {
                one.number: httpx.get(
                    f"{urls[one.server]}/v1/receipts/{one.id}",
                    headers={"authorization": f"Bearer {keys[one.tenant, one.principal]}"},
                    timeout=60,
                )
                for one, how in zip(asks, told, strict=True)
                if one.server and how.how != "left"
            }
    with closing(book):
        check_told(asks, told, "".join(log.read_text() for log in logs))
        end_of_the_killed(book, asks)
        check(book)
        check_peaks(book, {f"{one.tenant}/{one.id}": one.most for one in asks if one.most is not None})
        with book.database.reading() as connection:
            charges = connection.execute(sa.select(entries).where(entries.c.task != "saving").order_by(entries.c.id))
            made = charges.all()
            kept = connection.execute(sa.select(receipts)).all()
    check_receipts(asks, told, made, kept, shown)
    for one, how in zip(asks, told, strict=True):
        mine = [entry for entry in made if entry.request_id == one.id]
        check_charges(mine, asked.calls[one.number], heard=how.how in ("answered", "refused"))
    # Nothing of this was tried on too little.
    outcomes = Counter((entry.outcome, entry.estimated) for entry in made)
    assert {(DONE, False), (DONE, True), (NOTHING, False), (UNKNOWN, True), (EXPIRED, True)} == outcomes.keys()
    assert {429, 402, 504} <= {how.status for how in told}
    assert (course.sent, course.waiting) == (REQUESTS, TOGETHER)


def check_told(asks: Sequence[Ask], told: Sequence[Told], logged: str) -> None:
    """No client hears of contention, unless its own time is over, and only the killed server leaves one without a word."""
    assert {(how.kind, how.status) for how in told if how.how == "refused"} <= REFUSALS
    assert {one.server for one, how in zip(asks, told, strict=True) if how.how == "broken"} == {0}
    assert {how.how for how in told} == {"answered", "refused", "left", "broken"}
    in_time = "\n".join(line for line in logged.splitlines() if "others wait for" not in line)
    for word in ("Traceback", "locked", "ledger", "StorageError", "storage-error"):
        assert word not in in_time


def end_of_the_killed(book: Ledger, asks: Sequence[Ask]) -> None:
    """Only the killed server owes anything, and when its leases are over it is charged all that they held."""
    with book.database.reading() as connection:
        held = connection.execute(sa.select(leases)).all()
    servers = {one.id: one.server for one in asks}
    assert held and {servers[one.request_id] for one in held} == {0}
    check(book)
    book.clock = Clock(time.time() + 3600)
    while book.expire_due(at_once=True):
        pass
    with book.database.reading() as connection:
        assert connection.execute(sa.select(leases)).all() == []
        assert set(connection.scalars(sa.select(windows.c.reserved))) == {0}
        expired = connection.execute(sa.select(entries).where(entries.c.outcome == EXPIRED)).all()
    assert {one.lease_id: one.cost for one in expired} == {one.id: one.held for one in held}


def check_receipts(
    asks: Sequence[Ask],
    told: Sequence[Told],
    made: Sequence[sa.Row],
    kept: Sequence[sa.Row],
    shown: dict[int, httpx.Response],
) -> None:
    """Each server that lived has kept one of each request; to the micro-dollar it says what the ledger says."""
    charged = Counter()
    for entry in made:
        charged[entry.request_id] += entry.cost
    by_id = {row.request_id: row for row in kept}
    assert len(by_id) == len(kept)
    assert by_id.keys() >= {one.id for one in asks if one.server}
    for id, row in by_id.items():
        assert micro(json.loads(row.receipt)["cost_usd"]) == charged[id]
    for number, answer in shown.items():
        id, how = asks[number].id, told[number]
        assert answer.status_code == 200
        assert micro(answer.json()["receipt"]["cost_usd"]) == charged[id]
        assert answer.json()["complete"] == (how.how == "answered")
        if how.how == "answered":
            assert micro(how.cost_usd) == charged[id]


def check_charges(mine: Sequence[sa.Row], calls: Sequence[Call], *, heard: bool) -> None:
    """What the endpoint told is in the ledger as it told it; what it could not tell is there with no less than it was,
    and no more than was held.

    :param mine: charges of one request, an attempt each; the last one may have ended before the endpoint was asked.
    :param heard: whether its server was there to the end, and its caller too.
    """
    assert len(calls) <= len(mine) <= len(calls) + 1
    for one, call in zip(mine, calls, strict=False):
        if heard and call.told:
            assert (one.outcome, one.estimated) == (DONE, False)
        if one.outcome == DONE and not one.estimated:
            assert call.told and (one.fresh, one.cache_read, one.output) == (13, 7, call.written)
            assert one.cost == call.cost
        elif one.outcome == NOTHING:
            assert one.cost == call.cost == 0
        else:
            assert one.output <= call.limit
            assert call.cost <= one.cost == one.fresh + 10 * one.output
            assert one.cost <= CALL
        if one.outcome in (UNKNOWN, EXPIRED):
            assert one.output == call.limit
    for one in mine[len(calls) :]:
        assert one.outcome in (NOTHING, UNKNOWN, EXPIRED)


def micro(usd: float | str) -> Decimal:
    return Decimal(str(usd)) * 1_000_000


def prepare(project: Path, database: DatabaseSettings, index_url: str, endpoint_url: str) -> dict[str, str]:
    """A project with a document for each tenant; returns what its commands need in their environment."""
    model = {"name": "tiny", "base_url": endpoint_url, "max_output_tokens": MOST_OUTPUT, "rest_after_failures": 0}
    wishes = {
        "index": {"engine": "qdrant", "url": index_url, "grpc_port": None, "deadline_s": 60},
        "generation": {"extractive_first": False, "models": [{**model, "timeout_s": 110}]},
        "cache": {"answers": "off"},
        "spend": {
            "prices": PRICES,
            "budgets": [one.model_dump(mode="json") for one in BUDGETS],
            "pacing": {"enabled": False},
        },
    }
    (project / "ragsaver.yaml").write_text(json.dumps(wishes))
    (project / "docs").mkdir()
    (project / "docs" / "parrots.md").write_text(GUIDE)
    more = {}
    if database.url is not None:
        more["RAGSAVER_DATABASE__URL"] = database.url.get_secret_value()
        more["RAGSAVER_DATABASE__SCHEMA_NAME"] = database.schema_name
    for tenant in TENANTS:
        as_json(project, "ingest", "docs", RAGSAVER_TENANT=tenant, **more)
    return more
