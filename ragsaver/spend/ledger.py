"""What was spent, and what may still be: money is reserved before a call and settled after it, whatever becomes of it.

The rows of all windows that a call counts for are locked together, in the order of their keys. So either all of its
budgets admit it or none is touched, and no two processes see the same room.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from ragsaver.database import Database, Place, copy_rows, open_database, schema_of
from ragsaver.dialects import Steps, if_new, run, run_many
from ragsaver.postgres import PostgresSchema
from ragsaver.settings import Settings
from ragsaver.spend import length_rows, window_rows
from ragsaver.spend.answer_lengths import AnswerLengths
from ragsaver.spend.budgets import REQUEST, Account, Budgets, Hold, Standing, Window, choose, windows_of
from ragsaver.spend.expiring import worst_of
from ragsaver.spend.kept_receipts import Over
from ragsaver.spend.length_rows import Answered
from ragsaver.spend.money import kept
from ragsaver.spend.tables import entries as _entries
from ragsaver.spend.tables import leases as _leases
from ragsaver.spend.tables import lengths as _lengths
from ragsaver.spend.tables import metadata as _metadata
from ragsaver.spend.tables import receipts as _receipts
from ragsaver.spend.tables import windows as _windows
from ragsaver.spend.usage import TokenUsage

SCHEMA = 1

# From each format to the next one, so that a ledger outlives versions; none has been needed yet.
STEPS: Steps = {}

# Outcomes of an attempt: what it is charged is known in the first two cases only.
DONE, NOTHING, UNKNOWN, EXPIRED, CORRECTED = "done", "nothing", "unknown", "expired", "corrected"

_FILE = "spend.sqlite"
_LOOK_S = 1.0
_AT_ONCE = 100
_LEARNED_FOR_S = 2.0
# Of an hour and of a request nobody asks so much later.
_PRUNE_S = 6 * 3600.0
_KEEP_WINDOWS_S = 7 * 86_400

# Kept for all calls: it takes longer to put a statement together than to run it.
_TAKE = (
    sa.delete(_leases)
    .where(_leases.c.id == sa.bindparam("lease"), _leases.c.expires_at < sa.bindparam("before"))
    .returning(*_leases.c)
)
_ALWAYS = 1e12
# Asked for with every call.
_CLASSES = tuple(field.name for field in fields(TokenUsage))
_OF_LEASE = tuple(_leases.c.keys())
_NEW_LEASE, _NEW_ENTRY, _NEW_RECEIPT = sa.insert(_leases), sa.insert(_entries), sa.insert(_receipts)


@dataclass(frozen=True, slots=True)
class Call:
    """What is going to be called; for whom is the account's.

    :ivar task: answers to it are about as long as each other.
    :ivar prompt_tokens: that the endpoint may count at most.
    :ivar prices: version of the book.
    :ivar prompt_factor: by which `prompt_tokens` is more than was counted, from what was learned.
    """

    tier: str
    model: str
    task: str
    prompt_tokens: int
    prices: str
    prompt_factor: float = 1.0


_SAVING = Call("", "", "saving", 0, "")


@dataclass(frozen=True, slots=True)
class Lease:
    """Money kept back for one attempt."""

    id: str
    account: Account
    call: Call
    hold: Hold
    reserved_at: float


@dataclass(frozen=True, slots=True)
class Charge:
    """What an attempt is charged, in micro-dollars, for which tokens, and what is known of it."""

    cost: int
    usage: TokenUsage
    outcome: str


class Ledger:
    """The ledger of a project, in a SQLite file or a schema of PostgreSQL. Safe from threads and processes.

    :param clock: seconds since the epoch.
    :raises StorageError: if it can't be opened or written.
    """

    def __init__(self, place: Place, budgets: Budgets | None = None, clock: Callable[[], float] = time.time) -> None:
        if isinstance(place, Path):
            place.parent.mkdir(parents=True, exist_ok=True)
        self.budgets = budgets or Budgets()
        self.database: Database = open_database(place, "the ledger", "Free some space or check the folder's rights")
        self.database.set_up((_metadata,), SCHEMA, "Use the version of RAGSaver that wrote it, or a newer one", STEPS)
        self.clock = clock
        self._place = place
        self._learned: dict[tuple[str, str], tuple[float, AnswerLengths]] = {}
        self._looked_at = self._pruned_at = 0.0
        self._looking = threading.Lock()

    def reserve(self, account: Account, call: Call, whole: Hold, learned: Hold | None, lasts_s: float) -> Lease:
        """Keep money back for an attempt, in all of its budgets or in none.

        :param whole: for the longest answer.
        :param learned: where that is too much: for one as long as nearly all are.
        :param lasts_s: after which it is over, or its process dead.
        :raises BudgetExceeded: if a budget has no room for it.
        :raises TooExpensive: if the request's own ceiling has none.
        """
        self.expire_due()
        now = self.clock()
        ceiling = account.most is not None and bool(account.request_id)
        wanted = windows_of(account, now, ceiling=ceiling)
        limits = {window.id: limit for window in wanted if (limit := self._limit(account, window)) is not None}
        with self.using(wanted) as (connection, standings):
            hold = choose(standings, limits, whole, learned, now)
            lease = Lease(uuid.uuid4().hex, account, call, hold, now)
            window_rows.add(connection, wanted, reserved=hold.cost)
            keep(connection, lease, lasts_s, ceiling=ceiling)
        return lease

    def standings(self, account: Account) -> tuple[list[Standing], dict[str, int]]:
        """How far the budgets of an account are used up now, and their limits by the window's id; the request's own
        ceiling is not among them. Nothing is locked: who spends asks `reserve`.
        """
        wanted = windows_of(account, self.clock(), ceiling=False)
        limits = {window.id: limit for window in wanted if (limit := self.budgets.limit(window)) is not None}
        if not limits:
            return [], limits
        limited = [window for window in wanted if window.id in limits]
        there = {one.window.id: one for one in window_rows.read(self.database, limited)}
        return [there.get(one.id, Standing(one, 0, 0)) for one in limited], limits

    def settle(self, lease: Lease, charge: Charge) -> bool:
        """Charge an attempt that is over and give back the rest. One that expired meanwhile is corrected.

        :returns: false if it was settled before: nothing is done then.
        """
        with self.database.writing() as connection:
            for row in run(connection, _TAKE, {"lease": lease.id, "before": _ALWAYS}):
                self._charge(connection, _leased(row), charge)
                return True
            return self._correct(connection, lease, charge)

    def expire_due(self, *, at_once: bool = False) -> int:
        """Charge attempts that nobody settled in time what they held: their endpoints may have billed it.

        :param at_once: also if it was looked for a moment ago.
        :returns: how many.
        """
        now = self.clock()
        with self._looking:
            if not at_once and now < self._looked_at + _LOOK_S:
                return 0
            self._looked_at = now
            prune = now >= self._pruned_at + _PRUNE_S
            if prune:
                self._pruned_at = now
        if prune:
            self.prune()
        with self.database.reading() as connection:
            due = connection.scalars(
                sa.select(_leases.c.id).where(_leases.c.expires_at < now).order_by(_leases.c.id).limit(_AT_ONCE)
            ).all()
        expired = 0
        for lease_id in due:
            with self.database.writing() as connection:
                # Asked again: its attempt, or another process, may have settled it meanwhile.
                for row in run(connection, _TAKE, {"lease": lease_id, "before": now}):
                    leased = _leased(row)
                    self._charge(connection, leased, Charge(*worst_of(connection, leased), EXPIRED))
                    expired += 1
        return expired

    def learned(self, model: str, task: str) -> AnswerLengths:
        """How long a model's answers to a task are; known a little late."""
        key, now = (model, task), self.clock()
        known = self._learned.get(key)
        if known is None or not known[0] <= now < known[0] + _LEARNED_FOR_S:
            with self.database.reading() as connection:
                known = self._learned[key] = (now, length_rows.read(connection, model, task))
        return known[1]

    def learn(self, answers: Sequence[Answered]) -> None:
        """Take answers' lengths into account, and how well their prompts' were foreseen."""
        with self.database.writing() as connection:
            length_rows.learn(connection, answers)

    def keep_receipts(self, some: Sequence[Over]) -> None:
        """Keep the receipts of requests that are over, and put what they saved into the ledger: all or none."""
        now = self.clock()
        rows, savings = [], []
        for one in some:
            account, receipt, at = one.account, one.receipt, now if one.at is None else one.at
            who = {"request_id": account.request_id, "tenant": account.tenant, "principal": account.principal}
            told = {"pipeline": account.pipeline, "complete": one.complete, "receipt": receipt.model_dump_json()}
            rows.append({**who, **told, "at": at})
            saved = kept(receipt.saved_usd)  # negative if it cost more than the plain way
            if saved:
                entry = entry_of(one.id, account, _SAVING, at, now, Charge(0, TokenUsage(), DONE))
                savings.append(entry | {"saved": saved})
        with self.database.writing() as connection:
            run_many(connection, _NEW_RECEIPT, rows)
            # one that did not hear whether it was kept is kept again
            run_many(connection, if_new(connection.dialect.name, _entries), savings)

    def record(self, account: Account, call: Call, cost: int) -> None:
        """Charge what was paid for without a reservation: it counts for all budgets, and may bring one beyond its limit
        by its own price.
        """
        self.record_all(account, {uuid.uuid4().hex: (call, cost)})

    def record_all(self, account: Account, charges: Mapping[str, tuple[Call, int]], at: float | None = None) -> None:
        """Charge several such things in one transaction, by the ids of their entries: what is there stays as it is.

        :param at: when they were paid for; now if None.
        """
        now = self.clock()
        paid_at = now if at is None else at
        wanted = windows_of(account, paid_at, ceiling=False)
        with self.using(wanted) as (connection, _):
            new = if_new(connection.dialect.name, _entries).returning(_entries.c.id)
            for one, (call, cost) in charges.items():
                entry = entry_of(one, account, call, paid_at, now, Charge(cost, TokenUsage(), DONE))
                if connection.execute(new, entry).first() is not None:
                    window_rows.add(connection, wanted, spent=cost)

    def prune(self) -> int:
        """Forget windows that nobody asks for any more: of hours and of single requests."""
        before = self.clock() - _KEEP_WINDOWS_S
        old = sa.and_(_windows.c.period.in_(("hour", REQUEST)), _windows.c.starts < before, _windows.c.reserved == 0)
        last = sa.func.coalesce(
            sa.select(sa.func.max(_entries.c.at))
            .where(_entries.c.tenant + "/" + _entries.c.request_id == _windows.c.name)
            .scalar_subquery(),
            0.0,
        )
        with self.database.writing() as connection:
            gone = sa.delete(_windows).where(old, sa.or_(_windows.c.period == "hour", last < before))
            return connection.execute(gone).rowcount

    def copy_from(self, other: "Ledger") -> dict[str, int]:
        """Take what another ledger has; how many rows, by table.

        :raises StorageError: if this one holds something else, or can't take all of it; then it takes nothing.
        """
        rows = copy_rows(other.database, self.database, [_windows, _leases, _entries, _receipts, _lengths])
        if isinstance(self._place, PostgresSchema):
            for table in (_entries, _receipts):
                numbers = sa.func.pg_get_serial_sequence(f"{self._place.name}.{table.name}", "id")
                last = sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0) + 1).scalar_subquery()
                with self.database.writing() as connection:
                    connection.execute(sa.select(sa.func.setval(numbers, last, sa.false())))
        return rows

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    @contextmanager
    def using(self, wanted: Sequence[Window]) -> Iterator[tuple[sa.Connection, list[Standing]]]:
        """One transaction on windows, all of which are there."""
        while True:
            with self.database.writing() as connection:
                standings = window_rows.locked(connection, wanted)
                if len(standings) == len(wanted):
                    yield connection, standings
                    return
            with self.database.writing() as connection:
                window_rows.make(connection, wanted)

    def _limit(self, account: Account, window: Window) -> int | None:
        return account.most if window.kind == REQUEST else self.budgets.limit(window)

    def _charge(self, connection: sa.Connection, row: SimpleNamespace, charge: Charge) -> None:
        account, call = _of_row(row)
        wanted = windows_of(account, row.reserved_at, ceiling=row.ceiling)
        window_rows.lock(connection, wanted)
        window_rows.add(connection, wanted, reserved=-row.held, spent=charge.cost)
        entry = entry_of(row.id, account, call, row.reserved_at, self.clock(), charge)
        run(connection, _NEW_ENTRY, entry | {"ceiling": row.ceiling})

    def _correct(self, connection: sa.Connection, lease: Lease, charge: Charge) -> bool:
        of_lease = sa.select(_entries).where(_entries.c.lease_id == lease.id).order_by(_entries.c.number)
        before = connection.execute(of_lease).all()
        if len(before) != 1 or before[0].outcome != EXPIRED or charge.outcome == UNKNOWN:
            return False
        (first,) = before
        account, call = _of_row(first)
        wanted = windows_of(account, first.reserved_at, ceiling=first.ceiling)
        window_rows.lock(connection, wanted)
        difference = Charge(charge.cost - first.cost, _minus(charge.usage, first), CORRECTED)
        entry = entry_of(lease.id, account, call, first.reserved_at, self.clock(), difference, number=1)
        # Another process that does the same is stopped by the key.
        done = if_new(connection.dialect.name, _entries).returning(_entries.c.id)
        if connection.execute(done, entry | {"ceiling": first.ceiling}).first() is None:
            return False
        window_rows.add(connection, wanted, spent=difference.cost)
        return True


