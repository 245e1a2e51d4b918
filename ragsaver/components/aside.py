"""A small call beside the answer: a language model helps with a conversation, where it is allowed and answers in time.

Each is paid for like an answer: reserved, settled, on the receipt. What comes of it is kept, for the asker's tenant and
groups alone, so that it is paid for once. Where there is none the caller has rules that cost nothing.
"""

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal

from haystack.dataclasses import ChatMessage, StreamingChunk

from ragsaver.caching.entries import EntryStore, Key
from ragsaver.components.caches import place_of
from ragsaver.components.chat import ChatTier
from ragsaver.components.chat import place_of as endpoint_of
from ragsaver.components.chat_reply import ChatReply
from ragsaver.components.request import Request, current_request, running, stage
from ragsaver.components.resources import Resources
from ragsaver.components.slots import slots_of
from ragsaver.components.worst_case import WorstCase
from ragsaver.deadline import time_left_s
from ragsaver.errors import RagSaverError
from ragsaver.spend.pacing import Service
from ragsaver.spend.receipt import current_receipt

STAGE = "conversation"

# After a call that failed nobody makes the same one for so long.
_REST_S = 60.0
# Of the time that a request has left, most stays for its answer.
_SHARE = 0.5
_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Wish:
    """One call to make.

    :ivar key: what its outcome is kept under.
    :ivar data: what others wrote, between marks that it can't write.
    :ivar why: for the receipt.
    :ivar read: what is made of the reply, without the model's thoughts; empty if nothing can be.
    """

    key: Key
    instructions: str
    data: str
    why: str
    read: Callable[[str, bool], str]


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of it; `problem` says why `text` is empty."""

    text: str
    problem: str = ""


class Aside:
    """The model that `generation.conversation` names, for one task. Any thread or task may use it.

    :param task: answers to it are about as long as each other.
    :param max_tokens: of its reply.
    """

    def __init__(self, resources: Resources, task: str, max_tokens: int) -> None:
        wishes = resources.settings.generation
        names = wishes.tier_names
        place = names.index(wishes.conversation.tier) if wishes.conversation.tier else 0
        model = wishes.models[place]
        limits = {"max_output_tokens": max_tokens, "max_retries": 0, "logprobs": False}
        self._tier = ChatTier(
            model.model_copy(update=limits),
            resources.encoder.count_tokens,
            resources.till,
            tier=names[place],
            task=task,
        )
        self._caches = resources.caches
        self._slots = slots_of(endpoint_of(model), model.concurrency)
        self._timeout_s = wishes.conversation.timeout_s
        made_at = model.generator.model_dump_json() if model.generator is not None else model.base_url or ""
        self._made_by = (model.name, made_at, str(model.temperature), str(max_tokens))
        self._task = task
        self._under_way: set[Key] = set()
        self._entering = threading.Lock()
        self._worst = WorstCase(resources, model, task)
        self.price = resources.prices.price(model.name)

    def key(self, request: Request, instructions: str, content: str) -> Key:
        """What is kept for this tenant and these groups, of this content."""
        return Key.of(place_of(request.scope), self._task, *self._made_by, instructions, content)

    def keeps(self, request: Request) -> bool:
        """Whether what comes of a call is there the next time."""
        return self._store(request) is not None

    def kept(self, request: Request, key: Key) -> str | None:
        """What came of a call before: empty if nothing did, None if there was none."""
        store = self._store(request)
        found = store.get(key) if store is not None else None
        return None if found is None else found.decode()

    def forbidden(self, request: Request) -> str | None:
        """Why this request may make no such call; None if it may."""
        if request.pace.service > Service.FULL:
            return request.pace.why
        if request.max_cost is not None:
            return "what the request may cost at most is left to its answer"
        if request.quality == "minimum":
            return "the cheapest answer was asked for"
        return None

    def most_usd(self, wish: Wish) -> Decimal:
        """Dollars that the call may be charged: it is made once."""
        bound = self._worst.bound([wish.instructions, wish.data])
        return self._worst.usd(bound, self._tier.settings.max_output_tokens)

    def ask(self, wish: Wish) -> Heard:
        """Make the call, or say why nothing came of it."""
        with stage(STAGE), self._alone(wish) as request:
            if request is None:
                return _BUSY
            end = time.monotonic() + self._time_s()
            try:
                with self._slots.slot(_left_s(end)), _told(wish, self._tier, request):
                    # streamed, so that it ends in time however slowly it drips
                    reply = self._tier.reply(_messages(wish), _listen, timeout_s=_left_s(end))
            except (RagSaverError, TimeoutError) as error:
                return self._failed(request, wish, error)
            return self._taken(request, wish, reply)

    async def ask_async(self, wish: Wish) -> Heard:
        """The same on the running event loop."""
        with stage(STAGE), self._alone(wish) as request:
            if request is None:
                return _BUSY
            end = time.monotonic() + self._time_s()
            try:
                async with self._slots.slot_async(_left_s(end)):
                    with _told(wish, self._tier, request):
                        reply = await self._tier.reply_async(_messages(wish), timeout_s=_left_s(end))
            except (RagSaverError, TimeoutError) as error:
                return self._failed(request, wish, error)
            return self._taken(request, wish, reply)

    def _taken(self, request: Request, wish: Wish, reply: ChatReply) -> Heard:
        text = wish.read(_THOUGHTS.sub("", reply.text).strip(), reply.finish_reason != "length")
        self._keep(request, wish.key, text, self._caches.wishes.ttl_s)
        return Heard(text, "" if text else f"the reply of {self._tier.settings.name} can't be used")

    def _failed(self, request: Request, wish: Wish, error: RagSaverError | TimeoutError) -> Heard:
        self._keep(request, wish.key, "", _REST_S)
        problem = error.problem if isinstance(error, RagSaverError) else "there was no time, or no free slot, to ask it"
        return Heard("", f"{self._tier.settings.name}: {problem}")

    def _keep(self, request: Request, key: Key, text: str, ttl_s: float) -> None:
        store = self._store(request)
        if store is not None:
            store.put(key, text.encode(), ttl_s)

    def _store(self, request: Request) -> EntryStore | None:
        return None if request.caching == "off" else self._caches.lookups

    def _time_s(self) -> float:
        left = time_left_s()
        return self._timeout_s if left is None else min(self._timeout_s, max(left, 0.0) * _SHARE)

    @contextmanager
    def _alone(self, wish: Wish) -> Iterator[Request | None]:
        """The running request; None while another one makes the same call."""
        request, owner = current_request(), uuid.uuid4().hex
        store = self._store(request) if request is not None else None
        with self._entering:
            free = request is not None and wish.key not in self._under_way
            if free:
                self._under_way.add(wish.key)
        if not free:
            yield None
            return
        claimed = False
        try:
            claimed = store is None or store.claim(wish.key, owner, 2 * self._timeout_s)
            yield request if claimed else None
        finally:
            if store is not None and claimed:
                store.release(wish.key, owner)
            with self._entering:
                self._under_way.discard(wish.key)


_BUSY = Heard("", "another question is asking the same just now")


@contextmanager
def _told(wish: Wish, tier: ChatTier, request: Request) -> Iterator[None]:
    """The call on the receipt; what the baseline compares stays the answer's."""
    receipt = current_receipt()
    receipt.add("route", f"{tier.tier}: {tier.settings.name}", 1, "calls", reason=wish.why)
    answers = receipt.prompt_tokens, receipt.answer_tokens
    try:
        with running(replace(request, max_output_tokens=None)):
            yield
    finally:
        receipt.prompt_tokens, receipt.answer_tokens = answers


def _left_s(end: float) -> float:
    """Seconds until then, as long as there are any.

    :raises TimeoutError: if there are none.
    """
    left_s = end - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _messages(wish: Wish) -> list[ChatMessage]:
    return [ChatMessage.from_system(wish.instructions), ChatMessage.from_user(wish.data)]


def _listen(chunk: StreamingChunk) -> None:
    pass
