"""What the line that is written of a request says of its question: noted here by every way to an answer."""

from ragsaver.components.request import Request
from ragsaver.logs.observed import current_observed
from ragsaver.pipelines.result import AskResult
from ragsaver.spend.receipt import OpenReceipt


def observe_question(question: str, pipeline: str, request: Request, receipt: OpenReceipt | None = None) -> None:
    """A question is put to a pipeline.

    :param receipt: what it costs stands there, also if it fails.
    """
    observed = current_observed()
    if observed is not None:
        observed.asks(question, pipeline, request.scope.tenant, request.principal)
        if receipt is not None:
            observed.spent = lambda: receipt.close().cost_usd


def observe_answer(result: AskResult) -> AskResult:
    """It was answered; returns the answer."""
    observed = current_observed()
    if observed is not None:
        observed.answers(
            result.answer,
            tier=result.route.tier,
            cost_usd=result.receipt.cost_usd,
            saved_usd=result.receipt.saved_usd,
            cache=result.route.cache,
        )
    return result
