"""Errors on the routes that clients of OpenAI call, in the shape that these read."""

from typing import Any

from ragsaver.server.schemas import Problem

_CODES = {
    "unauthorized": "invalid_api_key",
    "forbidden": "permission_denied",
    "rate-limited": "rate_limit_exceeded",
    "question-too-long": "context_length_exceeded",
    "history-too-long": "context_length_exceeded",
}


def is_openai(path: str) -> bool:
    """Whether clients of OpenAI call this path."""
    return path == "/v1/chat/completions" or path == "/v1/models" or path.startswith("/v1/models/")


def openai_error(problem: Problem) -> dict[str, Any]:
    """`{"error": {message, type, param, code}}` of a problem, with `cost` in dollars where a question was asked."""
    kind = problem.type.rpartition(":")[2]
    code = None if problem.type == "about:blank" else _CODES.get(kind, kind.replace("-", "_"))
    param = problem.where.removeprefix("body.") if problem.where and problem.status in (400, 404, 413) else None
    cost = {} if problem.cost_usd is None else {"cost": problem.cost_usd}
    return {"error": {"message": problem.detail, "type": _type(problem.status), "param": param, "code": code, **cost}}


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"
