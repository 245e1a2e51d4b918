"""Who embeds a text? Two documents that share one, at two workers, must not both pay for it."""

from collections.abc import Sequence

import sqlalchemy as sa

from ragsaver.database import Database
from ragsaver.dialects import insert, lock
from ragsaver.ingestion.job_tables import texts
from ragsaver.ingestion.manifest import now


class TextClaims:
    """The texts that are being embedded, in the job store's database. Made by the store."""

    def __init__(self, database: Database) -> None:
        self._writing = database.writing

    def claim(self, partition: str, hashes: Sequence[str], holder: str, lease_s: float) -> set[str]:
        """Those of the texts that this holder may embed: nobody else does so at the moment."""
        until = now() + lease_s
        # In one order, so that no two who claim the same texts wait for each other.
        rows = [{"partition": partition, "hash": one, "holder": holder, "until": until} for one in sorted(set(hashes))]
        if not rows:
            return set()
        with self._writing() as connection:
            statement = insert(connection.dialect.name, texts)
            taken = statement.on_conflict_do_update(
                index_elements=["partition", "hash"],
                set_={"holder": statement.excluded.holder, "until": statement.excluded.until},
                where=texts.c.until <= now(),
            )
            return set(connection.scalars(taken.returning(texts.c.hash), rows))

    def release(self, holder: str) -> None:
        """Let go of the texts of this holder."""
        with self._writing() as connection:
            lock(connection, texts.c.hash, texts.c.holder == holder)
            connection.execute(sa.delete(texts).where(texts.c.holder == holder))

    def hold_on(self, holders: Sequence[str], lease_s: float) -> None:
        """These hold what they hold for longer."""
        held = texts.c.holder.in_(holders)
        with self._writing() as connection:
            lock(connection, texts.c.hash, held)
            connection.execute(sa.update(texts).where(held).values(until=now() + lease_s))
