"""Who pays for what an ingestion embeds? Its tenant, in the ledger, for each run or document of a job by itself.

A charge says how much a run or document has embedded by now, so what could not be written, or was lost with its
process, is in the next one. Where embedding costs nothing the ledger is not opened.
"""

import logging
import uuid
from collections.abc import Mapping
from contextlib import closing

from ragsaver.errors import StorageError
from ragsaver.index.scope import Scope
from ragsaver.ingestion.text_tokens import TextTokens
from ragsaver.settings import Settings
from ragsaver.spend.budgets import Account
from ragsaver.spend.embedded_tokens import charge_embedded
from ragsaver.spend.ledger import open_ledger

_log = logging.getLogger(__name__)


class EmbeddingCharges:
    """Charges tenants for what is embedded.

    :param model: that embeds.
    """

    def __init__(self, settings: Settings, model: str) -> None:
        self._settings = settings
        self._model = model
        self._usd_per_mtok = settings.spend.embedding_per_mtok

    @property
    def any(self) -> bool:
        """Whether embedding costs anything."""
        return bool(self._usd_per_mtok)

    def charge(self, tokens: Mapping[tuple[str, str], int]) -> None:
        """Charge what was embedded so far, less what is charged of it already.

        :param tokens: by tenant, and run or document of a job.
        :raises StorageError: if the ledger can't be written.
        """
        if not self.any or not any(tokens.values()):
            return
        with closing(open_ledger(self._settings)) as ledger:
            for (tenant, name), count in tokens.items():
                account = Account(tenant, request_id=name)
                charge_embedded(ledger, account, self._model, count, self._usd_per_mtok)


class RunCharges:
    """What one run embeds, batch by batch."""

    def __init__(self, charges: EmbeddingCharges, scope: Scope) -> None:
        self._charges = charges
        self._run = scope.tenant, f"ingest_{uuid.uuid4().hex}"
        self._tokens = 0
        self._unwritten = False

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

    def require_written(self) -> None:
        """Nothing more is embedded before what was embedded is charged.

        :raises StorageError: if it can't be.
        """
        if self._unwritten:
            self._write()
            self._unwritten = False

    def _write(self) -> None:
        self._charges.charge({self._run: self._tokens})
