"""Probes: is the process alive, and can it answer?"""

from fastapi import APIRouter

from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Shared
from ragsaver.server.schemas import Health, Problem

router = APIRouter()


@router.get("/healthz")
async def healthz() -> Health:
    """The process is alive."""
    return Health(status="ok")


@router.get("/readyz", responses={"default": {"model": Problem}})
async def readyz(access: Shared) -> Health:
    """The index, the model and the pipeline answer."""

    def probe(runtime: Runtime) -> None:
        runtime.ownership.still()
        vector = runtime.encoder.encode(["ready"], query=True)[0]
        runtime.index.search(runtime.reading(), "ready", vector, 1)
        runtime.engine()

    await access.query(probe)
    return Health(status="ready")
