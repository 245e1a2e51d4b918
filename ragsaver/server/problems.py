"""Errors as RFC 9457 problem documents: what was wrong, where, and the remedy; never the server's insides.

Nor where on its machine something is: that is told to its own user only (`paths`).
"""

import logging
import math
from collections.abc import Mapping
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ragsaver.errors import RagSaverError
from ragsaver.logs.observed import current_observed
from ragsaver.server.openai_errors import is_openai, openai_error
from ragsaver.server.paths import is_path, named, without_paths
from ragsaver.server.pump import CallerLeft
from ragsaver.server.schemas import Problem

MEDIA_TYPE = "application/problem+json"
LEFT = 499  # nobody reads it; the name is nginx's

_log = logging.getLogger(__name__)


def problem_of(error: BaseException, instance: str, request_id: str, *, trusted: bool = False) -> Problem:
    """What the client may know of an error; one that is not ours is logged and told without its insides.

    :param trusted: it is the server's own user, who is told paths.
    """
    observed = current_observed()
    cost = observed.cost() if observed is not None else None
    cost_usd = None if cost is None else float(cost)
    if not isinstance(error, RagSaverError):
        if observed is not None:
            observed.problem, observed.problem_status = "about:blank", 500
        _log.error("request %s failed", request_id, exc_info=error)
        return Problem(
            title="Internal error",
            status=500,
            detail="the server failed; its log has the reason under the request id",
            instance=instance,
            request_id=request_id,
            cost_usd=cost_usd,
        )
    if observed is not None:
        observed.problem, observed.problem_status = error.urn(), error.status
    told = error if trusted else _for_others(error)
    if told is not error:
        _log.warning("request %s failed: %s", request_id, error)
    return Problem(
        type=error.urn(),
        title=error.title,
        status=error.status,
        detail=str(told),
        instance=instance,
        request_id=request_id,
        problem=told.problem,
        where=told.where,
        remedy=told.remedy,
        retry_after_s=error.retry_after_s,
        cost_usd=cost_usd,
    )


def is_trusted(state: Mapping[str, Any]) -> bool:
    """Whether a request's state says that the server's own user asks."""
    identity = state.get("identity")
    return identity is not None and bool(identity.trusted)


def _for_others(error: RagSaverError) -> RagSaverError:
    """The error without paths of this machine; itself if it has none."""
    where = error.where or ""

    def shown(text: str) -> str:
        return without_paths(text, where)

    told = RagSaverError(
        shown(error.problem),
        where=named(where) if is_path(where) else error.where and shown(where),
        remedy=error.remedy and shown(error.remedy),
    )
    return error if str(told) == str(error) else told


def problem_of_http(error: HTTPException, instance: str, request_id: str) -> Problem:
    """What the client may know of an error that is only a status."""
    return Problem(
        title=HTTPStatus(error.status_code).phrase,
        status=error.status_code,
        detail=str(error.detail),
        instance=instance,
        request_id=request_id,
    )


def problem_response(problem: Problem, more: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem document, or what clients of OpenAI read in its place, as a response.

    Where it tells when to try again, or what was spent, a header does too.

    :param more: headers that belong to the error.
    """
    headers = dict(more or {})
    if problem.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(problem.retry_after_s)))
    if problem.cost_usd is not None:
        headers["x-ragsaver-cost"] = f"{Decimal(str(problem.cost_usd)).normalize():f}"
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    if is_openai(problem.instance):
        return JSONResponse(openai_error(problem), status_code=problem.status, headers=headers)
    return JSONResponse(
        problem.model_dump(exclude_none=True), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers
    )


def register(app: FastAPI) -> None:
    """Make the errors that routes raise problem documents; `RequestId` does it for those that nobody expected."""

    @app.exception_handler(RagSaverError)
    async def ours(request: Request, error: RagSaverError) -> JSONResponse:
        trusted = is_trusted(request.scope["state"])
        return problem_response(problem_of(error, request.url.path, request.state.request_id, trusted=trusted))

    @app.exception_handler(CallerLeft)
    async def left(request: Request, error: CallerLeft) -> Response:
        return Response(status_code=LEFT)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem_response(
            Problem(
                title="Invalid request",
                status=400 if is_openai(request.url.path) else 422,
                detail=f"{where}: {first['msg']}",
                instance=request.url.path,
                request_id=request.state.request_id,
                problem=str(first["msg"]),
                where=where,
                remedy="See /docs for the schema",
            )
        )

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return problem_response(problem_of_http(error, request.url.path, request.state.request_id), error.headers)
