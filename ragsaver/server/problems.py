"""Errors as RFC 9457 problem documents: what was wrong, where, and the remedy; never the server's insides."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ragsaver.errors import RagSaverError
from ragsaver.server.schemas import Problem

MEDIA_TYPE = "application/problem+json"

_log = logging.getLogger(__name__)


def problem_response(
    status: int,
    title: str,
    detail: str,
    *,
    instance: str,
    request_id: str,
    problem: str | None = None,
    where: str | None = None,
    remedy: str | None = None,
) -> JSONResponse:
    """A problem document."""
    document = Problem(
        title=title,
        status=status,
        detail=detail,
        instance=instance,
        request_id=request_id,
        problem=problem,
        where=where,
        remedy=remedy,
    )
    return JSONResponse(document.model_dump(exclude_none=True), status_code=status, media_type=MEDIA_TYPE)


def of_error(error: RagSaverError, instance: str, request_id: str) -> JSONResponse:
    """The problem document of one of our own errors."""
    return problem_response(
        error.status,
        error.title,
        str(error),
        instance=instance,
        request_id=request_id,
        problem=error.problem,
        where=error.where,
        remedy=error.remedy,
    )


def register(app: FastAPI) -> None:
    """Make every error of the app a problem document."""

    @app.exception_handler(RagSaverError)
    async def ours(request: Request, error: RagSaverError) -> JSONResponse:
        return of_error(error, request.url.path, request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem_response(
            422,
            "Invalid request",
            f"{where}: {first['msg']}",
            instance=request.url.path,
            request_id=request.state.request_id,
            problem=str(first["msg"]),
            where=where,
            remedy="See /docs for the schema",
        )

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return problem_response(
            error.status_code,
            HTTPStatus(error.status_code).phrase,
            str(error.detail),
            instance=request.url.path,
            request_id=request.state.request_id,
        )

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        request_id = request.state.request_id
        _log.error("request %s failed", request_id, exc_info=error)
        return problem_response(
            500,
            "Internal error",
            "the server failed; its log has the reason under the request id",
            instance=request.url.path,
            request_id=request_id,
        )
