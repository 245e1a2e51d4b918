"""`ragsaver documents` for the server's own user: what it asks of whoever owns the index."""

from fastapi import APIRouter

from ragsaver.ingestion.holdings import HoldingsReport
from ragsaver.ingestion.lifecycle import DocumentList, RemovalReport
from ragsaver.ingestion.selection import DocumentSelection
from ragsaver.server.access import Local
from ragsaver.server.schemas import LocalDeleteBody, LocalExpireBody, LocalHoldingsBody

router = APIRouter(prefix="/v1/local/documents", include_in_schema=False)


@router.post("/list")
async def list_documents(body: DocumentSelection, access: Local) -> DocumentList:
    """The documents that are in."""
    return await access.query(lambda runtime: runtime.lifecycle.list(body, runtime.scope(body.collection)))


@router.post("/delete")
async def delete(body: LocalDeleteBody, access: Local) -> RemovalReport:
    """Remove documents."""
    selection = body.selection
    return await access.ingest(
        lambda runtime: runtime.lifecycle.delete(selection, runtime.scope(selection.collection), dry_run=body.dry_run)
    )


@router.post("/expire")
async def expire(body: LocalExpireBody, access: Local) -> RemovalReport:
    """Apply a collection's retention."""
    return await access.ingest(
        lambda runtime: runtime.lifecycle.expire(runtime.scope(body.collection), dry_run=body.dry_run)
    )


@router.post("/report")
async def report(body: LocalHoldingsBody, access: Local) -> HoldingsReport:
    """What a collection holds."""
    return await access.query(
        lambda runtime: runtime.lifecycle.report(runtime.scope(body.collection), body.cold_after_s)
    )
