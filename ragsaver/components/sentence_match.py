"""What does a sentence say of what the question asks, by the vectors of their tokens?

Late interaction by the sentence (MaxSim: Khattab & Zaharia 2020, section 3.2). The tokens were read with their whole
passage, so a sentence that says `he` is not lost; a passage is read once, and its vectors serve the reranker too. What
is read is priced as embedding is.
"""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ragsaver.components.account import current_purse
from ragsaver.components.resources import Resources
from ragsaver.components.sentence_worth import TOKEN_FEATURES, Candidate
from ragsaver.deadline import allowed_s
from ragsaver.models.rerankers.maxsim import PassageTokens
from ragsaver.spend.fees import Fee
from ragsaver.spend.ledger import DONE, NOTHING
from ragsaver.spend.money import usd_of_tokens
from ragsaver.spend.receipt import current_receipt

# Of a text that is read, beyond those that are counted.
SPECIAL_TOKENS = 2
# Cosines of one question's sentences differ by little, and the fit pulls weights towards zero.
_SPREAD = 4.0
_PLACED = ("match", "pooled")  # whose places among all sentences are told too, behind the rest


def matches(
    resources: Resources, question: str, texts: Sequence[str], candidates: Sequence[Candidate], tenant: str
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
    lasts_s = resources.settings.context.deadline_ms / 1000
    fee = _reserved(resources, tokens.name, [question, *texts], lasts_s)
    until = time.monotonic() + allowed_s(lasts_s)
    read: list[int] = []
    try:
        passages = tokens.of_passages(texts, until=until, tenant=tenant, on_read=read.append)
        asked = tokens.of_question(question)
        read.append(len(asked))
    finally:
        usd = usd_of_tokens(sum(read), resources.settings.spend.embedding_per_mtok)
        if fee is not None:
            usd = fee.settle(DONE if read else NOTHING, usd)
        if sum(read):
            current_receipt().add(
                "pack",
                tokens.name,
                sum(read),
                "tokens",
                cost_usd=usd,
                reason="read by the token: the question, and passages that were not read before",
                paid=fee is not None,
            )
    return match_features(asked, resources.embed_question(question), passages, candidates)


def _reserved(resources: Resources, item: str, texts: Sequence[str], lasts_s: float) -> Fee | None:
    """What reading all of these would cost, kept back; None where it costs nothing."""
    usd_per_mtok = resources.settings.spend.embedding_per_mtok
    if not usd_per_mtok:
        return None
    tokens = sum(resources.encoder.count_tokens(texts)) + SPECIAL_TOKENS * len(texts)
    return current_purse(resources.till).reserve(item, "pack", usd_of_tokens(tokens, usd_per_mtok), lasts_s)


def match_features(
    asked: NDArray[np.float32],
    vector: NDArray[np.float32],
    passages: Sequence[PassageTokens],
    candidates: Sequence[Candidate],
) -> NDArray[np.float64]:
    """(sentences of all candidates, len(TOKEN_FEATURES)) float64.

    :param asked: (tokens, dim) float32, the question's; rows of length 1.
    :param vector: (dim,) float32, the question's own.
    :param passages: the tokens of each candidate's.
    """
    rows = [
        _of_sentences(asked, vector, passage, candidate)
        for passage, candidate in zip(passages, candidates, strict=True)
    ]
    found = np.concatenate([np.empty((0, len(TOKEN_FEATURES) - len(_PLACED))), *rows])
    by_place = [_places(found[:, TOKEN_FEATURES.index(name)]) for name in _PLACED]
    return np.column_stack([_SPREAD * found, *by_place])


def _of_sentences(
    asked: NDArray[np.float32], vector: NDArray[np.float32], passage: PassageTokens, candidate: Candidate
) -> NDArray[np.float64]:
    """(sentences, len(TOKEN_FEATURES) - len(_PLACED)) float64 of one passage, all of its sentences at once."""
    found = np.zeros((len(candidate.sentences), len(TOKEN_FEATURES) - len(_PLACED)))
    match, before, of_passage, least, pooled, unread = found.T
    unread[:] = 1.0
    vectors = passage.vectors.astype(np.float32)
    cosines = asked @ vectors.T
    if cosines.size:
        of_passage[:] = cosines.max(axis=1).mean()
    begins, ends = passage.spans.T
    of_text = np.flatnonzero(ends > begins)  # no special tokens
    starts = [one.start for one in candidate.sentences]
    stops = [one.start + len(one.text) for one in candidate.sentences]
    first, after = np.searchsorted(begins[of_text], starts), np.searchsorted(ends[of_text], stops, side="right")
    read = np.flatnonzero(after > first) if len(asked) else np.empty(0, dtype=np.int64)
    if len(read):
        bounds = np.column_stack([first[read], after[read]]).ravel()
        # one more, since a bound must be a place
        best = np.maximum.reduceat(np.pad(cosines[:, of_text], ((0, 0), (0, 1))), bounds, axis=1)[:, ::2]
        sums = np.add.reduceat(np.pad(vectors[of_text], ((0, 1), (0, 0))), bounds, axis=0)[::2]
        lengths = np.linalg.norm(sums, axis=1)
        match[read], least[read], unread[read] = best.mean(axis=0), best.min(axis=0), 0.0
        pooled[read] = sums @ vector / np.where(lengths > 0, lengths, 1.0)
        before[1:] = match[:-1]
    return found


def _places(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """One over each one's place, the highest score first."""
    places = np.empty(len(scores))
    places[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return 1 / places