def keep(connection: sa.Connection, lease: Lease, lasts_s: float, *, ceiling: bool = False) -> None:
    """Write a lease down, in the transaction that keeps its money back."""
    values = _described(lease.account, lease.call) | {
        "id": lease.id,
        "ceiling": ceiling,
        "reserved_at": lease.reserved_at,
        "expires_at": lease.reserved_at + lasts_s,
        "held": lease.hold.cost,
        "prompt_tokens": lease.call.prompt_tokens,
        "output_tokens": lease.hold.output_tokens,
    }
    run(connection, _NEW_LEASE, values)


def open_ledger(settings: Settings) -> Ledger:
    """The ledger of a project; the caller closes it.

    :raises StorageError: if it can't be opened.
    """
    return Ledger(ledger_place(settings), Budgets(settings.spend.budgets))


def ledger_place(settings: Settings) -> Place:
    """Where a project's ledger is."""
    return schema_of(settings, "_spend") or settings.home / _FILE


def _described(account: Account, call: Call) -> dict[str, Any]:
    return {
        "request_id": account.request_id,
        "tenant": account.tenant,
        "principal": account.principal,
        "pipeline": account.pipeline,
        "tier": call.tier,
        "model": call.model,
        "task": call.task,
        "prices": call.prices,
    }


def _leased(row: Sequence[Any]) -> SimpleNamespace:
    return SimpleNamespace(**dict(zip(_OF_LEASE, row, strict=True)))


def _of_row(row: Any) -> tuple[Account, Call]:
    account = Account(row.tenant, row.principal, row.pipeline, row.request_id)
    return account, Call(row.tier, row.model, row.task, 0, row.prices)


def entry_of(
    lease_id: str, account: Account, call: Call, reserved_at: float, at: float, charge: Charge, number: int = 0
) -> dict[str, Any]:
    """The row of a charge."""
    return {
        **_described(account, call),
        **{name: getattr(charge.usage, name) for name in _CLASSES},
        "lease_id": lease_id,
        "number": number,
        "ceiling": False,
        "reserved_at": reserved_at,
        "at": at,
        "outcome": charge.outcome,
        "cost": charge.cost,
        "saved": 0,
    }


def _minus(usage: TokenUsage, row: sa.Row[Any]) -> TokenUsage:
    counts = (name for name in _CLASSES if name != "estimated")
    return replace(usage, **{name: getattr(usage, name) - getattr(row, name) for name in counts})
