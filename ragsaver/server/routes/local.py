"""For the commands of the server's own user: they hand over paths instead of texts."""

from pathlib import Path

from fastapi import APIRouter

from ragsaver.ingestion.report import IngestReport, VerifyReport
from ragsaver.ingestion.verify import verify
from ragsaver.server.access import Local
from ragsaver.server.schemas import LocalIngestBody, LocalVerifyBody

router = APIRouter(prefix="/v1/local", include_in_schema=False)


@router.post("/ingest")
async def ingest(body: LocalIngestBody, access: Local) -> IngestReport:
    """Ingest paths of this machine."""
    runtime = access.runtime
    scope = runtime.scope(body.collection)
    return await access.ingest(lambda: runtime.ingestor.ingest(body.paths, scope, prune=body.prune, cwd=Path(body.cwd)))


@router.post("/verify")
async def check(body: LocalVerifyBody, access: Local) -> VerifyReport:
    """Compare manifest and index, and repair."""
    runtime = access.runtime
    scope = runtime.scope(body.collection)
    return await access.ingest(lambda: verify(runtime.manifest, runtime.index, runtime.ingestor, scope))
