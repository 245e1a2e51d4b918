"""Questions: `POST /v1/query` (whole or streamed) and `POST /v1/search`."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from ragsaver.access.identity import Identity
from ragsaver.components.answer_schema import AnswerSchema, read_schema
from ragsaver.pipelines.result import AskResult, SearchResult
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access, Asker, Shared
from ragsaver.server.asking import Frugal, Wished, Wishes, question_of
from ragsaver.server.plain_question import PlainQuestions
from ragsaver.server.problems import problem_of
from ragsaver.server.pump import Pump, Pumped
from ragsaver.server.rung import ServedFrom
from ragsaver.server.schemas import Problem, QueryBody, SearchBody

router = APIRouter(prefix="/v1", responses={"default": {"model": Problem}})


async def query(body: QueryBody, access: Shared, identity: Asker, wishes: Wished, request: Request) -> Response:
    """Answer a question; with `stream` as Server-Sent Events: `delta`, then `result` or `error`."""
    request_id: str = request.state.request_id
    pipeline = identity.pipeline(body.pipeline)
    schema = await run_in_threadpool(read_schema, body.response_schema) if body.response_schema is not None else None
    if body.stream:
        await access.query(lambda runtime: runtime.engine(pipeline).check(body.query))
        served = ServedFrom()
        pump = Pump(_parts(access, body, schema, identity, wishes, request_id, served))
        try:
            await served.known()
        except BaseException:
            await pump.end()
            raise
        return Pumped(_events(pump, request_id, identity.trusted), pump, served.headers)

    caller = access.caller(request.receive)

    def ask(runtime: Runtime) -> AskResult:
        asked = question_of(runtime, identity, body.collection, request_id, wishes, schema=schema, caller=caller)
        return runtime.engine(pipeline).ask(body.query, asked, explain=body.debug)

    result = await access.query(ask)
    return Response(result.model_dump_json(), media_type="application/json", headers=told(result))


router.add_api_route("/query", query, methods=["POST"], response_model=AskResult, route_class_override=PlainQuestions)


@router.post("/search", response_model=SearchResult)
async def search(body: SearchBody, access: Shared, identity: Asker, frugal: Frugal, request: Request) -> Response:
    """Passages, best first."""
    request_id: str = request.state.request_id

    def find(runtime: Runtime) -> SearchResult:
        asked = question_of(runtime, identity, body.collection, request_id, frugal)
        return runtime.engine(identity.pipeline(None)).search(body.query, asked, body.top_k, explain=body.debug)

    result = await access.query(find)
    return Response(result.model_dump_json(), media_type="application/json")


def told(result: AskResult) -> dict[str, str]:
    """What the headers of an answer say."""
    headers = {
        "x-ragsaver-cost": f"{result.receipt.cost_usd:f}",
        "x-ragsaver-tier": result.route.tier,
        "x-ragsaver-rung": result.route.rung,
    }
    return {**headers, "x-ragsaver-cache": result.route.cache} if result.route.cache else headers


async def _parts(
    access: Access,
    body: QueryBody,
    schema: AnswerSchema | None,
    identity: Identity,
    wishes: Wishes,
    request_id: str,
    served: ServedFrom,
) -> AsyncIterator[str | AskResult]:
    try:
        with access.live.use() as runtime:
            engine = await run_in_threadpool(runtime.engine, identity.pipeline(body.pipeline))
            asked = question_of(
                runtime, identity, body.collection, request_id, wishes, schema=schema, on_rung=served.tell
            )
            async for part in engine.stream(body.query, asked):
                yield part
    finally:
        served.end()


async def _events(pump: Pump[str | AskResult], request_id: str, trusted: bool) -> AsyncIterator[dict[str, str]]:
    try:
        async for part in pump:
            if isinstance(part, str):
                yield {"event": "delta", "data": part}
            else:
                yield {"event": "result", "data": part.model_dump_json()}
    except Exception as error:
        problem = problem_of(error, "/v1/query", request_id, trusted=trusted)
        yield {"event": "error", "data": problem.model_dump_json(exclude_none=True)}
