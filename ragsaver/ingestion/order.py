"""What somebody wants ingested, as it goes from the command line to whoever owns the index."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class IngestOrder(BaseModel):
    """Places, and how they are looked through.

    :ivar paths: files, folders and addresses, as `list_sources` takes them.
    :ivar cwd: the caller's working directory.
    :ivar prune: forget documents whose source under the paths is gone.
    :ivar include: patterns of which a document must match one; any if empty.
    :ivar exclude: patterns of which a document must match none.
    :ivar checksum: read every document, whatever its size and time say.
    :ivar include_expired: bring in what retention took out, too.
    :ivar max_cost_usd: refuse before anything is spent if embeddings and summaries would cost more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    paths: tuple[str, ...] = Field(min_length=1)
    cwd: Path = Field(default_factory=Path.cwd)
    collection: Name | None = None
    prune: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    checksum: bool = False
    include_expired: bool = False
    max_cost_usd: Decimal | None = Field(default=None, ge=0)
