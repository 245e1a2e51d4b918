"""One reranker for all pipelines of a process: opened once, asked under a deadline, left alone while it fails."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.document_values import score_of, text_of
from ragsaver.components.evidence import current_evidence
from ragsaver.components.rerank_features import features
from ragsaver.components.rerank_gate import Gate, Recent, Weighed, load_gate
from ragsaver.components.rerank_order import left_behind, mix, new_order
from ragsaver.components.rerank_told import Reranked, Verdict, told_of, unpaid, without_time
from ragsaver.components.rerank_watch import RerankWatch, Sample
from ragsaver.deadline import allowed_s
from ragsaver.errors import (
    MissingExtra,
    RagSaverError,
    RerankError,
    RerankLate,
    RerankRefused,
    SettingsError,
    StorageError,
    UnknownPrice,
)
from ragsaver.index.scope import Scope
from ragsaver.models.protocol import Encoder
from ragsaver.models.rerankers.maxsim import MaxSimReranker, TokenStore
from ragsaver.models.rerankers.opening import open_maxsim, open_reranker
from ragsaver.models.rerankers.protocol import NO_LIMIT, Reranker
from ragsaver.settings import Settings
from ragsaver.spend.fees import REFUSALS, Fee, Purse
from ragsaver.spend.ledger import DONE, NOTHING, UNKNOWN
from ragsaver.spend.price import Price
from ragsaver.spend.prices import PriceBook
from ragsaver.spend.receipt import ZERO

if TYPE_CHECKING:
    from haystack import Document

_THREADS = 4
_FAILURES = 3  # in a row, after which it is left alone
_PAUSE_S = 30.0
_LET_DOWN = ("late", "failed", "paused", "unpaid")  # another time the answer may be better
_SAMPLE_S = 30.0  # that a sample may take
_STAGE = "rerank"
_SAMPLED = "rerank-sample"
_UNBILLED = (RerankRefused, SettingsError, MissingExtra)  # nobody was asked, or nobody answered


class Reranking:
    """The reranker and the gate of the settings, opened at the first use.

    :param encoder: the embedding model, for MaxSim and for counting.
    :param prices: for one whose price the settings don't have with it; the settings' own book if None.
    :param store: where what was read of passages' tokens is kept; None if nowhere.
    :param embed: has a question's own tokens told to its evidence, by the run that embeds it or by what is kept of it.
    """

    def __init__(
        self,
        settings: Settings,
        encoder: Encoder,
        prices: PriceBook | None = None,
        store: TokenStore | None = None,
        embed: Callable[[str], object] = lambda question: None,
    ) -> None:
        self._store = store
        self._embed = embed
        self._settings = settings.rerank
        self._spend = settings.spend
        self._prices = prices or PriceBook.of(settings.spend)
        self._embedding = settings.embedding
        self._encoder = encoder
        self._lock = threading.Lock()
        self._failures = 0
        self._paused_until = 0.0
        self.watch = RerankWatch()

    def open(self, mode: str) -> None:
        """Open what a mode needs.

        :raises SettingsError: if the settings name no reranker that is there, or a gate that is another one's.
        """
        if mode == "never":
            return
        with self._lock:
            name = self.reranker.name
            if mode == "gated" and self.gate.reranker != name:
                raise SettingsError(
                    f"this gate was tuned for `{self.gate.reranker}`, not for `{name}`",
                    where="rerank.gate",
                    remedy="Tune one with `ragsaver eval tune-gate --dataset DIR --out gate.json` and set "
                    "`rerank.gate` to that file, or set `rerank.mode` to `always`",
                )
            _ = self.weight  # the gate's file, if it is read for that

    def probe(self, mode: str) -> str:
        """Open it and ask it once, before any question does: its name.

        :raises RagSaverError: if it can't be asked, or fails.
        """
        self.open(mode)
        name = self.reranker.name
        try:
            _checked(self.reranker.score("a question", ["a passage"], until=time.monotonic() + _SAMPLE_S), 1, name)
        except RagSaverError:
            raise
        except Exception as error:
            raise RerankError(f"raised {type(error).__name__}: {error}", where=name) from error
        return name

    @cached_property
    def reranker(self) -> Reranker:
        """The one that the settings name."""
        if self._settings.backend == "maxsim":
            return self.tokens
        return open_reranker(self._settings, self._embedding, self._encoder)

    @cached_property
    def tokens(self) -> MaxSimReranker:
        """What reads passages by the token: the reranker itself, where it does.

        :raises SettingsError: if the embedding model gives no token vectors.
        """
        return open_maxsim(self._settings, self._embedding, self._encoder, store=self._store)

    @cached_property
    def gate(self) -> Gate:
        """The one that the settings name."""
        return load_gate(self._settings.gate)

    @cached_property
    def _recent(self) -> Recent:
        return Recent(self.gate.chances)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="rerank")

    @property
    def weight(self) -> float:
        """Share of the reranker's score in the new order."""
        if self._settings.weight is not None:
            return self._settings.weight
        return self.gate.weight if self.gate.reranker == self.reranker.name else 1.0

    @property
    def costs(self) -> bool:
        """Whether a call is paid for."""
        found = self.listed
        if found is not None:
            return bool(found.worst(1, 0))
        return bool(self._settings.usd_per_1k_calls or self._settings.usd_per_mtok)

    @property
    def listed(self) -> Price | None:
        """What a language model of its name costs, where the settings have no price with it; None where they do."""
        return None if self._settings.is_priced else self._prices.price(self.reranker.name)

    def judge(self, question: str, passages: Sequence["Document"], scope: Scope) -> Verdict:
        """Ask the gate; microseconds to a few milliseconds.

        :param passages: best first.
        """
        gate = self.gate
        seen = features(question, passages[: gate.top_n], scope.tenant)
        chance = gate.chance(seen)
        share = gate.max_share if self.watch.misses_more_than(gate.skipped_moved, scope.tenant) else gate.share
        bar = self._recent.threshold(scope, chance, share)
        if chance > bar:
            return Verdict(True, f"a chance of {chance:.2f} that it helps, above {bar:.2f}", seen)
        return Verdict(False, f"a chance of {chance:.2f} that it helps, not above {max(min(bar, 1.0), 0.0):.2f}", seen)

    def rerank(
        self, question: str, passages: Sequence["Document"], scope: Scope, mode: str, purse: Purse | None = None
    ) -> Reranked:
        """Ask the gate if `mode` is `gated`, then the reranker; whatever fails, the order that there was stays.

        :param passages: best first, those only that are to be looked at.
        :param purse: who pays; None where nobody is billed.
        """
        verdict = self.judge(question, passages, scope) if mode == "gated" else Verdict(True, "always reranked")
        if verdict.rerank:
            outcome = self._asked(question, passages, scope, verdict, purse)
        else:
            outcome = Reranked("skipped", verdict.reason)
            if random.random() < self._settings.sample_skipped:
                self._sample_later(question, passages, scope, verdict, purse)
        self.watch.decided(outcome.decision)
        if outcome.decision in _LET_DOWN and outcome.passing and (evidence := current_evidence()):
            evidence.spoil(f"the reranker was {outcome.decision}")
        return outcome

    def scoring(
        self, question: str, passages: Sequence["Document"], scope: Scope, until: float = NO_LIMIT
    ) -> Callable[[], NDArray[np.float32]]:
        """A call of the reranker that gives each passage's score, for any thread: nothing of it is done yet.

        :param until: when by the monotonic clock it gives up.
        """
        reranker = self.reranker
        if not isinstance(reranker, MaxSimReranker):
            texts = [passage.content or "" for passage in passages]
            return partial(reranker.score, question, texts, until=until, tenant=scope.tenant)
        evidence = current_evidence()
        if evidence is not None and question not in evidence.tokens:  # its passages were kept
            with suppress(StorageError, *REFUSALS):
                self._embed(question)
        return partial(
            reranker.score_passages,
            question,
            [text_of(passage) for passage in passages],
            until=until,
            tenant=scope.tenant,
            asked=evidence.tokens.get(question) if evidence else None,
        )

    def price(self, question: str, texts: Sequence[str]) -> Decimal:
        """Dollars for one call.

        :raises UnknownPrice: if nobody knows it, and the settings want no guess.
        """
        found = self.listed
        if found is not None:
            if not found.known and self._spend.unknown_price == "refuse":
                raise UnknownPrice(
                    f"`{found.model}` is on no price list",
                    where="spend.unknown_price",
                    remedy="Set `rerank.usd_per_1k_calls`, 0 for a server of your own",
                )
            return found.worst(self._tokens(question, texts), 0)
        cost = (self._settings.usd_per_1k_calls or ZERO) / 1000
        if self._settings.usd_per_mtok:
            cost += self._tokens(question, texts) * self._settings.usd_per_mtok / 1_000_000
        return cost

    def close(self) -> None:
        """End the threads and the connections."""
        self.watch.close()
        if "_pool" in self.__dict__:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if "reranker" in self.__dict__:
            self.reranker.close()

    def _tokens(self, question: str, texts: Sequence[str]) -> int:
        asked, *tokens = self._encoder.count_tokens([question, *texts])
        return sum(tokens) + len(texts) * asked

    def _asked(
        self, question: str, passages: Sequence["Document"], scope: Scope, verdict: Verdict, purse: Purse | None
    ) -> Reranked:
        with self._lock:
            if time.monotonic() < self._paused_until:
                return Reranked(
                    "paused", f"it failed {_FAILURES} times in a row and is left alone for {_PAUSE_S:.0f} s"
                )
        texts = [passage.content or "" for passage in passages]
        own_s = self._settings.deadline_ms / 1000
        if not allowed_s(own_s):
            return without_time()
        if not self.costs:
            return self._called(question, passages, scope, verdict)[0]
        try:
            usd = self.price(question, texts)
            fee = purse.reserve(self.reranker.name, _STAGE, usd, own_s) if purse else None
        except (*REFUSALS, StorageError) as error:
            return unpaid(error)
        outcome = UNKNOWN
        try:
            reranked, outcome = self._called(question, passages, scope, verdict)
        finally:
            cost_usd = _settled(fee, usd, outcome)
        return replace(reranked, cost_usd=cost_usd)

    def _called(
        self, question: str, passages: Sequence["Document"], scope: Scope, verdict: Verdict
    ) -> tuple[Reranked, str]:
        """What the reranker said, and who may bill it."""
        own_s = self._settings.deadline_ms / 1000
        has_s = allowed_s(own_s)
        if not has_s:
            return without_time(), NOTHING
        until = time.monotonic() + has_s
        call = self._pool.submit(self.scoring(question, passages, scope, until))
        try:
            found = _checked(call.result(has_s), len(passages), self.reranker.name)
        except (NotInTime, RerankLate):
            begun = not call.cancel()
            if has_s == own_s:
                self._failed()
                limit = f"{self._settings.deadline_ms:g} ms"
            else:  # the reranker may be as fast as ever
                limit = f"the {has_s * 1000:.0f} ms that the request had left"
            late = "not done" if begun else "not begun, since all its threads are busy,"
            return Reranked("late", f"{late} within {limit}: the order stays"), UNKNOWN if begun else NOTHING
        except Exception as error:  # a model or a server of anybody's may raise anything
            self._failed()
            told = f"{told_of(error)}: the order stays"
            return Reranked("failed", told), NOTHING if isinstance(error, _UNBILLED) else UNKNOWN
        with self._lock:
            self._failures = 0
        weighed = self._weighed(verdict, passages, found)
        if weighed.taken:
            return Reranked("reranked", verdict.reason, weighed.scores), DONE
        why = f"{verdict.reason}; a chance of {weighed.chance:.2f} that its order is better: the order stays"
        return Reranked("kept", why), DONE

    def _weighed(self, verdict: Verdict, passages: Sequence["Document"], found: NDArray[np.float32]) -> Weighed:
        fused, reranked = [score_of(passage) for passage in passages], found.tolist()
        if verdict.seen is None:
            return Weighed(mix(fused, reranked, self.weight), 1.0)
        return self.gate.weigh(verdict.seen, fused, reranked, self.weight)

    def _failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= _FAILURES:
                self._failures = 0
                self._paused_until = time.monotonic() + _PAUSE_S

    def _sample_later(
        self, question: str, passages: Sequence["Document"], scope: Scope, verdict: Verdict, purse: Purse | None
    ) -> None:
        if purse and self.costs:
            purse = purse.beside(_SAMPLED)
            if purse is None:
                return
        self.watch.sample_later(lambda: self._sample(question, passages, scope, verdict, purse), scope.tenant)

    def _sample(
        self, question: str, passages: Sequence["Document"], scope: Scope, verdict: Verdict, purse: Purse | None
    ) -> Sample:
        texts = [passage.content or "" for passage in passages]
        usd = self.price(question, texts)
        fee = purse.reserve(self.reranker.name, _SAMPLED, usd, _SAMPLE_S) if purse and usd else None
        outcome = UNKNOWN
        try:
            scored = self.scoring(question, passages, scope, time.monotonic() + _SAMPLE_S)()
            outcome = DONE
            found = _checked(scored, len(texts), self.reranker.name)
        except _UNBILLED:
            outcome = NOTHING
            raise
        finally:
            cost_usd = _settled(fee, usd, outcome)
        weighed = self._weighed(verdict, passages, found)
        if not weighed.taken:
            return Sample(moved=False, left_behind=0.0, cost_usd=cost_usd)
        return Sample(new_order(weighed.scores)[0] != 0, left_behind(weighed.scores), cost_usd)


def _settled(fee: Fee | None, usd: Decimal, outcome: str) -> Decimal:
    """Dollars that a call is charged."""
    if fee is not None:
        return fee.settle(outcome)
    return ZERO if outcome == NOTHING else usd


def _checked(scores: NDArray[np.float32], count: int, name: str) -> NDArray[np.float32]:
    """One number for each text, or an error: an order made of anything else would look like any other."""
    if scores.shape != (count,) or not np.isfinite(scores).all():
        raise RerankError(f"did not give one number for each of {count} texts", where=name)
    return scores
