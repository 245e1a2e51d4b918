"""Questions that are answered from passages, by the plain recipe and by RAGSaver, of a simulated endpoint."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from cost_traffic import DOCUMENTS, Answered, Day, Question
from haystack import Document
from haystack.dataclasses import ChatMessage
from provider_cache import ProviderCache
from simulated_endpoint import Reader, holds

from ragsaver.components.extractive import extract
from ragsaver.components.packer import ContextPacker
from ragsaver.components.prompt_builder import PromptBuilder
from ragsaver.components.request import Request
from ragsaver.components.resources import Resources
from ragsaver.components.retriever import HybridRetriever
from ragsaver.pipelines.engine import QueryEngine
from ragsaver.pipelines.result import AskResult
from ragsaver.pipelines.runtime import Runtime
from ragsaver.settings import Settings
from ragsaver.spend.prices import PriceBook

PASSAGES = 10
WHOLE = 1_000_000  # tokens of a conversation: all of it
SURE_FROM = (0.9, 0.95, 0.97, 0.98, 0.99)  # confidence of the free tier
BUDGETS = (400, 600, 800, 1000, 1200, 1400, 1600)


@dataclass
class Endpoint:
    """Where the models are.

    :ivar weak: names of the models.
    :ivar router: a trained one's file.
    """

    url: str
    weak: str
    strong: str
    router: Path | None = None
    min_quality: float | None = None

    def settings(
        self,
        home: Path,
        budget_tokens: int,
        *,
        both: bool = False,
        free_from: float | None = None,
        cache: str = "exact",
        condensed: bool = True,
        clamped: bool = True,
    ) -> Settings:
        """A project's.

        :param both: the small model first, by the router, not the strong one alone.
        :param free_from: confidence from which the free tier answers in a model's place; None: it does not.
        :param condensed: earlier turns are shortened.
        :param clamped: answers that are short by their question's form have half of the model's tokens.
        """
        models = [self.weak, self.strong] if both else [self.strong]
        routed = {"router": str(self.router), "router_min_quality": self.min_quality} if both and self.router else {}
        free = {"extractive_first": free_from is not None}
        sure = {} if free_from is None else {"extractive_sure_confidence": free_from}
        return Settings.model_validate(
            {
                "home": home,
                "context": {"budget_tokens": budget_tokens},
                "generation": {
                    "models": [{"name": name, "base_url": self.url, "api_key": "none"} for name in models],
                    **routed,
                    **free,
                    **sure,
                    **({} if condensed else {"history_tokens": WHOLE}),
                    "short_answers": clamped,
                },
                "cache": {"answers": cache},
                "spend": {"fuse": {"enabled": False}},  # a day within minutes is what it is there to stop
            }
        )


@dataclass
class Asked:
    """What became of all questions of a day.

    :ivar kinds: what those of `READ` cost.
    :ivar repeats_hit: share of the document questions that a cache answered when they came again.
    :ivar repeats_changed: how many of them got another answer then.
    :ivar semantic: questions that got the answer to another one, by kind, and how many of these answers are wrong.
    :ivar to_strong: share of the document questions that the strong model answered.
    :ivar cut: answers that ended at their limit of tokens.
    """

    kinds: dict[str, Answered] = field(default_factory=dict)
    repeats_hit: float = 0.0
    repeats_changed: int = 0
    semantic: dict[str, dict[str, int]] = field(default_factory=dict)
    to_strong: dict[str, float] = field(default_factory=dict)
    cut: int = 0


class Plain:
    """The plain recipe: ten whole passages, all that was said, and the question to the strong model."""

    def __init__(self, runtime: Runtime, reader: Reader, provider: ProviderCache, model: str) -> None:
        self._provider, self._model = provider, model
        self._retriever, self._builder = HybridRetriever(), PromptBuilder()
        self._retriever.bind(runtime.resources)
        self._reader, self._price, self._count = reader, PriceBook().price(model), runtime.encoder.count_tokens

    def ask(self, questions: Sequence[Question], *, with_earlier: bool = True) -> Answered:
        """Ask them.

        :param with_earlier: look for a follow-up with the questions before it, not as it is.
        """
        rows = []
        self._provider.forget()
        for question in questions:
            before = self._provider.had_usd
            looked_for = question.with_earlier if with_earlier else question.text
            passages = list(self._retriever.run(looked_for, top_k=PASSAGES)["documents"])
            said, prompt, answered = self.read(question, passages)
            cost = self._price.cost(input=prompt, output=answered)
            evidence = sum(self._count([passage.content or "" for passage in passages]))
            had = self._provider.had_usd - before
            rows.append((float(cost), holds(said, question.answers), evidence, had))
        return Answered(*np.array(rows, dtype=np.float64).T)

    def packed(self, runtime: Runtime, questions: Sequence[Question]) -> dict[int, Answered]:
        """The same with packed sentences, by budget, to choose one; what the prompt costs is left out."""
        packers = {budget: ContextPacker(budget) for budget in BUDGETS}
        rows: dict[int, list[tuple[float, bool, int]]] = {budget: [] for budget in BUDGETS}
        for packer in packers.values():
            packer.bind(runtime.resources)
        for question in questions:
            found = self._retriever.run(question.text)["documents"]
            for budget, packer in packers.items():
                packed = list(packer.run(question.text, found)["documents"])
                said, *_ = self.read(question, packed)
                tokens = sum(int(one.meta["tokens"]) for one in packed)
                rows[budget].append((0.0, holds(said, question.answers), tokens))
        return {budget: Answered(*np.array(each, dtype=np.float64).T) for budget, each in rows.items()}

    def read(self, question: Question, passages: Sequence[Document]) -> tuple[str, int, int]:
        """The simulated answer, the prompt's tokens and the answer's."""
        first, *rest = self._builder.run(question.text, list(passages))["messages"]
        earlier = [
            ChatMessage.from_user(text) if role == "user" else ChatMessage.from_assistant(text)
            for role, text in question.history
        ]
        texts = [message.text or "" for message in (first, *earlier, *rest)]
        self._provider.had(self._model, texts)
        return self._reader.reply(texts)


@contextmanager
def engine_of(runtime: Runtime, settings: Settings) -> Iterator[QueryEngine]:
    """An engine with settings of its own on an index that is there."""
    settings.home.mkdir(parents=True, exist_ok=True)
    of = runtime.resources
    resources = Resources(settings, of.index, of.encoder, of.prices, of.ownership, of.store)
    try:
        yield Runtime(resources).engine()
    finally:
        resources.till.close()
        resources.caches.close()


def ask(
    engine: QueryEngine, provider: ProviderCache, questions: Sequence[Question]
) -> tuple[list[AskResult], Answered]:
    """Ask some questions through the pipeline, of a provider that has seen none."""
    provider.forget()
    results, had_usd = [], []
    for question in questions:
        before = provider.had_usd
        results.append(_ask(engine, question))
        had_usd.append(provider.had_usd - before)
    return results, _answered(results, questions, had_usd)


def ask_all(
    runtime: Runtime, settings: Settings, provider: ProviderCache, kinds: Mapping[str, Sequence[Question]], day: Day
) -> Asked:
    """Ask all questions of some kinds through the pipeline, the document questions once more at the end."""
    found, told = Asked(), {}
    with engine_of(runtime, settings) as engine:
        if settings.cache.answers == "semantic":
            for question in day.asked_before:
                _ask(engine, question)
        for kind, questions in kinds.items():
            told[kind], found.kinds[kind] = ask(engine, provider, questions)
        again = [_ask(engine, question.again) for question in kinds.get(DOCUMENTS, ())]
    for kind in kinds:
        found.semantic[kind] = _semantic(told[kind], found.kinds[kind])
        found.cut += sum(one.cut == "length" for one in told[kind])
        found.to_strong[kind] = round(float(np.mean([one.route.tier == "large" for one in told[kind]])), 4)
    hits = [result.route.cache in ("hit", "semantic") and not result.receipt.cost_usd for result in again]
    found.repeats_hit = float(np.mean(hits)) if hits else 0.0
    found.repeats_changed = sum(
        hit and one.answer != other.answer for hit, one, other in zip(hits, told.get(DOCUMENTS, ()), again, strict=True)
    )
    return found


def _ask(engine: QueryEngine, question: Question) -> AskResult:
    return engine.ask(question.text, Request(engine.resources.default_scope, history=question.history))


def _answered(results: Sequence[AskResult], questions: Sequence[Question], had_usd: Sequence[float]) -> Answered:
    rows = [
        (
            float(result.receipt.cost_usd),
            holds(result.answer or "", question.answers),
            sum(line.quantity for line in result.receipt.lines if line.item == "context packed"),
            had,
        )
        for result, question, had in zip(results, questions, had_usd, strict=True)
    ]
    return Answered(*np.array(rows, dtype=np.float64).T)


def _semantic(results: Sequence[AskResult], answered: Answered) -> dict[str, int]:
    other = np.array([result.route.cache == "semantic" for result in results])
    return {"hits": int(other.sum()), "wrong": int((other & (answered.right == 0)).sum())}


def budget_curve(plain: Plain, runtime: Runtime, questions: Sequence[Question]) -> tuple[int, Mapping[str, object]]:
    """The smallest budget of `BUDGETS` that loses nothing of what the plain recipe finds, and what each finds.

    :param questions: none of those that are asked.
    """
    whole = plain.ask(questions)
    by_budget = plain.packed(runtime, questions)
    enough = [budget for budget, one in by_budget.items() if one.right.mean() >= whole.right.mean()]
    curve = {
        str(budget): {"tokens": round(float(one.evidence.mean())), "right": round(float(one.right.mean()), 4)}
        for budget, one in by_budget.items()
    }
    told = {"tokens": round(float(whole.evidence.mean())), "right": round(float(whole.right.mean()), 4)}
    return min(enough, default=BUDGETS[-1]), {"questions": len(questions), "ten_passages": told, "packed": curve}


def free_tier_curve(runtime: Runtime, questions: Sequence[Question], budget_tokens: int) -> dict[str, dict[str, float]]:
    """How many the free tier would answer in a model's place, by how sure it must be, and how many of them rightly.

    :param questions: none of those that are asked.
    """
    retriever, packer = HybridRetriever(), ContextPacker(budget_tokens)
    retriever.bind(runtime.resources)
    packer.bind(runtime.resources)
    rows = []
    for question in questions:
        packed = list(packer.run(question.text, retriever.run(question.text)["documents"])["documents"])
        found = extract(question.text, packed, Settings().generation.extractive_min_confidence)
        rows.append((found.right if found.text else 0.0, holds(found.text or "", question.answers)))
    sure, right = np.array(rows, dtype=np.float64).T
    return {
        str(least): {
            "answered": round(float((sure >= least).mean()), 4),
            "right_of_them": round(float(right[sure >= least].mean()), 4) if (sure >= least).any() else 0.0,
        }
        for least in SURE_FROM
    }
