"""A question over HTTP becomes the pipeline's request: scope and principal by the key, wishes by the headers."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Annotated

from fastapi import Depends, Header
from fastapi import Request as HTTPRequest

from ragsaver.access.identity import Identity
from ragsaver.components.answer_schema import AnswerSchema
from ragsaver.components.caller import Caller
from ragsaver.components.request import Caching, Quality, Request
from ragsaver.errors import UsageError
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import reading

_MAX_COST = "x-ragsaver-max-cost"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a caller asks for besides an answer.

    :ivar deadline: of `time.monotonic()`, from which on nobody waits for it.
    """

    max_cost: Decimal | None = None
    quality: Quality = "balanced"
    caching: Caching = "use"
    deadline: float | None = None


async def _patience(
    x_ragsaver_deadline: Annotated[
        float | None, Header(gt=0, le=86_400, description="seconds that the answer may take")
    ] = None,
    cache_control: Annotated[
        str, Header(description="`no-cache` for a fresh answer, `no-store` for one that is not kept either")
    ] = "",
) -> Wishes:
    deadline = None if x_ragsaver_deadline is None else time.monotonic() + x_ragsaver_deadline
    return Wishes(caching=caching_of(cache_control), deadline=deadline)


Patient = Annotated[Wishes, Depends(_patience)]


async def _frugality(
    patient: Patient,
    request: HTTPRequest,
    x_ragsaver_max_cost: Annotated[
        Decimal | None, Header(ge=0, le=1_000_000, description="dollars that the request may cost")
    ] = None,
) -> Wishes:
    if len(request.headers.getlist(_MAX_COST)) > 1:
        raise UsageError(
            "it was sent more than once", where=f"header.{_MAX_COST}", remedy="Send one: the most that it may cost"
        )
    return replace(patient, max_cost=x_ragsaver_max_cost)


# What may be wished of passages alone: how long they may take, what they may cost, and whether they may be kept ones.
Frugal = Annotated[Wishes, Depends(_frugality)]


async def _wishes(
    frugal: Frugal,
    x_ragsaver_quality: Annotated[Quality, Header(description="what to spend on the answer")] = "balanced",
) -> Wishes:
    return replace(frugal, quality=x_ragsaver_quality)


def caching_of(cache_control: str) -> Caching:
    """What a request's `cache-control` says (RFC 9111)."""
    wished = cache_control.lower()
    return "off" if "no-store" in wished else "refresh" if "no-cache" in wished else "use"


Wished = Annotated[Wishes, Depends(_wishes)]


def question_of(
    runtime: Runtime,
    identity: Identity,
    collection: str | None,
    request_id: str,
    wishes: Wishes | None = None,
    *,
    history: tuple[tuple[str, str], ...] = (),
    max_output_tokens: int | None = None,
    schema: AnswerSchema | None = None,
    caller: Caller | None = None,
    on_rung: Callable[[str], None] | None = None,
) -> Request:
    """The pipeline's request."""
    wishes = wishes or Wishes()
    return Request(
        reading(runtime, identity, collection),
        principal=identity.principal,
        deadline=wishes.deadline,
        request_id=request_id,
        max_cost=wishes.max_cost,
        quality=wishes.quality,
        caching=wishes.caching,
        history=history,
        max_output_tokens=max_output_tokens,
        response_schema=schema,
        guarded=not identity.trusted,
        caller=caller,
        on_rung=on_rung,
    )
