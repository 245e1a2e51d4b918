"""Spend the context's tokens where they answer: by the sentence.

The budget is filled with the sentences that are worth most (`sentence_worth`). What is packed stands in document order
under its heading, and an ellipsis marks what was left out.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from haystack import Document, component
from numpy.typing import NDArray

from ragsaver.components.budget_filling import choose, fit, price_of, why_left_out
from ragsaver.components.document_values import page_at, said_of, score_of, text_of
from ragsaver.components.evidence import current_evidence
from ragsaver.components.explain import current_explanation
from ragsaver.components.passage_sentences import Sentence, sentences
from ragsaver.components.passages import Passages, passage_of
from ragsaver.components.request import stage
from ragsaver.components.resources import Bound, Resources
from ragsaver.components.sentence_match import look_ahead, matches
from ragsaver.components.sentence_worth import Candidate, score_sentences
from ragsaver.components.token_counts import (
    COUNTED,
    Counted,
    CountedPassages,
    CountedTexts,
    TierTokens,
    answering_tokens,
)
from ragsaver.errors import RerankLate, StorageError
from ragsaver.logs.observed import note_contexts
from ragsaver.spend.fees import REFUSALS
from ragsaver.spend.receipt import OpenReceipt, current_receipt

GAP = " … "  # of GAP_TOKENS

# Headings whose tokens are remembered: the same chunks come again and again.
_REMEMBERED = 8192


class _Sizes(NamedTuple):
    """Who counts tokens: of passages' sentences, of headings, and of what is packed for the model that answers."""

    of_passages: CountedPassages
    of_headings: CountedTexts
    answering: TierTokens


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
        self._sizes: _Sizes | None = None

    def bind(self, resources: Resources) -> None:
        """Take the tokenizers to count with.

        :raises SettingsError: if the settings name one that is not there.
        """
        Bound.bind(self, resources)
        encoder = resources.encoder
        self._sizes = _Sizes(
            CountedPassages(encoder.count_tokens, encoder.fingerprint),
            CountedTexts(encoder.count_tokens, _REMEMBERED),
            answering_tokens(resources.settings, encoder.count_tokens),
        )

    def warm_up(self) -> None:
        """Open what reads passages, so that what is wrong with it is told before the first question."""
        if self._bound is not None and self.by_tokens:
            _ = self.resources.reranking.tokens

    @property
    def by_tokens(self) -> bool:
        """Whether sentences are held against the question by the vectors of their tokens too."""
        return self.resources.by_tokens if self.match is None else self.match == "tokens"

    def _by_tokens_of(self, documents: Sequence[Document]) -> bool:
        """The same of these passages: where nobody asks for it, they were found by the question's vector."""
        asked_for = self.match or self.resources.settings.context.match
        embedded = any(one.meta.get("dense_score") is not None for one in documents)
        return self.by_tokens and (embedded or asked_for is not None)

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
            document.meta["matched"] = "tokens"  # what is a lead by words is another one by tokens
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

    def look_ahead(self, documents: Sequence[Document]) -> None:
        """Have at hand what is asked of passages, for the first question that finds them."""
        candidates = self.candidates(documents)
        if self.by_tokens:
            look_ahead(self.resources, [text_of(document) for document in documents], candidates, self.scope.tenant)

    def candidates(self, documents: Sequence[Document]) -> list[Candidate]:
        """The sentences of passages, with what `score_sentences` looks at."""
        tenant = self.scope.tenant
        split = [sentences(document.content or "", tenant) for document in documents]
        headings = [said_of(document, "heading") for document in documents]
        sizes = self._counting()
        tokens, of_headings = sizes.of_passages(split), sizes.of_headings(headings, tenant)
        return [
            Candidate(some, own, of_heading, score_of(one), float(one.meta.get("dense_score") or 0.0), heading)
            for one, some, own, of_heading, heading in zip(documents, split, tokens, of_headings, headings, strict=True)
        ]

    def _matched(
        self, query: str, documents: Sequence[Document], candidates: Sequence[Candidate]
    ) -> tuple[NDArray[np.float64] | None, str]:
        """What the sentences' tokens say, where the settings want to know it; and how it went, for the receipt."""
        if not candidates or not self._by_tokens_of(documents):
            return None, ""
        texts = [text_of(document) for document in documents]
        try:
            return matches(self.resources, query, texts, candidates, self.scope.tenant), ", by words and tokens"
        except (RerankLate, StorageError, *REFUSALS) as error:
            why = "in time" if isinstance(error, RerankLate) else "for want of money"
            if evidence := current_evidence():
                evidence.spoil(f"passages were not read {why}")  # another time the answer may be better
            return None, f", by words alone: passages were not read {why}"

    def _counting(self) -> "_Sizes":
        if self._sizes is None:
            self.bind(self.resources)
        assert self._sizes is not None
        return self._sizes

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

        tokens = self._counting().answering
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
            text = GAP.join(_slice(documents[n].content or "", candidate.sentences, run) for run in _runs(mine))
            tokens = price_of(candidate, set(mine))
            meta: dict[str, Any] = {
                **documents[n].meta,
                "chunk_id": documents[n].id,
                "spans": spans,
                "span_pages": [page_at(documents[n], candidate.sentences[column].start) for column in mine],
                "tokens": tokens,
                COUNTED: Counted(len(text), tokens - candidate.heading_tokens),
                "span_worth": [worth[n][column] for column in mine],
            }
            yield passage_of(documents[n].id, text, documents[n].score, meta)


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
