"""Which lists of pages name a document? A page stays while one does; nobody else can tell that it is gone.

A note is made when a list names a page and taken back when an ingestion that prunes has read all of the list without
finding it. Documents without a note were not brought in by a list.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

import sqlalchemy as sa
import xxhash

from ragsaver.database import Database
from ragsaver.dialects import if_new, write_rows
from ragsaver.index.scope import Scope
from ragsaver.ingestion.identity import document_id
from ragsaver.ingestion.sources.lists import Lists

metadata = sa.MetaData()

_named_by = sa.Table(
    "named_by",
    metadata,
    sa.Column("document_id", sa.String, primary_key=True),
    # A digest: an address may be longer than what PostgreSQL keeps in an index.
    sa.Column("list", sa.String, primary_key=True),
    sa.Column("tenant", sa.String, nullable=False),
    sa.Column("collection", sa.String, nullable=False),
    sa.Index("named_by_of_a_scope", "tenant", "collection"),
)

# Rows go with their documents.
DOCUMENT_ID = _named_by.c.document_id

# A document's id and a list's digest.
Note = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Naming:
    """What lists say now, held against the notes.

    :ivar fresh: notes that are to be made.
    :ivar outdated: notes of lists that were read as a whole and name the document no longer.
    :ivar unnamed: ids of documents all of whose notes are outdated.
    """

    fresh: Set[Note] = frozenset()
    outdated: Set[Note] = frozenset()
    unnamed: Set[str] = frozenset()


def compare(notes: Set[Note], lists: Lists, scope: Scope) -> Naming:
    """Decide which notes are to be made, and which do not hold any more.

    :param notes: of the scope.
    """
    named = {_digest(name): {document_id(scope, page) for page in listing.pages} for name, listing in lists.items()}
    whole = {_digest(name) for name, listing in lists.items() if listing.whole}
    fresh = {(document, one) for one, documents in named.items() for document in documents} - notes
    outdated = {(document, one) for document, one in notes if one in whole and document not in named[one]}
    still = {document for document, _ in (notes | fresh) - outdated}
    return Naming(fresh, outdated, {document for document, _ in outdated} - still)


class NamedBy:
    """The table of notes in the manifest's database. Made by the manifest."""

    def __init__(self, database: Database) -> None:
        self._reading, self._writing = database.reading, database.writing

    def compared(self, scope: Scope, lists: Lists) -> Naming:
        """What these lists say, held against the scope's notes."""
        return compare(self.of(scope), lists, scope) if lists else Naming()

    def of(self, scope: Scope) -> set[Note]:
        """The notes of a scope."""
        query = sa.select(_named_by.c.document_id, _named_by.c.list).where(
            _named_by.c.tenant == scope.tenant, _named_by.c.collection == scope.collection
        )
        with self._reading() as connection:
            return {(document, one) for document, one in connection.execute(query).tuples()}

    def settle(self, scope: Scope, naming: Naming, *, pruning: bool, gone: Iterable[str] = ()) -> None:
        """Make the fresh notes; where the run prunes, take the outdated ones back.

        :param gone: ids of documents that are about to go: their notes go with them, not before.
        :raises StorageError: if the disk refuses.
        """
        going = set(gone)
        back = [note for note in naming.outdated if pruning and note[0] not in going]
        if not (naming.fresh or back):
            return
        place = {"tenant": scope.tenant, "collection": scope.collection}
        with self._writing() as connection:
            rows = [{"document_id": document, "list": one, **place} for document, one in sorted(naming.fresh)]
            write_rows(connection, if_new(connection.dialect.name, _named_by), rows)
            for document, one in back:
                connection.execute(
                    sa.delete(_named_by).where(_named_by.c.document_id == document, _named_by.c.list == one)
                )

    def become(self, others: "NamedBy") -> None:
        """Take over all notes of another manifest, in the place of those there are.

        :raises StorageError: if the disk refuses.
        """
        with others._reading() as connection:
            rows: list[Mapping[str, str]] = [dict(row._mapping) for row in connection.execute(sa.select(_named_by))]
        with self._writing() as connection:
            connection.execute(sa.delete(_named_by))
            write_rows(connection, sa.insert(_named_by), rows)


def _digest(name: str) -> str:
    return xxhash.xxh3_128_hexdigest(name.encode(errors="surrogatepass"))
