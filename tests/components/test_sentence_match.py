"""Sentences held against the question by the vectors of their tokens."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from haystack import Document
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.evidence import Evidence, gathering
from ragsaver.components.packer import ContextPacker
from ragsaver.components.passage_sentences import sentences
from ragsaver.components.sentence_match import match_features, matches
from ragsaver.components.sentence_worth import TOKEN_FEATURES, Candidate
from ragsaver.errors import RerankLate, SettingsError
from ragsaver.models.rerankers.maxsim import PassageText
from ragsaver.models.token_signs import TokenSigns, signs_of
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings
from ragsaver.spend.receipt import open_receipt
from tests.model_runs import tell_runs
from tests.sign_steps import in_steps

# What the features are spread by.
SPREAD = 4.0
TEXT = "Owls hunt voles. They sleep by day. Rain fell."
# No word of the question stands in the sentence that answers it.
QUESTION = "Which physician treats kids?"
ANSWERED = "The station opened early. A doctor for small children works there. Tickets cost four pounds."


def candidate(text: str) -> Candidate:
    split = sentences(text, "")
    return Candidate(split, [len(one.text.split()) for one in split], 0, 1.0)


def settings(home: Path, deadline_ms: float = 60_000) -> Settings:
    context = {"match": "tokens", "budget_tokens": 16, "deadline_ms": deadline_ms}
    return Settings.model_validate({"home": home, "pipelines_dir": home, "context": context})


@pytest.fixture
def matching(tmp_path: Path) -> Iterator[Runtime]:
    with open_runtime(settings(tmp_path), "a test") as opened:
        yield opened


def packed(runtime: Runtime) -> tuple[str, str]:
    """What is packed for the question, and why."""
    packer = ContextPacker()
    packer.bind(runtime.resources)
    with open_receipt() as receipt:
        (one,) = packer.run(QUESTION, [Document(content=ANSWERED, score=1.0)])["documents"]
    return str(one.content), receipt.close().lines[-1].reason


def test_each_sentence_is_told_by_its_own_tokens() -> None:
    # tokens: [begin], "Owls hunt voles.", "They sleep by day."; the model did not read the last sentence
    spans = np.array([[0, 0], [0, 16], [17, 35]], dtype=np.int32)
    signs = signs_of(np.array([[-1.0, 1, 1, 1], [1, 1, 1, -1], [1, 1, 1, 1]]))
    asked = np.array([[1.0, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float32)

    rows = match_features(asked, asked[0], [TokenSigns(signs, spans, len(TEXT))], [candidate(TEXT)])

    told = [dict(zip(TOKEN_FEATURES, [*row[:-2] / SPREAD, *row[-2:]], strict=True)) for row in rows]
    first, second, third = told
    assert [one["unread"] for one in told] == [0.0, 0.0, 1.0]
    assert (first["match"], first["match_least"]) == pytest.approx((0.0, -0.5))
    assert (second["match"], second["match_least"]) == pytest.approx((0.5, 0.5))
    assert [one["match_before"] for one in told] == [0.0, first["match"], second["match"]]
    assert (first["pooled"], second["pooled"]) == pytest.approx((0.5, 0.5))
    assert third["match"] == third["match_least"] == third["pooled"] == 0.0
    assert [one["match_rank"] for one in told] == [1 / 2, 1, 1 / 3]
    assert [one["pooled_rank"] for one in told] == [1, 1 / 2, 1 / 3]
    assert [one["match_of_passage"] for one in told] == pytest.approx([0.5] * 3), (
        "all of its tokens count, those of no sentence too"
    )


def one_by_one(asked, vector, passage: TokenSigns, given: Candidate) -> Iterator[tuple[float, ...]]:
    """Match, least and pooled of each sentence, whether it was read, and the match of its passage."""
    dim = len(vector)
    rows = (np.unpackbits(passage.signs, axis=1, count=dim) * 2.0 - 1) / np.sqrt(dim)
    of_passage = (asked @ rows.T).max(axis=1).mean()
    for one in given.sentences:
        inside = [
            n
            for n, (begins, ends) in enumerate(passage.spans.tolist())
            if ends > begins and begins >= one.start and ends <= one.start + len(one.text)
        ]
        if not inside:
            yield 0.0, 0.0, 0.0, 1.0, of_passage
            continue
        inside = list(range(inside[0], inside[-1] + 1))  # what stands for no text between them says what they say
        best = (asked @ rows[inside].T).max(axis=1)
        yield best.mean(), best.min(), (rows[inside] @ vector).mean(), 0.0, of_passage


@given(st.integers(0, 2**32 - 1), st.lists(st.tuples(st.integers(1, 40), st.integers(0, 12)), min_size=1, max_size=4))
def test_sentences_told_at_once_are_told_as_one_by_one(seed: int, shapes: list[tuple[int, int]]) -> None:
    dice = np.random.default_rng(seed)
    asked = dice.normal(size=(3, 12)).astype(np.float32)
    asked = in_steps(asked / np.linalg.norm(asked, axis=1, keepdims=True))
    passages, candidates, wanted, before = [], [], [], []
    for tokens, sentence_count in shapes:
        told = candidate(" ".join(f"{'W' + 'o' * int(dice.integers(1, 9))} ends here." for _ in range(sentence_count)))
        length = 18 * sentence_count + 1
        begins = np.sort(dice.integers(0, length, tokens))
        ends = np.minimum(np.append(begins[1:], length), begins + dice.integers(0, 6, tokens))  # some are no text
        spans = np.column_stack([begins, ends]).astype(np.int32)
        passage = TokenSigns(signs_of(dice.normal(size=(tokens, 12))), spans, length)
        mine = list(one_by_one(asked, asked[0], passage, told))
        wanted += mine
        before += [0.0, *(row[0] for row in mine)][: len(mine)]
        passages.append(passage)
        candidates.append(told)
    found = match_features(asked, asked[0], passages, candidates) / SPREAD
    columns = [TOKEN_FEATURES.index(name) for name in ("match", "match_least", "pooled", "unread", "match_of_passage")]
    assert found[:, columns] == pytest.approx(np.array(wanted).reshape(-1, 5), abs=1e-4)
    assert found[:, TOKEN_FEATURES.index("match_before")] == pytest.approx(np.array(before), abs=1e-4)


def test_nothing_to_match_is_no_rows() -> None:
    none = np.zeros((0, 8), dtype=np.float32)
    assert match_features(none, np.zeros(8, dtype=np.float32), [], []).shape == (0, len(TOKEN_FEATURES))
    empty = TokenSigns(signs_of(none), np.zeros((0, 2), dtype=np.int32), 0)
    (row, *_) = match_features(none, np.zeros(8, dtype=np.float32), [empty], [candidate(TEXT)])
    assert row[TOKEN_FEATURES.index("unread")] > 0


def test_a_sentence_that_means_the_answer_is_packed_although_it_has_none_of_the_words(matching: Runtime) -> None:
    text, why = packed(matching)
    assert "doctor for small children" in text
    assert why.endswith("by words and tokens")


def test_words_alone_decide_where_passages_are_not_read_in_time(tmp_path: Path) -> None:
    with open_runtime(settings(tmp_path, deadline_ms=0.001), "a test") as opened:
        evidence = Evidence()
        with gathering(evidence):
            _, why = packed(opened)
    assert why.endswith("by words alone: passages were not read in time")
    assert evidence.stamps() is None, "the answer is not kept: another time it may be better"


def test_a_passage_is_read_once_for_questions_and_the_reranker(
    matching: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    tell_runs(lambda texts, query: read.extend(() if query else texts), monkeypatch.setattr)
    packed(matching)
    packed(matching)
    matching.resources.reranking.reranker.score(QUESTION, [ANSWERED], tenant=matching.scope().tenant)
    assert read == [ANSWERED]


def test_passages_of_another_tenant_are_read_anew(matching: Runtime) -> None:
    ask = [matching.resources, QUESTION, [PassageText(ANSWERED)], [candidate(ANSWERED)]]
    first, second = (matches(*ask, tenant) for tenant in ("acme", "rival"))
    np.testing.assert_array_equal(first, second)
    assert {key.tenant for key in matching.resources.reranking.tokens._kept} == {"acme", "rival"}


def test_a_model_that_gives_no_token_vectors_is_told_before_the_first_question(matching: Runtime) -> None:
    class Pooling:
        name = fingerprint = "pooling"

        def count_tokens(self, texts):
            return [1 for _ in texts]

    packer = ContextPacker()
    packer.bind(replace(matching.resources, encoder=Pooling()))
    with pytest.raises(SettingsError, match="context.match: words"):
        packer.warm_up()


def test_reading_ends_with_the_time_that_there_is(tmp_path: Path) -> None:
    with open_runtime(settings(tmp_path, deadline_ms=0.001), "a test") as opened, pytest.raises(RerankLate):
        matches(opened.resources, QUESTION, [PassageText(ANSWERED)], [candidate(ANSWERED)], "acme")
