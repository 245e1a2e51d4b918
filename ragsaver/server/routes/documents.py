"""Documents: `POST /v1/documents`, `GET /v1/documents`, `DELETE /v1/documents/{id}`."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from ragsaver.errors import QueueFull
from ragsaver.ingestion.job_report import JobReport
from ragsaver.ingestion.lifecycle import DocumentList, RemovalReport
from ragsaver.ingestion.order import Name
from ragsaver.ingestion.report import IngestReport
from ragsaver.ingestion.selection import DocumentSelection
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.server.access import Ingester, Lister, Shared, all_of, reading
from ragsaver.server.problems import problem_of, problem_response
from ragsaver.server.routes.jobs import Queued
from ragsaver.server.schemas import DocumentsBody, Problem

router = APIRouter(prefix="/v1", responses={"default": {"model": Problem}})

_TRY_AGAIN_S = 30


@router.post("/documents", response_model=IngestReport, responses={202: {"model": JobReport}})
async def documents(
    body: DocumentsBody, access: Shared, identity: Ingester, queue: Queued, request: Request
) -> Response | IngestReport:
    """Ingest documents given as text; those that fail are in `errors`, the rest are in.

    Where workers do it, the answer is 202 with a job.
    """
    posted = [PostedDocument(one.source, one.text, one.format, one.metadata) for one in body.documents]
    if queue is None:
        return await access.ingest(
            lambda runtime: access.counted(
                lambda: runtime.ingestor.ingest_texts(
                    posted,
                    all_of(runtime, identity, body.collection),
                    progress=access.go_on,
                    principal=identity.principal,
                )
            )
        )
    with access.live.use() as runtime:
        scope = all_of(runtime, identity, body.collection)
    try:
        report = await run_in_threadpool(queue.put_texts, posted, scope, body.priority)
    except QueueFull as error:
        refused = problem_response(
            problem_of(error, request.url.path, request.state.request_id, trusted=identity.trusted)
        )
        refused.headers["retry-after"] = str(_TRY_AGAIN_S)
        return refused
    return JSONResponse(
        report.model_dump(mode="json"), status_code=202, headers={"location": f"/v1/jobs/{report.job_id}"}
    )


@router.get("/documents")
async def list_documents(
    access: Shared,
    identity: Lister,
    source: Annotated[str | None, Query(description="the document of this name")] = None,
    collection: Annotated[Name | None, Query(description="which collection")] = None,
) -> DocumentList:
    """The documents of a collection, with their ids."""
    selection = DocumentSelection(source=source)
    return await access.query(lambda runtime: runtime.lifecycle.list(selection, reading(runtime, identity, collection)))


@router.delete("/documents/{document_id}")
async def delete_document(
    document_id: str,
    access: Shared,
    identity: Ingester,
    collection: Annotated[Name | None, Query(description="which collection")] = None,
) -> RemovalReport:
    """Delete one document of a collection."""
    return await access.ingest(
        lambda runtime: runtime.lifecycle.delete_one(document_id, all_of(runtime, identity, collection))
    )
