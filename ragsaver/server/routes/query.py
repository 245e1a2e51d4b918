"""Questions: `POST /v1/query` (whole or streamed) and `POST /v1/search`."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from ragsaver.components.request import Caching
from ragsaver.components.request import Request as Question
from ragsaver.pipelines.result import AskResult, SearchResult
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access, Shared
from ragsaver.server.problems import problem_of
from ragsaver.server.schemas import Problem, QueryBody, SearchBody

router = APIRouter(prefix="/v1", responses={"default": {"model": Problem}})


@router.post("/query", response_model=AskResult)
async def query(body: QueryBody, access: Shared, request: Request) -> Response:
    """Answer a question; with `stream` as Server-Sent Events: `delta`, then `result` or `error`."""
    request_id: str = request.state.request_id
    if body.stream:
        await access.query(lambda runtime: runtime.engine(body.pipeline).check(body.query))
        return EventSourceResponse(_events(access, body, request_id, _caching(request)))

    def ask(runtime: Runtime) -> AskResult:
        asked = _asked(runtime, body.collection, request_id, _caching(request))
        return runtime.engine(body.pipeline).ask(body.query, asked, explain=body.debug)

    result = await access.query(ask)
    headers = {"x-ragsaver-cost": str(result.receipt.cost_usd)}
    if result.route.cache:
        headers["x-ragsaver-cache"] = result.route.cache
    return Response(result.model_dump_json(), media_type="application/json", headers=headers)


@router.post("/search", response_model=SearchResult)
async def search(body: SearchBody, access: Shared, request: Request) -> Response:
    """Passages, best first."""
    request_id: str = request.state.request_id
    result = await access.query(
        lambda runtime: runtime.engine().search(
            body.query, _asked(runtime, body.collection, request_id), body.top_k, explain=body.debug
        )
    )
    return Response(result.model_dump_json(), media_type="application/json")


async def _events(access: Access, body: QueryBody, request_id: str, caching: Caching) -> AsyncIterator[dict[str, str]]:
    try:
        with access.live.use() as runtime:
            engine = await run_in_threadpool(runtime.engine, body.pipeline)
            async for part in engine.stream(body.query, _asked(runtime, body.collection, request_id, caching)):
                if isinstance(part, str):
                    yield {"event": "delta", "data": part}
                else:
                    yield {"event": "result", "data": part.model_dump_json()}
    except Exception as error:
        problem = problem_of(error, "/v1/query", request_id)
        yield {"event": "error", "data": problem.model_dump_json(exclude_none=True)}


def _asked(runtime: Runtime, collection: str | None, request_id: str, caching: Caching = "use") -> Question:
    return Question(runtime.reading(collection), request_id=request_id, caching=caching)


def _caching(request: Request) -> Caching:
    """What the header `cache-control` wishes (RFC 9111): `no-cache` a fresh answer, `no-store` one that is not kept."""
    wished = request.headers.get("cache-control", "").lower()
    return "off" if "no-store" in wished else "refresh" if "no-cache" in wished else "use"
