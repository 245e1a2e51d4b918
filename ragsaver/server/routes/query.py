"""Questions: `POST /v1/query` (whole or streamed) and `POST /v1/search`."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from sse_starlette import EventSourceResponse

from ragsaver.components.request import Request as Question
from ragsaver.pipelines.engine import QueryEngine
from ragsaver.pipelines.result import AskResult, SearchResult
from ragsaver.server.access import Shared
from ragsaver.server.problems import problem_of
from ragsaver.server.schemas import Problem, QueryBody, SearchBody

router = APIRouter(prefix="/v1", responses={"default": {"model": Problem}})


@router.post("/query", response_model=AskResult)
async def query(body: QueryBody, access: Shared, request: Request) -> Response:
    """Answer a question; with `stream` as Server-Sent Events: `delta`, then `result` or `error`."""
    runtime = access.runtime
    asked = Question(runtime.scope(body.collection), request_id=request.state.request_id)
    engine = await access.query(lambda: runtime.engine(body.pipeline))
    if body.stream:
        engine.check(body.query)
        return EventSourceResponse(_events(engine, body.query, asked))
    result = await access.query(lambda: engine.ask(body.query, asked))
    return Response(
        result.model_dump_json(),
        media_type="application/json",
        headers={"x-ragsaver-cost": str(result.receipt.cost_usd)},
    )


@router.post("/search", response_model=SearchResult)
async def search(body: SearchBody, access: Shared, request: Request) -> Response:
    """Passages, best first."""
    runtime = access.runtime
    asked = Question(runtime.scope(body.collection), request_id=request.state.request_id)
    result = await access.query(lambda: runtime.engine().search(body.query, asked, body.top_k))
    return Response(result.model_dump_json(), media_type="application/json")


async def _events(engine: QueryEngine, text: str, asked: Question) -> AsyncIterator[dict[str, str]]:
    try:
        async for part in engine.stream(text, asked):
            if isinstance(part, str):
                yield {"event": "delta", "data": part}
            else:
                yield {"event": "result", "data": part.model_dump_json()}
    except Exception as error:
        problem = problem_of(error, "/v1/query", asked.request_id)
        yield {"event": "error", "data": problem.model_dump_json(exclude_none=True)}
