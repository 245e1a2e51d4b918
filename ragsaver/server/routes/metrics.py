"""For Prometheus: `GET /metrics`."""

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder
from starlette.concurrency import run_in_threadpool

from ragsaver.workers.metrics import IngestionMetrics

router = APIRouter()


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """What waits, what was embedded, and what became of documents, in Prometheus' text format."""
    told: IngestionMetrics = request.app.state.metrics
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(await run_in_threadpool(encode, told.registry), headers={"content-type": content_type})
