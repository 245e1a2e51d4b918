"""Rerank the best passages where it is likely to help, within a deadline, and say on the receipt what was done."""

from dataclasses import replace

from haystack import Document, component

from ragsaver.components.account import account_foreseen, current_purse
from ragsaver.components.explain import current_explanation
from ragsaver.components.forecast import Forecast, current_forecast
from ragsaver.components.passages import Passages
from ragsaver.components.request import current_pace, current_request, stage
from ragsaver.components.rerank_order import new_order
from ragsaver.components.rerank_told import Reranked, unpaid
from ragsaver.components.rerank_watch import ANSWERED
from ragsaver.components.resources import Bound
from ragsaver.errors import StorageError
from ragsaver.settings import Settings
from ragsaver.spend.fees import REFUSALS
from ragsaver.spend.money import charged, dollars
from ragsaver.spend.pacing import Service
from ragsaver.spend.receipt import current_receipt

MODES = ("never", "always", "gated")
FREE = "free"


@component
class ConditionalReranker(Bound):
    """Put the passages into another order if the gate expects a better one.

    ```python
    reranker = ConditionalReranker(mode="gated")
    passages = reranker.run("Who may sign a contract?", passages)["documents"]
    ```

    Which reranker, its deadline and its price are in the settings under `rerank`. If it fails or is late, the
    passages come back as they were.

    :param mode: `never`, `always` or `gated`; `rerank.mode` if None.
    :param top_n: passages that are looked at; `rerank.top_n` if None.
    :param otherwise: the mode where neither this pipeline nor the settings name one; `free` is `gated` where that takes
        no run of a model and a gate is shipped for it, else `never`.
    :raises ValueError: if one is none of these.
    """

    def __init__(self, mode: str | None = None, top_n: int | None = None, otherwise: str = "never") -> None:
        for name, given, known in (("mode", mode, MODES), ("otherwise", otherwise, (*MODES, FREE))):
            if given is not None and given not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {given}")
        if top_n is not None and top_n < 2:
            raise ValueError(f"top_n must be at least 2, got {top_n}")
        self.mode = mode
        self.top_n = top_n
        self.otherwise = otherwise

    @property
    def reranks(self) -> bool:
        """Whether it may put passages into another order, once it is bound."""
        return self._mode() != "never"

    @property
    def insists(self) -> bool:
        """Whether its pipeline is to be reranked, whatever it is that answers."""
        return self.mode is not None or self.otherwise != FREE

    def mode_by(self, settings: Settings) -> str:
        """`never`, `always` or `gated`: this pipeline's, else that of the settings."""
        mode = self.mode or settings.rerank.mode or self.otherwise
        return mode if mode != FREE else "gated" if _is_free(settings) else "never"

    def warm_up(self) -> None:
        """Open the reranker and the gate, so that what is wrong with them is told before the first question."""
        if self._bound is not None:
            self.resources.reranking.open(self._mode())

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document]) -> dict[str, Passages]:
        """The same passages; those that were reranked have new scores, within the range of the old ones.

        :param query: the question.
        :param documents: passages, best first.
        """
        top = Passages(documents[: self.top_n or self.resources.settings.rerank.top_n])
        mode = self._mode()
        explanation = current_explanation()
        if mode == "never" or len(top) < 2:
            if explanation:
                explanation.rerank = "not asked: " + ("it is off" if mode == "never" else "there is no other order")
            return {"documents": Passages(documents)}
        reranking = self.resources.reranking
        reranking.open(mode)
        pace = current_pace()
        if pace.service >= Service.NO_RERANK and reranking.costs:
            reason = f"not asked: {pace.why}"
            current_receipt().add("rerank", reranking.reranker.name, 0, "passages", reason=reason)
            if explanation:
                explanation.rerank = reason
            return {"documents": Passages(documents)}
        if reranking.costs and (forecast := current_forecast()):
            self._foresee(query, top, forecast)
            return {"documents": Passages(documents)}
        with stage("rerank"):
            purse = current_purse(self.resources.till) if reranking.costs else None
            outcome = reranking.rerank(query, top, self.scope, mode, purse)
        self._show(outcome, len(top))
        if outcome.scores is None:
            return {"documents": Passages(documents)}
        scores = outcome.scores
        best = Passages(replace(top[position], score=scores[position]) for position in new_order(scores))
        ordered = best + documents[len(top) :]
        if explanation:
            explanation.order(ordered, reranked=len(best))
        return {"documents": ordered}

    def _foresee(self, query: str, top: Passages, forecast: Forecast) -> None:
        """Note what asking the reranker would cost, where that would be paid."""
        reranking, request, till = self.resources.reranking, current_request(), self.resources.till
        account = till.nobody() if request is None else account_foreseen(request, current_receipt())
        try:
            usd = dollars(charged(reranking.price(query, [passage.content or "" for passage in top])))
            till.purse(account).foresee(usd)
        except (*REFUSALS, StorageError) as error:
            self._show(unpaid(error), 0)
            return
        forecast.note(usd, "reranking")
        forecast.other_passages = True

    def _show(self, outcome: Reranked, passages: int) -> None:
        """Tell the receipt, and who wants an explanation, what became of it."""
        reranking, reason = self.resources.reranking, f"{outcome.decision}: {outcome.reason}"
        if outcome.cost_usd and (price := reranking.listed):
            reason += f"; price by {price.origin}"
            if not price.known:
                self.resources.till.upper_charges.count(reranking.reranker.name)
        current_receipt().add(
            "rerank",
            reranking.reranker.name,
            passages if outcome.decision in ANSWERED else 0,
            "passages",
            cost_usd=dollars(charged(outcome.cost_usd)),
            reason=reason,
            paid=True,
        )
        if explanation := current_explanation():
            explanation.rerank = reason

    def _mode(self) -> str:
        return self.mode_by(self.resources.settings)


def _is_free(settings: Settings) -> bool:
    """Whether what MaxSim reads of passages and question is there since they were embedded, and the shipped gate was
    tuned so.
    """
    kept = settings.embedding_cache.keeps_tokens and settings.context.match != "words"
    read = settings.embedding.backend == "onnx" and kept
    fitted = settings.embedding.is_bundled and settings.retrieval.fusion == "minmax"
    return read and fitted and settings.rerank.backend == "maxsim"
