"""For clients of OpenAI: `POST /v1/chat/completions` and `GET /v1/models`; a pipeline is a model."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from ragsaver.access.identity import Identity
from ragsaver.components.caller import Caller
from ragsaver.components.request import Request as Question
from ragsaver.errors import ModelNotFound
from ragsaver.pipelines.places import SEARCH, find_pipeline, pipeline_names
from ragsaver.pipelines.result import AskResult
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Access, Asker, Shared
from ragsaver.server.asking import Wished, Wishes, question_of
from ragsaver.server.completions import Completion
from ragsaver.server.conversation import ChatBody, Conversation, read_conversation
from ragsaver.server.openai_errors import openai_error
from ragsaver.server.problems import problem_of
from ragsaver.server.pump import Pump, Pumped
from ragsaver.server.routes.query import told
from ragsaver.server.rung import ServedFrom
from ragsaver.settings import Settings

router = APIRouter(prefix="/v1")

_PATH = "/v1/chat/completions"


@router.get("/models")
async def models(access: Shared, identity: Asker) -> dict[str, Any]:
    """The pipelines that may be asked, as models."""
    settings = access.live.settings
    names = await run_in_threadpool(_models, settings, identity)
    return {"object": "list", "data": [await run_in_threadpool(_model, settings, name) for name in names]}


@router.get("/models/{model}")
async def model(model: str, access: Shared, identity: Asker) -> dict[str, Any]:
    """One of them."""
    settings = access.live.settings
    await run_in_threadpool(_require_model, settings, identity, model)
    return await run_in_threadpool(_model, settings, model)


@router.post("/chat/completions")
async def chat(body: ChatBody, access: Shared, identity: Asker, wishes: Wished, request: Request) -> Response:
    """Answer the last message; receipt and citations are in the field `ragsaver`, in a stream in the last chunk."""
    settings = access.live.settings
    request_id: str = request.state.request_id
    conversation = read_conversation(body, settings.query.max_history_chars)
    await run_in_threadpool(_require_model, settings, identity, body.model)
    completion = Completion(request_id, body.model, conversation.ignored)
    if body.stream:
        served = ServedFrom()
        pump = Pump(_parts(access, body, conversation, identity, wishes, request_id, served))
        first = await pump.first(request.receive)
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        chunks = completion.chunks(_after(first, pump), include_usage)
        return Pumped(_events(chunks, request_id), pump, served.headers)

    caller = access.caller(request.receive)

    def ask(runtime: Runtime) -> AskResult:
        return runtime.engine(body.model).ask(
            conversation.question, _question(runtime, body, conversation, identity, wishes, request_id, caller)
        )

    result = await access.query(ask)
    return JSONResponse(completion.whole(result), headers=told(result))


async def _parts(
    access: Access,
    body: ChatBody,
    conversation: Conversation,
    identity: Identity,
    wishes: Wishes,
    request_id: str,
    served: ServedFrom,
) -> AsyncIterator[str | AskResult]:
    with access.live.use() as runtime:
        engine = await run_in_threadpool(runtime.engine, body.model)
        question = _question(runtime, body, conversation, identity, wishes, request_id, on_rung=served.tell)
        async for part in engine.stream(conversation.question, question):
            yield part


async def _after(first: str | AskResult, pump: Pump[str | AskResult]) -> AsyncIterator[str | AskResult]:
    yield first
    async for part in pump:
        yield part


async def _events(chunks: AsyncIterator[dict[str, Any]], request_id: str) -> AsyncIterator[dict[str, str]]:
    try:
        async for chunk in chunks:
            yield {"data": json.dumps(chunk)}
        yield {"data": "[DONE]"}
    except Exception as error:
        yield {"data": json.dumps(openai_error(problem_of(error, _PATH, request_id)))}


def _question(
    runtime: Runtime,
    body: ChatBody,
    conversation: Conversation,
    identity: Identity,
    wishes: Wishes,
    request_id: str,
    caller: Caller | None = None,
    on_rung: Callable[[str], None] | None = None,
) -> Question:
    return question_of(
        runtime,
        identity,
        body.collection,
        request_id,
        wishes,
        history=conversation.history,
        max_output_tokens=body.max_output_tokens(),
        schema=conversation.schema,
        caller=caller,
        on_rung=on_rung,
    )


def _models(settings: Settings, identity: Identity) -> list[str]:
    there = [name for name in pipeline_names(settings.pipelines_dir) if name != SEARCH]
    return there if identity.pipelines is None else [name for name in identity.pipelines if name in there]


def _require_model(settings: Settings, identity: Identity, name: str) -> None:
    names = _models(settings, identity)
    if name not in names:
        raise ModelNotFound(
            f"there is no model `{name}`", where="model", remedy=f"A pipeline is a model: {', '.join(names)}"
        )


def _model(settings: Settings, name: str) -> dict[str, Any]:
    made = int(find_pipeline(name, settings.pipelines_dir).stat().st_mtime)
    return {"id": name, "object": "model", "created": made, "owned_by": "ragsaver"}
