"""Who pays for what an ingestion embeds? Its tenant, and who posted it, for each run or document of a job by itself.

What a batch costs is kept back in all budgets before it is embedded, and charged when it is. A charge says how much a
run or document has embedded by now, so what could not be written, or was lost with its process, is in the next one.
Where embedding costs nothing the ledger is not opened.
"""

import logging
import threading
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Self

from ragsaver.errors import StorageError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.text_tokens import TextTokens
from ragsaver.settings import Settings
from ragsaver.spend.budgets import Account, Hold
from ragsaver.spend.embedded_tokens import charge_embedded, reserve_embedding
from ragsaver.spend.foreseeing import foresee
from ragsaver.spend.ledger import Lease, Ledger, open_ledger
from ragsaver.spend.money import charged

# Tokens by who pays, and for what: the account's request is a run, or a document of a job.
Tokens = Mapping[Account, int]

_log = logging.getLogger(__name__)


class EmbeddingCharges:
    """Reserves and charges what is embedded. Any thread may use it; its owner closes it.

    :param model: that embeds.
    """

    def __init__(self, settings: Settings, model: str) -> None:
        self._settings = settings
        self._model = model
        self._usd_per_mtok = settings.spend.embedding_per_mtok
        self._opening = threading.Lock()
        self._opened: Ledger | None = None

    @property
    def any(self) -> bool:
        """Whether embedding costs anything."""
        return bool(self._usd_per_mtok)

    def reserve(self, tokens: Tokens) -> list[Lease]:
        """Keep back what embedding so much more costs, for all in one step or for none.

        :raises BudgetExceeded: if a budget has no room for it.
        :raises StorageError: if the ledger can't be written: then nothing is embedded.
        """
        wanted = {account: count for account, count in tokens.items() if count}
        if not self.any or not wanted:
            return []
        return list(reserve_embedding(self._ledger(), wanted, self._model, self._usd_per_mtok).values())

    def charge(self, tokens: Tokens, held: Sequence[Lease] = ()) -> None:
        """Charge what was embedded so far, less what is charged of it already.

        :param held: ends with this, whether it was needed or not.
        :raises StorageError: if the ledger can't be written.
        """
        if not self.any:
            return
        so_far = {account: count for account, count in tokens.items() if count}
        for account in {**so_far, **{one.account: 0 for one in held}}:
            own = [one for one in held if one.account == account]
            charge_embedded(self._ledger(), account, self._model, so_far.get(account, 0), self._usd_per_mtok, own)

    def foresee(self, tenant: str, usd: Decimal) -> None:
        """Refuse what has no room as things stand; nothing is kept back.

        :param usd: that a run would cost.
        :raises BudgetExceeded: if a budget has no room for it.
        :raises StorageError: if the ledger can't be read.
        """
        if usd:
            foresee(self._ledger(), Account(tenant), Hold(charged(usd), 0), None)

    def close(self) -> None:
        """Let go of the ledger."""
        with self._opening:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _ledger(self) -> Ledger:
        with self._opening:
            if self._opened is None:
                self._opened = open_ledger(self._settings)
            return self._opened


class RunCharges:
    """What one run embeds, batch by batch. Leaving it gives back what was held for what was not embedded.

    :param principal: who it is for, where that is known.
    :raises StorageError: when it is left, if what was embedded can't be charged.
    """

    def __init__(self, charges: EmbeddingCharges, scope: Scope, principal: str | None = None) -> None:
        self._charges = charges
        self._run = Account(scope.tenant, principal, request_id=f"ingest_{uuid.uuid4().hex}")
        self._tokens = 0
        self._held: list[Lease] = []
        self._unwritten = False

    def reserve(self, texts: Mapping[str, TextTokens]) -> None:
        """Before a batch is embedded. Nothing more is embedded before what was embedded is charged.

        :raises BudgetExceeded: if a budget has no room for it.
        :raises StorageError: if the ledger can't be written.
        """
        if more := sum(one.embedded for one in texts.values()):
            if self._unwritten:
                self._write()
            self._held += self._charges.reserve({self._run: more})

    def took(self, texts: Mapping[str, TextTokens]) -> None:
        """Charge a batch that is embedded, and not in the cache yet. A ledger that can't be written must not cost the
        batch: it is asked again before the next one.
        """
        more = sum(one.embedded for one in texts.values())
        if not more:
            return
        self._tokens += more
        try:
            self._write()
        except StorageError as error:
            _log.warning("what embedding %d tokens costs waits for the ledger: %s", self._tokens, error)
            self._unwritten = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if not (self._held or self._unwritten):
            return
        try:
            self._write()
        except StorageError as unwritten:
            if error is None:
                raise
            _log.warning("what was held for an ingestion that ended waits until it expires: %s", unwritten)

    def _write(self) -> None:
        self._charges.charge({self._run: self._tokens}, self._held)
        self._held.clear()
        self._unwritten = False
