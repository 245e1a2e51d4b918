"""What was spent, what is left, what an answer cost and what it would cost; each asker's own."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from ragsaver.access.identity import Identity, Permission
from ragsaver.components.answer_schema import read_schema
from ragsaver.errors import StorageUnavailable
from ragsaver.pipelines.estimating import CostEstimate, estimate
from ragsaver.pipelines.runtime import Runtime
from ragsaver.server.access import Asker, Shared, Spender
from ragsaver.server.asking import Wished, question_of
from ragsaver.server.conversation import require_history
from ragsaver.server.schemas import EstimateBody, Problem
from ragsaver.spend.budgets import Account
from ragsaver.spend.kept_receipts import AGAIN_S
from ragsaver.spend.reports import (
    BudgetsReport,
    By,
    KeptReceipt,
    UsageReport,
    budgets_report,
    find_receipt,
    usage_report,
)
from ragsaver.spend.since import seconds_of

_FLUSH_S = 2.0

router = APIRouter(prefix="/v1", responses={"default": {"model": Problem}})


@router.get("/usage")
async def usage(
    access: Shared,
    identity: Spender,
    since: Annotated[datetime | None, Query(description="in UTC if it says no zone; default: this month")] = None,
    by: Annotated[By, Query(description="what the lines are of")] = "model",
) -> UsageReport:
    """What was spent since a moment: by the key's principal, by the whole tenant where the key is for `admin`."""
    start = None if since is None else seconds_of(since, "query.since")
    return await access.query(
        lambda runtime: usage_report(
            runtime.resources.till.ledger,
            since=start,
            tenant=identity.tenant,
            principal=_alone(identity),
            by=by,
        )
    )


@router.get("/budgets")
async def budgets(access: Shared, identity: Spender) -> BudgetsReport:
    """How far the key's own budgets are used up; all of the tenant's where the key is for `admin`."""

    def report(runtime: Runtime) -> BudgetsReport:
        asker = Account(identity.tenant, identity.principal)
        of_tenant = budgets_report(runtime.resources.till.ledger, tenant=identity.tenant, known=[asker])
        principal = _alone(identity)
        if principal is None:
            return of_tenant
        mine = f"{identity.tenant}/{principal}"
        return BudgetsReport(
            budgets=tuple(line for line in of_tenant.budgets if (line.scope, line.name) == ("principal", mine))
        )

    return await access.query(report)


@router.get("/receipts/{request_id}")
async def receipt(request_id: str, access: Shared, identity: Spender) -> KeptReceipt:
    """The receipt of an answer, by the id that its response had in `x-request-id`."""

    def find(runtime: Runtime) -> KeptReceipt | None:
        till, principal = runtime.resources.till, _alone(identity)
        till.flush(_FLUSH_S)
        if till.receipt_is_open(identity.tenant, request_id, principal):
            raise StorageUnavailable(
                "the receipt is there, and the ledger could not be written yet",
                remedy="Try again: it is written as soon as the ledger can be",
                retry_after_s=AGAIN_S,
            )
        return find_receipt(till.ledger, identity.tenant, request_id, principal=principal)

    found = await access.query(find)
    if found is None:
        raise HTTPException(404, "there is no such receipt")
    return found


@router.post("/estimate")
async def cost_estimate(
    body: EstimateBody, access: Shared, identity: Asker, wishes: Wished, request: Request
) -> CostEstimate:
    """What an answer would cost, as a range, and whether it would be refused; no model is asked."""
    pipeline = identity.pipeline(body.pipeline)
    schema = await run_in_threadpool(read_schema, body.response_schema) if body.response_schema is not None else None
    history = tuple((turn.role, turn.content) for turn in body.history)

    def ask(runtime: Runtime) -> CostEstimate:
        require_history(history, runtime.settings.query.max_history_chars, "history")
        asked = question_of(
            runtime,
            identity,
            body.collection,
            request.state.request_id,
            wishes,
            history=history,
            max_output_tokens=body.max_output_tokens,
            schema=schema,
        )
        return estimate(runtime.engine(pipeline).prompt(body.query, asked), runtime.resources)

    return await access.query(ask)


def _alone(identity: Identity) -> str | None:
    """Whose spending it may see; None is all of the tenant's."""
    return None if Permission.ADMIN in identity.permissions else identity.principal
