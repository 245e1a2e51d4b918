import pytest
from haystack import Document
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.budget_filling import GAP_TOKENS, choose
from ragsaver.components.packer import ContextPacker
from ragsaver.components.passage_sentences import sentences
from ragsaver.components.sentence_worth import Candidate, score_sentences
from ragsaver.pipelines.runtime import Runtime

QUESTION = "When does the zebra cross the road?"

words = st.lists(st.sampled_from("zebra horse road rain tax law it noon 1999".split()), min_size=1, max_size=8)
texts = st.lists(words.map(lambda w: " ".join(w).capitalize() + "."), min_size=1, max_size=5).map(" ".join)
candidates = st.lists(st.tuples(texts, st.floats(0, 1), st.integers(0, 5)), min_size=0, max_size=6).map(
    lambda rows: [candidate(text, prior=prior, heading_tokens=heading) for text, prior, heading in rows]
)


def candidate(text: str, *, prior: float = 1.0, heading_tokens: int = 2) -> Candidate:
    split = sentences(text, "")
    return Candidate(split, [len(one.text.split()) + 1 for one in split], heading_tokens, prior)


def runs_of(columns):
    return sum(column - 1 not in columns for column in columns)


@given(candidates, st.integers(1, 60), st.floats(0.3, 1.2))
def test_the_budget_is_never_exceeded(given_candidates, budget, complete_from):
    worth = score_sentences(QUESTION, given_candidates)
    chosen = choose(worth, given_candidates, budget, complete_from)
    spent = sum(
        sum(one.tokens[n] for n in mine) + one.heading_tokens + GAP_TOKENS * (runs_of(mine) - 1)
        for one, mine in zip(given_candidates, chosen, strict=True)
        if mine
    )
    assert spent <= budget


@given(candidates)
def test_everything_is_taken_where_the_budget_allows_it(given_candidates):
    worth = score_sentences(QUESTION, given_candidates)
    chosen = choose(worth, given_candidates, 10_000, 0.8)
    assert chosen == [list(range(len(one.sentences))) for one in given_candidates]


def test_the_sentence_that_answers_is_taken_before_its_neighbours():
    one = candidate("Horses eat grass. The zebra crosses the road at noon. Rain falls in autumn.")
    worth = score_sentences(QUESTION, [one])
    assert choose(worth, [one], 11, 9.0) == [[1]]


def test_a_date_is_wanted_where_one_is_asked_for_and_a_name_where_one_is():
    one = candidate("Rain falls. The bridge was built by Anna. Rain falls. The bridge was built in 1902.")
    by_question = [score_sentences(question, [one])[0] for question in ("When was it built?", "Who built it?")]
    ahead = [scores[3] - scores[1] for scores in by_question]
    assert ahead[0] > 0 > ahead[1]


def test_a_sentence_that_refers_back_brings_the_one_in_front_of_it():
    text = "Old Anna lived here. It crosses zebra roads daily. Rain falls in autumn. Grass grows in spring."
    one = candidate(text)
    worth = score_sentences("zebra roads daily", [one])
    assert choose(worth, [one], 13, 9.0) == [[0, 1]]
    assert choose(worth, [one], 8, 9.0) == [[1]], "but it comes alone where both do not fit"


def test_of_two_that_are_worth_the_same_the_one_beside_a_chosen_sentence_is_taken():
    one = candidate("Zebra roads. Rain falls here. Grass grows now. Birds sing now.", heading_tokens=0)
    worth = [[2.0, 0.1, 0.4, 0.4]]
    assert choose(worth, [one], 7, 9.0) == [[0, 1]]


def test_a_passage_that_is_mostly_wanted_comes_whole():
    one = candidate("The zebra crosses the road at noon. Stripes are black.")
    worth = score_sentences("zebra road", [one])
    assert choose(worth, [one], 40, 0.6) == [[0, 1]]


def test_nothing_is_found_in_nothing():
    assert score_sentences(QUESTION, []) == []
    assert score_sentences(QUESTION, [candidate("")]) == [[]]


@pytest.mark.parametrize(
    ("found", "stands"),
    [
        (["a"], ["a"]),
        (["a", "b"], ["a", "b"]),
        (["a", "b", "c", "d"], ["a", "c", "d", "b"]),
        (["a2", "b", "a1", "c"], ["a1", "a2", "c", "b"]),
    ],
    ids=["one", "two", "the second best last", "a document's own in its order"],
)
def test_the_best_document_stands_first_and_the_second_best_last(found: list[str], stands: list[str], runtime: Runtime):
    passages = [
        Document(
            id=name,
            content=f"The zebra {name} crosses the road at noon.",
            score=1.0 - n / 10,
            meta={"source": name[0], "ordinal": int(name[1:] or 0), "heading": "", "tokens": 10},
        )
        for n, name in enumerate(found)
    ]
    packer = ContextPacker(budget_tokens=500)
    packer.bind(runtime.resources)
    packed = packer.run(QUESTION, passages)["documents"]
    assert [one.id for one in packed] == stands
