from hypothesis import given
from hypothesis import strategies as st

from ragsaver.spend.prompt_bound import prompt_bound

AROUND = 12


@given(st.lists(st.text(), max_size=5), st.floats(0, 2))
def test_no_more_than_its_bytes_and_no_fewer_than_were_counted(texts: list[str], margin: float):
    counts = [len(text.split()) for text in texts]
    bound = prompt_bound(texts, counts, margin)
    assert sum(counts) <= bound <= sum(len(text.encode(errors="replace")) + AROUND for text in texts)


def test_what_the_tokenizer_sees_as_one_thing_counts_by_its_bytes():
    blob = "QUJD" * 500  # one unknown word to it
    assert prompt_bound([blob], [1], 0.25) >= len(blob)
    assert prompt_bound(["a" + "\n" * 300 + "b"], [2], 0.25) >= 300
    assert prompt_bound(["宪法" * 50], [100], 0.25) >= 300


def test_plain_words_cost_little_more_than_they_are():
    assert prompt_bound(["who issues the export permit for parrots"], [7], 0.25) == 9 + AROUND
