"""Jobs: `GET /v1/jobs/{job_id}`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from ragsaver.ingestion.job_report import JobReport
from ragsaver.server.access import Ingester
from ragsaver.server.schemas import Problem
from ragsaver.workers.queueing import IngestQueue

router = APIRouter(prefix="/v1", responses={"default": {"model": Problem}})


async def _queue(request: Request) -> IngestQueue | None:
    queue: IngestQueue | None = request.app.state.queue
    return queue


Queued = Annotated[IngestQueue | None, Depends(_queue)]


@router.get("/jobs/{job_id}")
async def job(
    job_id: str,
    identity: Ingester,
    queue: Queued,
    limit: Annotated[int, Query(ge=0, le=10_000)] = 1000,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> JobReport:
    """How far a job is; `progress` has `limit` of its documents from `offset` on."""
    report = None
    if queue is not None:
        report = await run_in_threadpool(queue.report, job_id, identity.tenant, limit=limit, offset=offset)
    if report is None:
        raise HTTPException(404, "there is no such job")
    return report
