"""Spend the context's tokens where they answer: by the sentence.

The budget is filled with the sentences that are worth most (`sentence_worth`). What is packed stands in document order
under its heading, and an ellipsis marks what was left out.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
from haystack import Document, component
from numpy.typing import NDArray

from ragsaver.components.answer_kind import refers_back
from ragsaver.components.document_values import page_at, said_of, score_of
from ragsaver.components.evidence import current_evidence
from ragsaver.components.explain import current_explanation
from ragsaver.components.passages import Passages
from ragsaver.components.request import stage
from ragsaver.components.resources import Bound, Resources
from ragsaver.components.sentence_match import matches
from ragsaver.components.sentence_worth import Candidate, score_sentences
from ragsaver.components.token_counts import CountedTexts, TierTokens, answering_tokens
from ragsaver.errors import RerankLate, StorageError
from ragsaver.logs.observed import note_contexts
from ragsaver.sentences import Sentence, sentences
from ragsaver.spend.fees import REFUSALS
from ragsaver.spend.receipt import OpenReceipt, current_receipt

GAP = " … "
GAP_TOKENS = 1
# In logits; what reads on without a gap costs less and says more. docs/benchmarks.md has the measurements.
BESIDE = 0.5

# Sentences whose tokens are remembered: the same chunks come again and again.
_REMEMBERED = 65_536

# Of a budget that another tokenizer counts; where less than that is used, more is packed.
_USED_AT_LEAST = 0.95

Packed = TypeVar("Packed")


def choose(
    worth: Sequence[Sequence[float]],
    candidates: Sequence[Candidate],
    budget_tokens: int,
    complete_from: float,
) -> list[list[int]]:
    """Fill the budget with the sentences that are worth most.

    One beside a chosen sentence is worth `BESIDE` more, and one that refers back brings the sentence in front of it.

    :param worth: as `score_sentences` gives it; minus infinity is not taken for itself.
    :param complete_from: share of a passage's tokens from which the rest of it is taken too, if it fits.
    :returns: positions of the chosen sentences of each candidate, ascending.
    """
    filling = _Filling(candidates, budget_tokens)
    value = {(row, column): score for row, scores in enumerate(worth) for column, score in enumerate(scores)}
    waiting = [(-score, row, column) for (row, column), score in value.items() if score > -math.inf]
    heapify(waiting)
    while waiting:
        negative, row, column = heappop(waiting)
        if value[row, column] != -negative or not filling.take(row, column):
            continue
        filling.complete(row, complete_from)
        for beside in (column - 1, column + 1):
            if (row, beside) in value and beside not in filling.chosen[row]:
                value[row, beside] += BESIDE
                heappush(waiting, (-value[row, beside], row, beside))
    return [sorted(mine) for mine in filling.chosen]


def fit(fill: Callable[[int], Packed], size: Callable[[Packed], int], budget_tokens: int) -> tuple[Packed, int]:
    """What fills a budget whose tokens another tokenizer counts and does not exceed it, and how many it uses.

    :param fill: packs for so many tokens of the shipped tokenizer.
    :param size: tokens of what was packed, by the other one.
    """
    room, packed = budget_tokens, fill(budget_tokens)
    used = size(packed)
    if 0 < used < budget_tokens * _USED_AT_LEAST:
        more = fill(room * budget_tokens // used)
        if (grown := size(more)) <= budget_tokens:
            return more, grown
    while used > budget_tokens:
        room = min(room * budget_tokens // used, room - 1)
        packed = fill(room)
        used = size(packed)
    return packed, used


class _Filling:
    """The budget while it is spent."""

    def __init__(self, candidates: Sequence[Candidate], budget_tokens: int) -> None:
        self._candidates = candidates
        self._left = budget_tokens
        self.chosen: list[set[int]] = [set() for _ in candidates]

    def take(self, row: int, column: int) -> bool:
        """Take a sentence if it is not there and fits, with the one that it refers back to if that fits too."""
        candidate, mine = self._candidates[row], self.chosen[row]
        # most are left because they don't fit, which is soon told: at best one closes a gap
        if column in mine or candidate.tokens[column] - GAP_TOKENS > self._left:
            return False
        before = column - 1
        if before >= 0 and before not in mine and refers_back(candidate.sentences[column].text):
            return self._pay(row, {before, column}) or self._pay(row, {column})
        return self._pay(row, {column})

    def complete(self, row: int, complete_from: float) -> None:
        """Take the rest of a passage if most of it is there, and it fits."""
        candidate, mine = self._candidates[row], self.chosen[row]
        if len(mine) < len(candidate.tokens) and _sum(candidate, mine) >= complete_from * sum(candidate.tokens):
            self._pay(row, set(range(len(candidate.tokens))) - mine)

    def _pay(self, row: int, columns: set[int]) -> bool:
        candidate, mine = self._candidates[row], self.chosen[row]
        price = 0 if mine else candidate.heading_tokens - GAP_TOKENS  # one run has no gap
        added: set[int] = set()
        for column in columns:
            beside = sum(near in mine or near in added for near in (column - 1, column + 1))
            price += candidate.tokens[column] + GAP_TOKENS * (1 - beside)
            added.add(column)
        if price > self._left:
            return False
        self._left -= price
        mine |= columns
        return True


def why_left_out(candidate: Candidate, worth: Sequence[float], room_tokens: int) -> str:
    """Why nothing of a passage is packed, if nothing is.

    :param worth: as for `choose`, of its sentences.
    """
    wanted = [tokens for tokens, score in zip(candidate.tokens, worth, strict=True) if score > -math.inf]
    if not wanted:
        return "an outline in front says it already" if candidate.tokens else "it has no text"
    if candidate.heading_tokens + min(wanted) > room_tokens:
        return f"not one sentence fits into {room_tokens} tokens with its heading"
    return f"other sentences are worth more of the {room_tokens} tokens"


def _price(candidate: Candidate, columns: set[int]) -> int:
    """Tokens of a passage's heading, of some of its sentences, and of what marks the gaps between them."""
    gaps = sum(column - 1 not in columns for column in columns) - 1
    return candidate.heading_tokens + _sum(candidate, columns) + GAP_TOKENS * gaps


