"""Was this asked before? Then nobody is asked again; and of those who ask the same at once, one is answered first."""

import asyncio
import threading
import time
import uuid
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ragsaver.caching.agreement import bundled_agreement
from ragsaver.caching.alike import Alike
from ragsaver.caching.entries import EntryStore, Key, Place
from ragsaver.caching.normalising import normalised
from ragsaver.caching.single_flight import Flights, Landed
from ragsaver.components.caches import Caches, place_of
from ragsaver.components.evidence import Evidence, gathering
from ragsaver.components.request import Request, running
from ragsaver.components.resources import Resources
from ragsaver.errors import SettingsError
from ragsaver.pipelines.checked_answers import CheckedAnswers
from ragsaver.pipelines.kept_answer import KeptAnswer, answer_to_keep
from ragsaver.pipelines.result import AskResult
from ragsaver.spend.fees import REFUSALS
from ragsaver.spend.receipt import OpenReceipt, open_receipt

_KIND = "answer"
# How often one looks whether another process is done.
_LOOK_S = 0.05

# Questions nearby that are looked at closely.
_CANDIDATES = 8

Pause = Future[Landed] | float


class AnswerCache:
    """The answers of one pipeline.

    :param fingerprint: of what decides about its answers.
    :raises SettingsError: if answers to questions in other words are wished of another embedding model.
    """

    def __init__(self, resources: Resources, fingerprint: str) -> None:
        self.resources = resources
        self.fingerprint = fingerprint
        self.flights: Flights[Key] = Flights()
        self.checked = CheckedAnswers()
        wishes = resources.settings.cache
        self.alike: Alike | None = None
        if wishes.answers == "semantic":
            if not resources.settings.embedding.is_bundled:
                raise SettingsError(
                    "`semantic` needs the bundled embedding model: what asks the same is told by a rule fitted to its "
                    "vectors",
                    where="cache.answers",
                    remedy="Set it to `exact`",
                )
            self.alike = Alike(wishes.max_entries)

    def turn(self, question: str, request: Request) -> "Turn | None":
        """This question's turn; None where no answer is kept."""
        caches = self.resources.caches
        if caches.answers is None or caches.truth is None or request.caching == "off":
            return None
        return Turn(self, caches.answers, question, request)


