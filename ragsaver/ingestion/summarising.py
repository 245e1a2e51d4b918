"""Summaries of sections: from the cache, else by a language model, a few sections at a time.

A summary is written down as soon as it is there, so that what stops an ingestion afterwards costs nothing. A section
that gets none keeps its central sentence, and its document is outlined again by the next ingestion.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from ragsaver.caching.opening import open_summary_cache
from ragsaver.caching.summaries import KeptSummary, SummaryCache
from ragsaver.ingestion.asking import Answer, Asking, Reply, Summariser, Tokens
from ragsaver.ingestion.summaries import INSTRUCTIONS, Section, as_data, fingerprint, kept
from ragsaver.settings import OutlineSettings, Settings
from ragsaver.spend.money import charged, dollars
from ragsaver.spend.price import Price
from ragsaver.spend.prices import PriceBook


@dataclass(frozen=True, slots=True)
class Summarised:
    """What summaries took.

    :ivar made: sections that were summarised now; `cached` ones were before, `lacking` ones have no summary.
    :ivar calls: of the language model, those that failed too.
    :ivar tokens: of all calls.
    :ivar cost_usd: that they were charged, each in whole micro-dollars.
    :ivar saved: tokens that the cached ones would have taken.
    :ivar problem: of one of those that lack a summary.
    """

    made: int = 0
    cached: int = 0
    lacking: int = 0
    calls: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    saved: Tokens = field(default_factory=Tokens)
    problem: str = ""
    cost_usd: Decimal = Decimal(0)

    def __add__(self, other: "Summarised") -> "Summarised":
        return Summarised(
            self.made + other.made,
            self.cached + other.cached,
            self.lacking + other.lacking,
            self.calls + other.calls,
            self.tokens + other.tokens,
            self.saved + other.saved,
            self.problem or other.problem,
            self.cost_usd + other.cost_usd,
        )


class Charge(NamedTuple):
    """What one section of a document took.

    :ivar section: id of its first chunk.
    """

    document_id: str
    section: str
    took: Summarised


# Told what sections took. One that was asked for is told by itself, before its summary is kept: if the process ends
# in between, it is asked for again, and told again.
Bill = Callable[[Sequence[Charge]], None]
_Note = Callable[[Sequence[tuple[Section, Summarised]]], None]


class Allowance:
    """What the summaries of a run may cost: the worst is reserved before a call, and settled after it.

    :param usd: None sets no limit.
    """

    def __init__(self, usd: Decimal | None = None) -> None:
        self._left = usd
        self._counting = threading.Lock()

    def reserve(self, usd: Decimal) -> bool:
        """Whether that much is left; it is taken then."""
        with self._counting:
            if self._left is None:
                return True
            if usd > self._left:
                return False
            self._left -= usd
            return True

    def settle(self, reserved: Decimal, spent: Decimal) -> None:
        """A call is over: give back what it did not take."""
        with self._counting:
            if self._left is not None:
                self._left += reserved - spent


class Summaries:
    """Knows, or finds out, what sections say.

    :param summariser: the language model; None where only what was summarised before is wanted.
    :param price: of its tokens.
    :param asking: how patiently it is asked; as the settings say if None.
    """

    def __init__(
        self,
        settings: OutlineSettings,
        cache: SummaryCache,
        summariser: Summariser | None,
        price: Price,
        asking: Asking | None = None,
    ) -> None:
        self.settings = settings
        self.price = price
        self.name = fingerprint(settings)
        self._cache = cache
        self._summariser = summariser
        self._asking = asking or Asking(settings.summary_attempts, settings.summary_deadline_s)
        self._threads = ThreadPoolExecutor(settings.summary_concurrency, "summaries")

    @property
    def asks(self) -> bool:
        """Whether there is a model to ask."""
        return self._summariser is not None

    def of(
        self,
        partition: str,
        sections: Sequence[Section],
        allowance: Allowance | None = None,
        note: _Note = lambda some: None,
    ) -> tuple[dict[str, str], Summarised]:
        """The summaries that there are now, by hash, and what they took.

        :param partition: of the cache, as the embedding cache has them.
        :param note: told what each section took, each once; from several threads.
        :raises StorageError: if the disk refuses to keep one.
        """
        there = self._cache.get(partition, list({section.hash for section in sections}))
        lacking: dict[str, Section] = {}
        for section in sections:
            if section.hash not in there:
                lacking.setdefault(section.hash, section)
        answers = self._ask(partition, list(lacking.values()), allowance or Allowance(), note)
        texts = {name: one.text for name, one in there.items()}
        texts.update((name, answer.text) for name, answer in answers.items() if answer.text)
        took = list(zip(sections, _each(sections, there, answers), strict=True))
        asked = {id(section) for section in lacking.values()} if self.asks else set()
        note([(section, one) for section, one in took if id(section) not in asked])
        return texts, sum((one for _, one in took), Summarised())

    def lacking(self, partition: str, sections: Sequence[Section]) -> list[Section]:
        """Those that `of` would ask for, each text once; nothing is asked, or noted as used."""
        if not self.asks:
            return []
        there = self._cache.holds(partition, [section.hash for section in sections])
        return list({section.hash: section for section in sections if section.hash not in there}.values())

    def worst(self, section: Section) -> Tokens:
        """The most that one attempt at a section that `lacking` names is charged for."""
        assert self._summariser is not None
        return self._summariser.worst(INSTRUCTIONS, as_data(section.text))

    def remember(self, partition: str, texts: dict[str, str]) -> None:
        """Keep summaries that stand in outlines, by hash, though the cache may have lost them."""
        self._cache.put(partition, {name: KeptSummary(text) for name, text in texts.items()})

    def close(self) -> None:
        """Ask for nothing any more, and close the cache."""
        self._asking.stop()
        self._threads.shutdown(cancel_futures=True)
        self._cache.close()

    def worst_usd(self, worst: Tokens) -> Decimal:
        """Dollars that an attempt costs at most, in whole micro-dollars.

        :param worst: the most that it takes.
        """
        return dollars(charged(self.price.worst(worst.input, worst.output)))

    def _charged(self, reply: Reply) -> Reply:
        """Where nobody charges an attempt, it counts as the ledger would charge it."""
        if reply.cost_usd is not None:
            return reply
        took = reply.tokens
        price = self.price.at(took.input + took.cached_input)
        usd = price.cost(input=took.input, cached_input=took.cached_input, output=took.output)
        return replace(reply, cost_usd=dollars(charged(usd)))

    def _ask(self, partition: str, lacking: Sequence[Section], allowance: Allowance, note: _Note) -> dict[str, Answer]:
        if self._summariser is None:
            return {section.hash: Answer("", problem="no model is asked here") for section in lacking}
        summarise = partial(self._summarise, self._summariser, partition, allowance, note)
        asked = [self._threads.submit(copy_context().run, summarise, one) for one in lacking]
        try:
            return {section.hash: future.result() for section, future in zip(lacking, asked, strict=True)}
        except BaseException:
            for future in asked:
                future.cancel()
            raise

    def _summarise(
        self, summariser: Summariser, partition: str, allowance: Allowance, note: _Note, section: Section
    ) -> Answer:
        worst = self.worst_usd(self.worst(section))

        def attempt(timeout_s: float) -> Reply:
            if not allowance.reserve(worst):
                return Reply("", problem="the limit on the cost was reached", again=False, asked=False)
            cost_usd = Decimal(0)
            try:
                reply = self._charged(summariser.ask(INSTRUCTIONS, as_data(section.text), timeout_s))
                cost_usd = reply.cost_usd or cost_usd
            finally:
                allowance.settle(worst, cost_usd)
            return replace(reply, text=kept(reply.text, complete=reply.complete))

        answer = self._asking.ask(attempt)
        try:
            note([(section, _paid(answer))])
        finally:
            if answer.text:
                took = answer.answering
                summary = KeptSummary(answer.text, took.input + took.cached_input, took.output)
                self._cache.put(partition, {section.hash: summary})
        return answer


def _each(
    sections: Sequence[Section], there: Mapping[str, KeptSummary], answers: Mapping[str, Answer]
) -> Iterator[Summarised]:
    """What each section took; of several with the same text the first one pays."""
    paid: set[str] = set()
    for section in sections:
        answer = answers.get(section.hash)
        if answer is None:
            before = there[section.hash]
            yield Summarised(cached=1, saved=Tokens(before.input_tokens, 0, before.output_tokens))
        elif section.hash not in paid:
            yield _paid(answer)
        elif answer.text:
            yield Summarised(cached=1, saved=answer.answering)
        else:
            yield Summarised(lacking=1, problem=answer.problem)
        paid.add(section.hash)


def _paid(answer: Answer) -> Summarised:
    """What the section took that was asked for."""
    made = bool(answer.text)
    return Summarised(made, 0, not made, answer.calls, answer.tokens, problem=answer.problem, cost_usd=answer.cost_usd)


def open_summaries(settings: Settings, summariser: Summariser | None) -> Summaries | None:
    """Summaries as the settings want them; None if they want none.

    :param summariser: None where nobody is to be asked.
    :raises StorageError: if the cache can't be opened.
    """
    model = settings.outline.summary_model
    if model is None:
        return None
    cache = open_summary_cache(settings.home, settings.outline)
    return Summaries(settings.outline, cache, summariser, PriceBook.of(settings.spend).price(model))
