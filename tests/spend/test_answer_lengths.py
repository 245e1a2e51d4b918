from hypothesis import given
from hypothesis import strategies as st

from ragsaver.spend.answer_lengths import AnswerLengths

sizes = st.lists(st.integers(0, 4000), min_size=30, max_size=200)


def learned(tokens: list[int], *, cut: bool = False) -> AnswerLengths:
    known = AnswerLengths()
    for one in tokens:
        known = known.with_answer(one, cut=cut)
    return known


def test_of_a_few_answers_nothing_is_learned():
    assert learned([10] * 29).clamp(0.99, 500) is None


@given(sizes, st.integers(32, 5000))
def test_all_but_the_longest_answers_fit_and_no_answer_may_be_longer_than_the_settings_say(tokens, most):
    clamp = learned(tokens).clamp(0.9, most)
    assert 32 <= clamp <= most
    fit = sum(one <= clamp for one in tokens)
    assert clamp == most or fit >= 0.9 * len(tokens)


@given(st.integers(1, 300))
def test_answers_that_are_cut_make_it_grow_until_they_fit(tokens):
    known = learned([tokens] * 30)
    before = known.clamp(0.99, 10_000)
    for _ in range(5):
        known = known.with_answer(before, cut=True)
    assert known.clamp(0.99, 10_000) > before


def test_what_was_long_ago_is_forgotten():
    known = learned([1000] * 1500)
    for _ in range(12_000):
        known = known.with_answer(40, cut=False)
    assert known.clamp(0.99, 10_000) < 100


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=20))
def test_the_factor_of_prompts_never_shrinks(factors):
    known = AnswerLengths()
    for factor in factors:
        known = known.with_answer(1, cut=False, prompt_factor=factor)
    assert known.prompt_factor == max(1.0, *factors)