class Turn:
    """A question's way to its answer: it is there, or is made by this caller and kept for the next.

    Call `wait` (or `wait_async`), then read `found`; make the answer if it is None and `keep` it; `end` in any case.

    :ivar looked: what looking for it cost, for the request's receipt.
    :ivar nearby: what looking for it embedded; None while nobody looked.
    """

    def __init__(self, cache: AnswerCache, store: EntryStore, question: str, request: Request) -> None:
        self._cache = cache
        self._store = store
        self._question = question
        self._asked = normalised(question)
        self._request = request
        self._place: Place = place_of(request.scope)
        self._key = Key.of(self._place, _KIND, cache.fingerprint, request.wish, self._asked)
        self._shelf = Key.of(self._place, "shelf", cache.fingerprint, request.wish)
        self._owner = ""
        self._leads = self._claimed = self._ended = False
        self._landing = Landed.FAILED
        self._wait_s = self._caches.wishes.wait_s
        self._until = request.by(self._wait_s)
        self._stepping = threading.Lock()
        self.nearby: Evidence | None = None
        self.looked = OpenReceipt()
        self._looked_nearby = False
        self.found: KeptAnswer | None = None
        self.how: Literal["hit", "semantic", "miss"] = "miss"

    @property
    def _caches(self) -> Caches:
        return self._cache.resources.caches

    def wait(self) -> None:
        """Until the answer is there, or this caller has to make it."""
        while (pause := self._step()) is not None:
            try:
                self._pause(pause)
            except NotInTime:
                return

    async def wait_async(self) -> None:
        """The same, on the running event loop."""
        while (pause := await asyncio.to_thread(self._step)) is not None:
            try:
                await self._pause_async(pause)
            except TimeoutError:
                return

    def keep(self, result: AskResult, receipt: OpenReceipt, evidence: Evidence) -> None:
        """Keep a complete answer, if it can be known later whether it still holds."""
        caches, scope = self._caches, self._request.scope
        ttl_s = caches.wishes.ttl_s if result.answer is not None else caches.wishes.abstention_ttl_s
        self._landing = Landed.ALONE
        if caches.truth is None or ttl_s == 0:
            return
        kept = answer_to_keep(
            result,
            receipt,
            evidence,
            asked=self._asked,
            place=self._place,
            scope=scope,
            truth=caches.truth,
            outlive_additions=caches.wishes.outlive_additions,
            now=time.time(),
        )
        if kept is not None and self._store.put(self._key, kept.dump(), ttl_s):
            self._landing = Landed.KEPT
            alike = self._cache.alike
            if alike is not None and kept.answer is not None and (vector := self._own_vector()) is not None:
                alike.put(self._store, self._shelf, self._key, self._question, vector, ttl_s)

    def end(self) -> None:
        """Let those who wait go on: with what was kept, or the next of them makes the answer."""
        with self._stepping:
            self._ended = True
            if self._claimed:
                self._claimed = False
                self._store.release(self._key, self._owner)
            if self._leads:
                self._leads = False
                self._cache.flights.land(self._key, self._landing)

    def _own_vector(self) -> NDArray[np.float32] | None:
        """The question's; None where nobody pays for it any more."""
        try:
            return self._cache.resources.embed_question(self._question)
        except REFUSALS:
            return None

    def _pause(self, pause: Pause) -> None:
        caller = self._request.caller
        if caller is not None:
            caller.run(lambda: self._pause_async(pause))
        elif isinstance(pause, float):
            time.sleep(pause)
        else:
            self._landed(pause.result(self._left_s()))

    async def _pause_async(self, pause: Pause) -> None:
        if isinstance(pause, float):
            await asyncio.sleep(pause)
        else:
            flight = asyncio.shield(asyncio.wrap_future(pause))
            self._landed(await asyncio.wait_for(flight, self._left_s()))

    def _step(self) -> Pause | None:
        """One step; what to wait for before the next, None when there is nothing to wait for."""
        with self._stepping:
            if self._ended or self._request.caching == "refresh":
                return None
            if self._look() or self._look_nearby():
                return None
            if self._left_s() <= 0:
                self._caches.tally.count("answer", "misses")
                return None
            if not self._leads:
                flight = self._cache.flights.join(self._key)
                if flight is not None:
                    self._caches.tally.count("answer", "waits")
                    return flight
                self._leads = True
            self._owner = uuid.uuid4().hex
            self._claimed = self._store.claim(self._key, self._owner, self._wait_s)
            if not self._claimed:
                return min(_LOOK_S, self._left_s())
            # whoever had it before may just have kept the answer
            if not self._look():
                self._caches.tally.count("answer", "misses")
            return None

    def _look(self) -> bool:
        found = self._kept(self._key, self._asked)
        if found is None:
            return False
        self.found, self.how, self._landing = found, "hit", Landed.KEPT
        self._caches.tally.count("answer", "hits", found.cost_usd)
        return True

    def _look_nearby(self) -> bool:
        """Once: whether a question that asks the same in other words was answered."""
        alike = self._cache.alike
        if alike is None or self._looked_nearby:
            return False
        self._looked_nearby = True
        try:
            with running(self._request), open_receipt() as looking, gathering(Evidence()) as self.nearby:
                vector = self._cache.resources.embed_question(self._question)
        except REFUSALS:
            return False  # who makes the answer is refused, if that takes the vector too
        self.looked.take(looking)
        rule, reader = bundled_agreement(), self._request.scope.reader
        for near in alike.near(self._store, self._shelf, _KIND, vector, rule.cosine_at_least, _CANDIDATES):
            if not rule.holds(near.question, self._question, near.cosine, reader):
                continue
            found = self._kept(near.label, normalised(near.question))
            if found is None:
                alike.remove(self._shelf, near.label)
                continue
            self.found, self.how = found, "semantic"
            self._caches.tally.count("answer", "semantic_hits", found.cost_usd)
            return True
        return False

    def _kept(self, key: Key, asked: str) -> KeptAnswer | None:
        """The answer to what was asked, if there is one and it still holds; one that does not goes."""
        data = self._store.get(key)
        if data is None:
            return None
        checked = self._cache.checked
        known = checked.get(key, data)
        kept = known.kept if known else KeptAnswer.load(data)
        if kept is None or not kept.is_for(self._place, asked):
            return None
        if kept.service > self._request.pace.service:
            return None
        truth, scope = self._caches.truth, self._request.scope
        if truth is not None:
            mark = truth.mark(scope)
            if known is not None and known.holds(mark):
                return kept
            if kept.holds(scope, truth, self._cache.resources.index, mark):
                checked.put(key, data, kept, mark)
                return kept
        self._store.remove(key)
        self._caches.tally.count("answer", "invalidations")
        return None

    def _landed(self, how: Landed) -> None:
        if how is Landed.ALONE:
            self._until = 0.0

    def _left_s(self) -> float:
        return self._until - time.monotonic()