def _sum(candidate: Candidate, columns: set[int]) -> int:
    return sum(candidate.tokens[column] for column in columns)


@component
class ContextPacker(Bound):
    """Pack the best sentences of the passages under a token budget.

    ```python
    packer = ContextPacker(budget_tokens=200)
    packed = packer.run("Who may sign a contract?", passages)["documents"]
    ```

    Each packed document is what is left of one passage: `content` is the text to show, `meta["spans"]` its
    verbatim sentences, `meta["span_pages"]` the page of each, `meta["span_worth"]` what each is worth, `meta["tokens"]`
    its tokens with its heading.

    Sentences are counted by the shipped tokenizer; where the model that answers has its own on this machine, that one
    says how much fits.

    The budget is money, counted in fresh tokens: what stands in front of every prompt (`stable`) is paid from it at its
    own price, and its sentences are not packed again. Of more than two documents the second best stands last: models
    read the beginning and the end best (Liu et al., Lost in the Middle, 2023).

    :param budget_tokens: ceiling for all of them together; `context.budget_tokens` if None.
    :param complete_from: share of a passage from which all of it is taken if it fits; above 1 never.
    :param match: `words`, or `tokens` to hold sentences against the question by the vectors of their tokens too;
        `context.match` if None.
    """

    def __init__(self, budget_tokens: int | None = None, complete_from: float = 0.8, match: str | None = None) -> None:
        if budget_tokens is not None and budget_tokens < 1:
            raise ValueError(f"budget_tokens must be at least 1, got {budget_tokens}")
        if match not in (None, "words", "tokens"):
            raise ValueError(f"match must be words or tokens, got {match}")
        self.match = match
        self.budget_tokens = budget_tokens
        self.complete_from = complete_from
        self._count: CountedTexts | None = None
        self._answering: TierTokens | None = None

    def bind(self, resources: Resources) -> None:
        """Take the tokenizers to count with.

        :raises SettingsError: if the settings name one that is not there.
        """
        Bound.bind(self, resources)
        self._count = CountedTexts(resources.encoder.count_tokens, _REMEMBERED)
        self._answering = answering_tokens(resources.settings, resources.encoder.count_tokens)

    def warm_up(self) -> None:
        """Open what reads passages, so that what is wrong with it is told before the first question."""
        if self._bound is not None and self.by_tokens:
            _ = self.resources.reranking.tokens

    @property
    def by_tokens(self) -> bool:
        """Whether sentences are held against the question by the vectors of their tokens too."""
        return (self.match or self.resources.settings.context.match) == "tokens"

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], stable: list[Document] | None = None) -> dict[str, Passages]:
        """Pack.

        :param query: the question.
        :param documents: passages, best first.
        :param stable: what stands in front of every prompt, as `StableContext` gives it: handed on, in front.
        """
        budget = self.budget_tokens or self.resources.settings.context.budget_tokens
        with stage("pack"):
            front = _affordable(stable or (), budget) if documents else Passages()
            candidates = self.candidates(documents)
            matched, matched_by = self._matched(query, documents, candidates)
            worth = _without(score_sentences(query, candidates, matched, self.scope.tenant), candidates, front)
            # the question that brings a new text to the provider pays more for it, and still has half for its evidence
            paid = min(_fresh_tokens(front, "price_share"), budget // 2)
            room = budget - paid
            packed, counted_by = self._pack(documents, candidates, worth, room)
        for document in packed if matched is not None else ():
            document.meta["matched"] = "tokens"  # so that nobody takes its worth for one by words
        note_contexts(document.content or "" for document in front + packed)
        if explanation := current_explanation():
            whys = [why_left_out(one, row, room) for one, row in zip(candidates, worth, strict=True)]
            explanation.pack(documents, packed, whys)
        if evidence := current_evidence():
            evidence.pack(document.id for document in packed)
        used = [str(document.meta.get("document_id", "")) for document in packed]
        self.resources.uses.note(used)
        self.resources.favourites.note(self.scope, used)
        receipt = current_receipt()
        receipt.packed_tokens = sum(int(document.meta["tokens"]) for document in packed)
        receipt.add(
            "pack",
            "context packed",
            receipt.packed_tokens,
            "tokens",
            reason=f"the best sentences of {len(packed)} of {len(documents)} passages, "
            f"budget {budget}{counted_by}{matched_by}",
        )
        if front:
            _charge(receipt, front)
        return {"documents": front + packed}

    def candidates(self, documents: Sequence[Document]) -> list[Candidate]:
        """The sentences of passages, with what `score_sentences` looks at."""
        tenant = self.scope.tenant
        split = [sentences(document.content or "", tenant) for document in documents]
        headings = [said_of(document, "heading") for document in documents]
        texts = [*(one.text for some in split for one in some), *headings]
        tokens = dict(zip(texts, self._counting()[0](texts, tenant), strict=True))
        return [
            Candidate(
                sentences=some,
                tokens=[tokens[one.text] for one in some],
                heading_tokens=tokens[heading],
                prior=score_of(document),
                dense=float(document.meta.get("dense_score") or 0.0),
                heading=heading,
            )
            for document, some, heading in zip(documents, split, headings, strict=True)
        ]

    def _matched(
        self, query: str, documents: Sequence[Document], candidates: Sequence[Candidate]
    ) -> tuple[NDArray[np.float64] | None, str]:
        """What the sentences' tokens say, where the settings want to know it; and how it went, for the receipt."""
        if not self.by_tokens or not candidates:
            return None, ""
        texts = [document.content or "" for document in documents]
        try:
            return matches(self.resources, query, texts, candidates, self.scope.tenant), ", by words and tokens"
        except (RerankLate, StorageError, *REFUSALS) as error:
            why = "in time" if isinstance(error, RerankLate) else "for want of money"
            if evidence := current_evidence():
                evidence.spoil(f"passages were not read {why}")  # another time the answer may be better
            return None, f", by words alone: passages were not read {why}"

    def _counting(self) -> tuple[CountedTexts, TierTokens]:
        if self._count is None or self._answering is None:
            self.bind(self.resources)
        assert self._count is not None and self._answering is not None
        return self._count, self._answering

    def _pack(
        self,
        documents: Sequence[Document],
        candidates: Sequence[Candidate],
        worth: Sequence[Sequence[float]],
        budget_tokens: int,
    ) -> tuple[Passages, str]:
        """What is packed, and who counted it, for the receipt."""

        def fill(room: int) -> Passages:
            chosen = choose(worth, candidates, room, self.complete_from)
            return Passages(self._pieces(documents, candidates, chosen, worth))

        tokens = self._counting()[1]
        if not tokens.own:
            return fill(budget_tokens), ""

        def size(packed: Passages) -> int:
            return sum(tokens.count([f"{one.meta.get('heading', '')}\n{one.content}" for one in packed]))

        packed, used = fit(fill, size, budget_tokens)
        return packed, f", {used} of it by {tokens.name}"

    def _pieces(
        self,
        documents: Sequence[Document],
        candidates: Sequence[Candidate],
        chosen: Sequence[Sequence[int]],
        worth: Sequence[Sequence[float]],
    ) -> Iterator[Document]:
        rank: dict[str, int] = {}
        taken = [n for n, mine in enumerate(chosen) if mine]
        for n in taken:
            rank.setdefault(_document_of(documents[n]), len(rank))
        place = _second_best_last(len(rank))
        taken.sort(key=lambda n: (place[rank[_document_of(documents[n])]], documents[n].meta.get("ordinal", 0), n))
        for n in taken:
            candidate, mine = candidates[n], chosen[n]
            spans = [candidate.sentences[column].text for column in mine]
            runs = list(_runs(mine))
            meta: dict[str, Any] = {
                **documents[n].meta,
                "chunk_id": documents[n].id,
                "spans": spans,
                "span_pages": [page_at(documents[n], candidate.sentences[column].start) for column in mine],
                "tokens": _price(candidate, set(mine)),
                "span_worth": [worth[n][column] for column in mine],
            }
            text = GAP.join(_slice(documents[n].content or "", candidate.sentences, run) for run in runs)
            yield Document(id=documents[n].id, content=text, score=documents[n].score, meta=meta)


def _second_best_last(documents: int) -> list[int]:
    """The place of each document, best first."""
    return [documents - 1 if rank == 1 else rank - (rank > 1) for rank in range(documents)]


def _affordable(stable: Sequence[Document], budget_tokens: int) -> Passages:
    """What stands in front, unless it takes more than half of the budget's money even where the provider has it."""
    return Passages(stable) if _fresh_tokens(stable, "cached_share") <= budget_tokens // 2 else Passages()


def _fresh_tokens(stable: Sequence[Document], share: str) -> int:
    """As many fresh tokens cost as much."""
    return math.ceil(sum(int(one.meta["tokens"]) * float(one.meta[share]) for one in stable))


def _without(
    worth: list[list[float]], candidates: Sequence[Candidate], stable: Sequence[Document]
) -> list[list[float]]:
    """The worths, nothing for what the reader has in front of it already."""
    if not stable:
        return worth
    there = {span for one in stable for span in one.meta["spans"]}
    return [
        [-math.inf if one.text in there else score for one, score in zip(candidate.sentences, row, strict=True)]
        for candidate, row in zip(candidates, worth, strict=True)
    ]


def _charge(receipt: OpenReceipt, stable: Sequence[Document]) -> None:
    tokens, share = sum(int(one.meta["tokens"]) for one in stable), stable[0].meta["price_share"]
    receipt.packed_tokens += tokens
    receipt.add(
        "pack",
        "outlines in front",
        tokens,
        "tokens",
        reason=f"of {len(stable)} documents that questions use most, at {share:.2f} of a fresh token's price",
    )


def _document_of(document: Document) -> str:
    return str(document.meta.get("document_id") or document.meta.get("source") or document.id)


def _slice(text: str, split: Sequence[Sentence], run: Sequence[int]) -> str:
    """Neighbouring sentences as they stand, with the line ends between them."""
    last = split[run[-1]]
    return text[split[run[0]].start : last.start + len(last.text)]


def _runs(columns: Sequence[int]) -> Iterator[list[int]]:
    """Neighbouring positions together."""
    for _, group in groupby(enumerate(columns), key=lambda item: item[1] - item[0]):
        yield [column for _, column in group]
