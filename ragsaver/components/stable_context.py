"""Outlines in front of every prompt: text that stays the same, so that a provider's prefix cache pays most of it."""

from collections.abc import Sequence

from haystack import Document, component

from ragsaver.components.evidence import current_evidence
from ragsaver.components.fitting import wanted_schema
from ragsaver.components.passage_sentences import sentences
from ragsaver.components.passages import Passages
from ragsaver.components.request import stage
from ragsaver.components.resources import Bound
from ragsaver.index.keys import is_listed
from ragsaver.index.scope import Scope


@component
class StableContext(Bound):
    """The outlines in front of a question, as documents.

    Their `meta["stable"]` is true, `meta["price_share"]` is what a token of them costs now beside a fresh one, and
    `meta["cached_share"]` what it costs where the provider has the text.

    Without a language model there are none: nobody would read them.

    :param tokens: of all outlines together.
    :param documents: how many, at most.
    :param every_s: other documents take their place no more often.
    :param cached_from_tokens: the shortest text that the provider's cache takes.
    :param cached_for_s: how long the cache keeps what nobody asks for.
    """

    def __init__(
        self,
        tokens: int = 1200,
        documents: int = 8,
        every_s: float = 3600.0,
        cached_from_tokens: int = 1024,
        cached_for_s: float = 300.0,
    ) -> None:
        if tokens < 16 or documents < 1:
            raise ValueError(f"it takes at least 16 tokens and 1 document, got {tokens} and {documents}")
        self.tokens = tokens
        self.documents = documents
        self.every_s = every_s
        self.cached_from_tokens = cached_from_tokens
        self.cached_for_s = cached_for_s

    @component.output_types(documents=list[Document])
    def run(self, query: str) -> dict[str, Passages]:
        """The outlines.

        :param query: the question; it changes nothing about them.
        """
        models = self.resources.settings.generation.models
        if not models:
            return {"documents": Passages()}
        scope = self.scope
        with stage("outlines"):
            block, ago_s = self.resources.favourites.block(
                scope,
                documents=self.documents,
                tokens=self.tokens,
                every_s=self.every_s,
                stands=lambda points: self._stands(scope, points),
                behind=hash(wanted_schema()),
            )
            if block and (evidence := current_evidence()):
                evidence.widen()
            counts = self.resources.encoder.count_tokens([one.text for one in block]) if block else []
            cached = self._cached_share(models[0].name, sum(counts))
            now = cached if ago_s is not None and ago_s <= self.cached_for_s else 1.0
        return {
            "documents": Passages(
                Document(
                    id=one.document_id,
                    content=one.text,
                    meta={
                        "stable": True,
                        "price_share": now,
                        "cached_share": cached,
                        "document_id": one.document_id,
                        "source": one.source,
                        "heading": "outline",
                        "spans": [sentence.text for sentence in sentences(one.text, scope.tenant)],
                        "tokens": count,
                    },
                )
                for one, count in zip(block, counts, strict=True)
            )
        }

    def _stands(self, scope: Scope, points: Sequence[str]) -> bool:
        there = self.resources.index.payloads(scope, points) if points else {}
        return all(point in there and is_listed(scope, there[point]) for point in points)

    def _cached_share(self, model: str, tokens: int) -> float:
        """A cached token's price over a fresh one's; a short text is never cached."""
        price = self.resources.prices.price(model)
        if tokens < self.cached_from_tokens or not price.input_per_mtok:
            return 1.0
        return float(price.cached_input_per_mtok / price.input_per_mtok)
