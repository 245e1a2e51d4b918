"""What does a sentence say of what the question asks, by the vectors of their tokens?

Late interaction by the sentence (MaxSim: Khattab & Zaharia 2020, section 3.2). The tokens were read with their whole
passage and its headings, so a sentence that says `he` is not lost: once, when the passage was embedded. One of which
nothing is kept is read now, and that is priced as embedding is.
"""

import time
from collections.abc import Sequence
from itertools import accumulate
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.account import current_purse
from ragsaver.components.evidence import current_evidence
from ragsaver.components.resources import Resources
from ragsaver.components.sentence_worth import TOKEN_FEATURES, Candidate
from ragsaver.deadline import allowed_s
from ragsaver.models.rerankers.maxsim import PassageText
from ragsaver.models.token_signs import SignCosines, TokenSigns
from ragsaver.spend.fees import Fee
from ragsaver.spend.ledger import DONE, NOTHING
from ragsaver.spend.money import usd_of_tokens
from ragsaver.spend.receipt import ZERO, current_receipt

# Why it is on a receipt.
READ_NOW = "read by the token: passages, or a question, that were not read before"
# Of a text that is read, beyond those that are counted.
SPECIAL_TOKENS = 2
# Cosines of one question's sentences differ by little, and the fit pulls weights towards zero.
_SPREAD = 4.0
# Of passages that are kept: the same ones come again and again, and each is cut into the same sentences.
_BOUNDS: WeakKeyDictionary[TokenSigns, NDArray[np.intp]] = WeakKeyDictionary()
_PLACED = ("match", "pooled")  # whose places among all sentences are told too, behind the rest


def matches(
    resources: Resources,
    question: str,
    texts: Sequence[PassageText],
    candidates: Sequence[Candidate],
    tenant: str,
) -> NDArray[np.float64]:
    """(sentences of all candidates, len(TOKEN_FEATURES)) float64.

    :param texts: of the candidates' passages.
    :param tenant: whose passages these are.
    :raises BudgetExceeded: if reading costs something, and a budget has no room for it; other refusals as of a language
        model's call.
    :raises RerankLate: if that takes longer than `context.deadline_ms`, or than the request has left.
    :raises SettingsError: if the embedding model gives no token vectors.
    """
    tokens = resources.reranking.tokens
    vector = resources.embed_question(question)
    evidence = current_evidence()
    asked = evidence.tokens.get(question) if evidence else None
    lasts_s = resources.settings.context.deadline_ms / 1000
    until = time.monotonic() + allowed_s(lasts_s)
    reading = _Reading(resources, tokens.name, lasts_s)
    try:
        passages = tokens.of_passages(
            texts, until=until, tenant=tenant, on_lacking=reading.reserve, on_read=reading.note
        )
        if asked is None:
            reading.reserve([question])
            asked = tokens.of_question(question)
            reading.note(len(asked))
    finally:
        reading.settle()
    return match_features(asked, vector, passages, candidates)


def look_ahead(
    resources: Resources, texts: Sequence[PassageText], candidates: Sequence[Candidate], tenant: str
) -> None:
    """Have at hand what is kept of passages, for the first question that finds them; the model reads none."""
    found = zip(resources.reranking.tokens.recall(texts, tenant=tenant), candidates, strict=True)
    kept = [(signs, candidate) for signs, candidate in found if signs is not None]
    _bounds([signs for signs, _ in kept], [candidate for _, candidate in kept])


class _Reading:
    """What is read now, and who pays for it."""

    def __init__(self, resources: Resources, item: str, lasts_s: float) -> None:
        self._resources = resources
        self._item = item
        self._lasts_s = lasts_s
        self._usd_per_mtok = resources.settings.spend.embedding_per_mtok
        self._fees: list[Fee] = []
        self._read: list[int] = []  # tokens, for each fee

    def reserve(self, texts: Sequence[str]) -> None:
        """Keep back what reading these costs, where it costs something."""
        self._read.append(0)
        if self._usd_per_mtok:
            tokens = sum(self._resources.encoder.count_tokens(texts)) + SPECIAL_TOKENS * len(texts)
            usd = usd_of_tokens(tokens, self._usd_per_mtok)
            self._fees.append(current_purse(self._resources.till).reserve(self._item, "pack", usd, self._lasts_s))

    def note(self, tokens: int) -> None:
        """So many were read, of what was reserved last."""
        self._read[-1] += tokens

    def settle(self) -> None:
        """Pay for what was read, and put it on the receipt."""
        costs = [usd_of_tokens(tokens, self._usd_per_mtok) for tokens in self._read]
        paid = [
            fee.settle(DONE if tokens else NOTHING, usd)
            for fee, tokens, usd in zip(self._fees, self._read, costs, strict=False)
        ]
        if tokens := sum(self._read):
            current_receipt().add(
                "pack",
                self._item,
                tokens,
                "tokens",
                cost_usd=sum(paid or costs, ZERO),
                reason=READ_NOW,
                paid=bool(paid),
            )


