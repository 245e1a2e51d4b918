"""Who embeds a text? Two documents that share one, at two workers, must not both pay for it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ragsaver.ingestion.job_tables import texts
from ragsaver.ingestion.manifest import now


class TextClaims:
    """The texts that are being embedded, in the job store's file. Made by the store."""

    def __init__(self, writing: Callable[[], AbstractContextManager[sa.Connection]]) -> None:
        self._writing = writing

    def claim(self, partition: str, hashes: Sequence[str], holder: str, lease_s: float) -> set[str]:
        """Those of the texts that this holder may embed: nobody else does so at the moment."""
        rows = [{"partition": partition, "hash": one, "holder": holder, "until": now() + lease_s} for one in hashes]
        mine: set[str] = set()
        statement = insert(texts)
        taken = statement.on_conflict_do_update(
            index_elements=["partition", "hash"],
            set_={"holder": statement.excluded.holder, "until": statement.excluded.until},
            where=texts.c.until <= now(),
        )
        with self._writing() as connection:
            for row in rows:
                if connection.execute(taken.values(row)).rowcount:
                    mine.add(row["hash"])  # type: ignore[arg-type]
        return mine

    def release(self, holder: str) -> None:
        """Let go of the texts of this holder."""
        with self._writing() as connection:
            connection.execute(sa.delete(texts).where(texts.c.holder == holder))

    def hold_on(self, holders: Sequence[str], lease_s: float) -> None:
        """These hold what they hold for longer."""
        with self._writing() as connection:
            connection.execute(sa.update(texts).where(texts.c.holder.in_(holders)).values(until=now() + lease_s))
