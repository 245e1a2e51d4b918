"""For the commands of the server's own user: they hand over paths instead of texts."""

import asyncio
import threading
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from ragsaver.errors import BudgetExceeded
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.report import IngestReport, OutlineReport, PlanReport, Progress, VerifyReport
from ragsaver.ingestion.verify import verify
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access, Local
from ragsaver.server.problems import problem_of
from ragsaver.server.schemas import IngestEvent, LocalOutlineBody, LocalVerifyBody

router = APIRouter(prefix="/v1/local", include_in_schema=False)


@router.post("/ingest")
async def ingest(body: IngestOrder, access: Local, request: Request) -> StreamingResponse:
    """Ingest paths of this machine; lines of JSON tell how far it is. It stops if the caller leaves."""
    return StreamingResponse(_events(body, access, request.state.request_id), media_type="application/x-ndjson")


async def _events(body: IngestOrder, access: Access, request_id: str) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    told: asyncio.Queue[IngestEvent] = asyncio.Queue()
    left = threading.Event()

    def tell(event: IngestEvent) -> None:
        loop.call_soon_threadsafe(told.put_nowait, event)

    def step(progress: Progress) -> None:
        if left.is_set():
            raise CallerLeft
        access.go_on(progress)
        tell(IngestEvent(progress=progress))

    def work(runtime: Runtime) -> None:
        try:
            scope = runtime.scope(body.collection)
            report = access.counted(lambda: runtime.ingestor.ingest(body, scope, progress=step))
            tell(IngestEvent(report=report))
        except CallerLeft:
            pass
        except Exception as error:
            problem = problem_of(error, "/v1/local/ingest", request_id, trusted=True)
            done = error.report if isinstance(error, BudgetExceeded) else None
            tell(IngestEvent(problem=problem, report=done if isinstance(done, IngestReport) else None))

    ingestion = asyncio.ensure_future(access.ingest(work))
    try:
        event = IngestEvent()
        while event.report is None and event.problem is None:
            event = await told.get()
            yield event.model_dump_json(exclude_none=True) + "\n"
        await ingestion
    finally:
        left.set()


@router.post("/plan")
async def plan(body: IngestOrder, access: Local) -> PlanReport:
    """What an ingestion would do."""
    return await access.ingest(lambda runtime: runtime.ingestor.plan(body, runtime.scope(body.collection)))


class CallerLeft(Exception):
    """Nobody waits for this ingestion any more; the same command completes it later."""


@router.post("/verify")
async def check(body: LocalVerifyBody, access: Local) -> VerifyReport:
    """Compare manifest and index, and repair."""
    return await access.ingest(
        lambda runtime: verify(
            runtime.manifest, runtime.index, runtime.ingestor, runtime.scope(body.collection), vectors=body.vectors
        )
    )


@router.post("/outline")
async def outline(body: LocalOutlineBody, access: Local) -> OutlineReport:
    """A document's outline."""
    return await access.query(lambda runtime: runtime.outline(body.source, body.collection, body.budget_tokens))