def match_features(
    asked: NDArray[np.float32],
    vector: NDArray[np.float32],
    passages: Sequence[TokenSigns],
    candidates: Sequence[Candidate],
) -> NDArray[np.float64]:
    """(sentences of all candidates, len(TOKEN_FEATURES)) float64.

    :param asked: (tokens, dim) float32, the question's; rows of length 1.
    :param vector: (dim,) float32, the question's own.
    :param passages: the tokens of each candidate's.
    """
    counts = [len(candidate.sentences) for candidate in candidates]
    found = np.zeros((sum(counts), len(TOKEN_FEATURES) - len(_PLACED)))
    match, before, of_passage, least, pooled, unread = found.T
    unread[:] = 1.0
    tokens = SignCosines.of(np.vstack([asked, vector]), passages)
    lengths = np.array([len(passage.signs) for passage in passages], dtype=np.intp)
    starts = np.cumsum(lengths) - lengths
    if len(asked) and len(tokens.steps):
        there = np.flatnonzero(lengths)
        best_of = np.zeros(len(passages))
        best_of[there] = tokens.cosines(np.maximum.reduceat(tokens.steps, starts[there], axis=0))[:, :-1].mean(axis=1)
        of_passage[:] = np.repeat(best_of, counts)
        bounds = np.concatenate(_bounds(passages, candidates)) + np.repeat(starts, counts)[:, None]
        read = np.flatnonzero(bounds[:, 1] > bounds[:, 0])
        if len(read):
            first, after = bounds[read].T
            places = bounds[read].ravel()
            places = places[: -1 if places[-1] == len(tokens.steps) else None]  # the end is no place
            best = tokens.cosines(np.maximum.reduceat(tokens.steps, places, axis=0)[::2])[:, :-1]
            match[read], least[read], unread[read] = best.mean(axis=1), best.min(axis=1), 0.0
            means = np.add.reduceat(tokens.steps[:, -1], places)[::2] / (after - first)
            pooled[read] = (means - tokens.less[-1]) * tokens.step[-1]
            before[1:] = match[:-1]
            before[[at for at, some in zip(accumulate(counts, initial=0), counts, strict=False) if some]] = 0.0
    by_place = [_places(found[:, TOKEN_FEATURES.index(name)]) for name in _PLACED]
    return np.column_stack([_SPREAD * found, *by_place])


def _bounds(passages: Sequence[TokenSigns], candidates: Sequence[Candidate]) -> list[NDArray[np.intp]]:
    """(sentences, 2) of each passage: the first of its tokens in each and the one behind the last; equal where it has
    none.
    """
    known = [_BOUNDS.get(passage) for passage in passages]
    lacking = [
        n
        for n, (rows, candidate) in enumerate(zip(known, candidates, strict=True))
        if rows is None or len(rows) != len(candidate.sentences)
    ]
    if lacking:
        fresh = _found_bounds([passages[n] for n in lacking], [candidates[n] for n in lacking])
        for n, rows in zip(lacking, fresh, strict=True):
            known[n] = _BOUNDS[passages[n]] = rows
    return [rows for rows in known if rows is not None]


def _found_bounds(passages: Sequence[TokenSigns], candidates: Sequence[Candidate]) -> list[NDArray[np.intp]]:
    """The same where it is not known: of all at once, which takes a third of the time of one by one.

    What stands for no text between two tokens that do belongs to where they belong.
    """
    # passage behind passage, each as long as it needs so that no token of one is another's
    room = [
        1 + max([passage.characters, *(one.start + len(one.text) for one in candidate.sentences[-1:])])
        for passage, candidate in zip(passages, candidates, strict=True)
    ]
    front = list(accumulate(room, initial=0))[:-1]
    lengths = [len(passage.spans) for passage in passages]
    begins, ends = (np.concatenate([passage.spans for passage in passages]) + np.repeat(front, lengths)[:, None]).T
    of_text = np.flatnonzero(ends > begins)  # no special tokens, and none of a heading
    counts = [len(candidate.sentences) for candidate in candidates]
    sentences = [one for candidate in candidates for one in candidate.sentences]
    starts = np.array([one.start for one in sentences], dtype=np.intp) + np.repeat(front, counts)
    first = np.searchsorted(begins[of_text], starts)
    after = np.searchsorted(ends[of_text], starts + [len(one.text) for one in sentences], side="right")
    at = np.append(of_text, 0)
    found = np.column_stack([at[first], np.where(after > first, at[after - 1] + 1, at[first])])
    found -= np.repeat(list(accumulate(lengths, initial=0))[:-1], counts)[:, None]
    return [rows.copy() for rows in np.split(found, list(accumulate(counts))[:-1])]


def _places(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """One over each one's place, the highest score first."""
    places = np.empty(len(scores))
    places[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return 1 / places
