"""The options that `ingest` and `plan` have in common: which places, and what of them."""

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import ValidationError

    from ragsaver.ingestion.order import IngestOrder

Paths = Annotated[
    list[str], typer.Argument(help="Files, folders, URIs such as s3://BUCKET, http addresses, urls:FILE, sitemap:URL.")
]
Collection = Annotated[str | None, typer.Option(help="Where they go.")]
Prune = Annotated[bool, typer.Option("--prune", help="Forget documents whose source is gone.")]
Include = Annotated[list[str] | None, typer.Option(help="Only what matches, as in a .gitignore; may be repeated.")]
Exclude = Annotated[list[str] | None, typer.Option(help="Not what matches; may be repeated.")]
Checksum = Annotated[bool, typer.Option("--checksum", help="Read every document, whatever its size and time say.")]

IncludeExpired = Annotated[
    bool, typer.Option("--include-expired", help="Bring in what retention took out, though it has not changed.")
]


def order(
    paths: list[str],
    collection: str | None,
    *,
    prune: bool,
    include: list[str] | None,
    exclude: list[str] | None,
    checksum: bool,
    include_expired: bool,
    max_cost_usd: str | None = None,
) -> "IngestOrder":
    """What the options say.

    :raises UsageError: if a value makes no sense.
    """
    from pydantic import ValidationError

    from ragsaver.errors import UsageError
    from ragsaver.ingestion.order import IngestOrder

    try:
        return IngestOrder(
            paths=tuple(paths),
            cwd=Path.cwd(),
            collection=collection,
            prune=prune,
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            checksum=checksum,
            include_expired=include_expired,
            max_cost_usd=None if max_cost_usd is None else Decimal(max_cost_usd),
        )
    except (ValidationError, ArithmeticError) as error:
        raise UsageError(_said(error), remedy="See `ragsaver ingest --help`") from None


def _said(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return not_allowed(error)
    return "--max-cost takes a number of dollars"


def not_allowed(error: "ValidationError") -> str:
    """What is wrong with the first option that is, by the name it has on the command line."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    option = "PATH" if name == "paths" else f"--{name.removesuffix('_usd').replace('_', '-')}"
    return f"{option} has a value that is not allowed: {first['msg']}"
