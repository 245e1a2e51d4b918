"""How is a run of ingestion made, beside what it is about?"""

from collections.abc import Sequence
from dataclasses import dataclass

from ragsaver.ingestion.manifest import DocumentRecord
from ragsaver.ingestion.summarising import Allowance
from ragsaver.ingestion.tombstones import Tombstone


@dataclass(frozen=True, slots=True)
class Way:
    """How a run is made.

    :ivar gone: documents that go.
    :ivar lost: tombstones that go.
    :ivar checksum: read every document, whatever its version says.
    :ivar include_expired: bring in what retention took out.
    :ivar allowance: what summaries may cost.
    :ivar principal: whose budgets embedding counts for, beside the tenant's; None where nobody is known.
    """

    gone: Sequence[DocumentRecord] = ()
    lost: Sequence[Tombstone] = ()
    checksum: bool = False
    include_expired: bool = False
    allowance: Allowance | None = None
    principal: str | None = None
