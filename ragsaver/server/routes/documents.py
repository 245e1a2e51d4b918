"""Documents: `POST /v1/documents`."""

from fastapi import APIRouter

from ragsaver.ingestion.report import IngestReport
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
