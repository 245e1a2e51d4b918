"""An answer is worth what it can show: each claim's source, with the words as they stand there."""

import re
from collections.abc import Sequence
from typing import Any

from haystack import Document, GeneratedAnswer, component
from haystack.dataclasses import ChatMessage

from ragsaver.components.answer_links import LinkFilter, in_front_of_the_model
from ragsaver.components.answer_schema import words_of
from ragsaver.components.citations import CITED, resolved_marks
from ragsaver.components.document_values import as_page, page_of, said_of
from ragsaver.components.prompt_builder import ABSTENTION
from ragsaver.components.request import stage
from ragsaver.components.resources import Bound

_WORD = re.compile(r"\w+")
_CLAIM_END = re.compile(r"(?<=[.!?])(?!\s*\[\d)\s+|\n+")


def cited(answer: str, spans: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """The sources that an answer names as `[n]`, each with the sentence that supports the claim best.

    :param answer: text with marks; a mark that points nowhere is passed over.
    :param spans: verbatim sentences of each source, in the order that the prompt numbered them.
    :returns: (source, quote) pairs, sources counted from 0, each source once.
    """
    found: dict[int, str] = {}
    for claim in _CLAIM_END.split(answer):
        for mark in CITED.findall(claim):
            source = int(mark) - 1
            if 0 <= source < len(spans) and source not in found and spans[source]:
                found[source] = best_quote(claim, spans[source])
    return list(found.items())


def best_quote(claim: str, sentences: Sequence[str]) -> str:
    """The sentence that shares most words with the claim, for its length (the first of equals)."""
    wanted = _words(CITED.sub("", claim))
    return max(sentences, key=lambda sentence: _overlap(wanted, _words(sentence)))


def without_stray_marks(answer: str, sources: int) -> str:
    """The answer with plain marks, without those that point to no source."""
    return resolved_marks(answer, sources).strip()


def abstains(answer: str) -> bool:
    """Whether a model's reply says that the context holds no answer."""
    said = answer.strip().strip("\"'").casefold()
    return not said or said.startswith(ABSTENTION.rstrip(".").casefold())


def is_abstention(answer: str) -> bool:
    """Whether it is the agreed sentence and nothing else."""
    return answer.strip() == ABSTENTION


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))


def _overlap(wanted: set[str], given: set[str]) -> float:
    return len(wanted & given) / (len(given) ** 0.5) if given else 0.0


@component
class CitedAnswerBuilder(Bound):
    """The reply as an answer whose citations quote the packed passages.

    `meta` of the answer: `citations` (source, heading, page, quote), `tier`, `route_reason`, `reason` where there is no
    answer (`data` is then empty), `service` where the reply was degraded further than the request's pace, and `cut`
    where it is not whole. A reply whose `meta` says `json` fits a schema: it stays as it is.
    """

    @component.output_types(answers=list[GeneratedAnswer])
    def run(
        self, query: str, documents: list[Document], replies: list[ChatMessage]
    ) -> dict[str, list[GeneratedAnswer]]:
        """Build one answer for each reply.

        :param query: the question.
        :param documents: the packed passages, in the order in which the prompt numbered them.
        :param replies: what the generator said.
        """
        with stage("cite"):
            policy = self._bound.settings.generation.links if self._bound else "given"
            links = LinkFilter(policy, in_front_of_the_model(query, documents))
            return {"answers": [_answer(query, documents, reply, links) for reply in replies]}


def _answer(query: str, documents: Sequence[Document], reply: ChatMessage, links: LinkFilter) -> GeneratedAnswer:
    text, given = reply.text or "", reply.meta
    meta: dict[str, Any] = {
        "tier": given.get("tier", "custom"),
        "route_reason": given.get("route_reason", "this pipeline's own generator"),
        "citations": [],
    }
    meta.update({name: given[name] for name in ("service", "cut") if name in given})
    as_json = bool(given.get("json"))
    if given.get("abstained") or (is_abstention(text) if as_json else abstains(text)):
        meta["reason"] = given.get("reason") or "the model found no answer in the passages"
        return GeneratedAnswer(data="", query=query, documents=[], meta=meta)
    quotes = given.get("quotes")
    if quotes is None and as_json:
        quotes = cited(words_of(text), [sentences_of(document) for document in documents])
    elif quotes is None:
        text = without_stray_marks(text, len(documents))
        quotes = cited(text, [sentences_of(document) for document in documents])
        if not quotes:
            meta["reason"] = "the model named no source: read the answer with care"
    if not as_json and (cleaned := links.clean(text)) != text:
        text = cleaned.strip()
        meta["reason"] = "an address that was not in the passages was removed: read the answer with care"
    if given.get("doubt"):
        meta["reason"] = f"{given['doubt']}: read the answer with care"
    meta["citations"] = [
        {
            "source": said_of(documents[source], "source"),
            "heading": said_of(documents[source], "heading"),
            "page": page_of_quote(documents[source], quote),
            "quote": quote,
        }
        for source, quote in quotes
    ]
    used = [documents[source] for source, _ in quotes]
    return GeneratedAnswer(data=text, query=query, documents=used, meta=meta)


def sentences_of(document: Document) -> list[str]:
    """The verbatim sentences of a packed passage; its whole text where nobody split it."""
    spans = document.meta.get("spans")
    return [str(span) for span in spans] if spans else [document.content or ""]


def page_of_quote(document: Document, quote: str) -> int | None:
    """The page on which a sentence of a packed passage stands; that on which it begins where nobody split it."""
    spans, pages = document.meta.get("spans") or (), document.meta.get("span_pages") or ()
    return next((as_page(page) for span, page in zip(spans, pages, strict=False) if span == quote), page_of(document))
