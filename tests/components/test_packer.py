from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.packer import Candidate, choose, score_sentences
from ragsaver.sentences import content_stems, sentences

words = st.lists(st.sampled_from("zebra horse road rain tax law".split()), min_size=1, max_size=8)
texts = st.lists(words.map(lambda w: " ".join(w).capitalize() + "."), min_size=1, max_size=5).map(" ".join)
candidates = st.lists(st.tuples(texts, st.floats(0, 1), st.integers(0, 5)), min_size=0, max_size=6).map(
    lambda rows: [
        Candidate(sentences(text), [len(s.text.split()) + 1 for s in sentences(text)], heading, prior)
        for text, prior, heading in rows
    ]
)


@given(candidates, st.integers(1, 60), st.floats(0.3, 1.2))
def test_the_budget_is_never_exceeded(given_candidates, budget, complete_from):
    worth = score_sentences(content_stems("zebra road"), given_candidates, 2.0)
    chosen = choose(worth, given_candidates, budget, complete_from)
    spent = sum(
        sum(candidate.tokens[n] for n in mine) + (candidate.heading_tokens if mine else 0)
        for candidate, mine in zip(given_candidates, chosen, strict=True)
    )
    assert spent <= budget


def test_the_sentence_that_answers_is_taken_before_its_neighbours():
    text = "Horses eat grass. The zebra crosses the road at noon. Rain falls in autumn."
    candidate = Candidate(sentences(text), [5, 9, 5], 2, 1.0)
    worth = score_sentences(content_stems("When does the zebra cross the road?"), [candidate], 2.0)
    assert choose(worth, [candidate], 12, 9.0) == [[1]]


def test_a_passage_that_is_mostly_wanted_comes_whole():
    text = "The zebra crosses the road at noon. It is striped."
    candidate = Candidate(sentences(text), [9, 4], 2, 1.0)
    worth = score_sentences(content_stems("zebra road"), [candidate], 2.0)
    assert choose(worth, [candidate], 40, 0.6) == [[0, 1]]
