"""Which questions are the same, and which must never be."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.caching.normalising import _without_ending, normalised


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who issues the permit?", "  who issues   the permit ?? "),
        ("Can I enter? What if I'm late?", "can i enter? what if i'm late"),
        ("It is 5 mW. Is that much?", "it is 5 mW. is that much"),
        ("E-mail of the office?", "e-mail of the office"),
        ("A permit?", "a permit"),
        ('"Permit" means what?', '"permit" means what'),
        ("Was kostet die Genehmigung?", "was kostet die Genehmigung"),
        ("Кто выдаёт разрешение?", "кто выдаёт разрешение"),
        ("DOES THE OFFICE OPEN ON 3 DAYS?", "does the office open on 3 days?"),
        ("Who issues the permit?", "Who issues the permit"),
        ("¿Quién firma?", "quién firma"),
        ("WHO ISSUES THE PERMIT?", "who issues the permit?"),
        ("Ｗｈａｔ ｉｓ １２？", "What is 12?"),
        ("Where is the ﬁle?", "Where is the file?"),
        ("cafe\u0301 hours?", "café hours"),
    ],
)
def test_the_first_capital_spaces_and_final_punctuation_do_not_count(one: str, other: str):
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 10²?", "What is 102?"),
        ("What is ½?", "What is 12?"),
        ("What is 5!", "What is 5?"),
        ("What is -5?", "What is 5?"),
        ("What costs 1.5?", "What costs 15?"),
        ("What does WHO do?", "What does who do?"),
        ("Who may enter the US?", "Who may enter us?"),
        ("US exports?", "us exports?"),
        ("IT jobs?", "it jobs?"),
        ("IT?", "it?"),
        ("US GDP", "us gdp"),
        ("Does IT pay?", "Does it pay?"),
        ("Is 5 mW much?", "Is 5 MW much?"),
        ("Is 5 mW much?", "IS 5 MW MUCH OF SUNLIGHT?"),
        ("5MW?", "5mW?"),
        ("WHAT ABOUT SIX METRES AND 5 MW?", "what about six metres and 5 mw?"),
        ("How long for 8 Gb?", "How long for 8 GB?"),
        ("What is pH?", "What is PH?"),
        ("How do I polish silver?", "How do I Polish silver?"),
        ("Who was Turkey's ally?", "Who was turkey's ally?"),
        ("Is vitamin k the same?", "Is vitamin K the same?"),
        ("K is what?", "k is what?"),
        ("Is U.S. Polish policy new?", "Is U.S. polish policy new?"),
        ("What is C++?", "What is C?"),
        ("What is C#?", "What is C?"),
        ("Where is Müller?", "Where is Muller?"),
        ("In 2002?", "In 1992?"),
    ],
)
def test_numbers_and_names_do(one: str, other: str):
    assert normalised(one) != normalised(other)


@given(st.text(max_size=60))
def test_it_is_done_once(question: str):
    assert normalised(normalised(question)) == normalised(question)


WORDS = st.sampled_from("5 mW MW Gb GB Polish polish US us IT it iPhone the Who pH K".split())


@given(st.lists(WORDS, min_size=1, max_size=6), st.lists(WORDS, min_size=1, max_size=6))
def test_behind_the_first_word_every_capital_counts(one: list[str], other: list[str]):
    same = normalised(" ".join(["how", *one])) == normalised(" ".join(["How", *other]))
    assert same == (one == other)


@given(st.text(max_size=40))
def test_all_small_letters_stay_as_they_are(question: str):
    small = normalised(question.lower()).lower()
    assert normalised(small) == small


@given(st.text(max_size=40))
def test_digits_stay(question: str):
    ascii_digits = [one for one in question if one in "0123456789"]
    assert [one for one in normalised(question) if one in "0123456789"][: len(ascii_digits)] == ascii_digits or any(
        one.isnumeric() and one not in "0123456789" for one in question
    )


ENDING = re.compile(r"(?:[\s?.…。？]|(?<!\d)[!！])+$")


@given(st.text(alphabet="a5٣!！?.… \n。\u00a0", max_size=12))
def test_what_ends_a_question_is_what_a_pattern_says_that_takes_too_long(text: str):
    assert _without_ending(text) == ENDING.sub("", text)


def test_a_long_question_of_spaces_is_read_in_reasonable_steps():
    assert normalised(f"Who{' ' * 200_000}issues{'? ' * 100_000}it") == f"who issues{'? ' * 100_000}it"
