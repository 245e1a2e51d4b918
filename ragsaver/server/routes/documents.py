"""Documents: `POST /v1/documents`, `GET /v1/documents`, `DELETE /v1/documents/{id}`."""

from typing import Annotated

from fastapi import APIRouter, Query

from ragsaver.ingestion.lifecycle import DocumentList, RemovalReport
from ragsaver.ingestion.order import Name
from ragsaver.ingestion.report import IngestReport
from ragsaver.ingestion.selection import DocumentSelection
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.server.access import Shared
from ragsaver.server.schemas import DocumentsBody, Problem

router = APIRouter(prefix="/v1", responses={"default": {"model": Problem}})


@router.post("/documents")
async def documents(body: DocumentsBody, access: Shared) -> IngestReport:
    """Ingest documents given as text; those that fail are in `errors`, the rest are in."""
    runtime = access.runtime
    posted = [PostedDocument(one.source, one.text, one.format, one.metadata) for one in body.documents]
    scope = runtime.scope(body.collection)
    return await access.ingest(lambda: runtime.ingestor.ingest_texts(posted, scope, progress=access.go_on))


@router.get("/documents")
async def list_documents(
    access: Shared,
    source: Annotated[str | None, Query(description="the document of this name")] = None,
    collection: Annotated[Name | None, Query(description="which collection")] = None,
) -> DocumentList:
    """The documents of a collection, with their ids."""
    runtime = access.runtime
    scope = runtime.scope(collection)
    selection = DocumentSelection(source=source)
    return await access.query(lambda: runtime.lifecycle.list(selection, scope))


@router.delete("/documents/{document_id}")
async def delete_document(
    document_id: str, access: Shared, collection: Annotated[Name | None, Query(description="which collection")] = None
) -> RemovalReport:
    """Delete one document of a collection."""
    runtime = access.runtime
    scope = runtime.scope(collection)
    return await access.ingest(lambda: runtime.lifecycle.delete_one(document_id, scope))
