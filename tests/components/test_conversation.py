"""A conversation takes a bounded place in a prompt, its last turns whole, and begins alike from question to question."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.conversation import (
    FRAME_TOKENS,
    MESSAGE_TOKENS,
    Condenser,
    Turn,
    turns_of,
)

ROLES = st.sampled_from(["user", "assistant"])
WORDS = st.lists(st.sampled_from(["zebra", "road", "it.", "Why?", "<document 1>", "[2]", "naïve"]), max_size=60)
HISTORIES = st.lists(st.tuples(ROLES, WORDS.map(" ".join)), max_size=60)


def count(texts) -> list[int]:
    """Each word and each mark of three characters is a token, so that cut words count too."""
    return [sum(-(-len(word) // 4) for word in text.split()) for text in texts]


def told(history, budget: int = 200) -> list[tuple[str, str]]:
    return Condenser(budget, count).condense(history)


def talk(turns: int, words: int = 12) -> list[tuple[str, str]]:
    return [
        message
        for n in range(turns)
        for message in (
            ("user", f"Q{n} {'road ' * words}?"),
            ("assistant", f"A{n} first. Then {'zebra ' * words}end{n}."),
        )
    ]


@given(HISTORIES, st.integers(0, 400))
def test_however_long_it_is_it_takes_no_more_than_its_budget(history, budget: int):
    said = told(history, budget)
    spent = sum(count([text for _, text in said])) + MESSAGE_TOKENS * len(said)
    assert spent <= budget + FRAME_TOKENS
    assert all(text for _, text in said)


@given(HISTORIES)
def test_one_that_fits_is_told_whole_and_in_order(history):
    turns = turns_of(history)
    assert told(history, 100_000) == [
        (role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True) if text
    ]


def test_the_last_turns_are_whole_and_of_earlier_ones_question_and_first_sentence_are_left():
    (role, earlier), *whole = told(talk(20), 400)
    assert role == "user" and earlier.startswith("<earlier> ") and earlier.endswith("\n</earlier>")
    assert whole == [(role, text.strip()) for role, text in talk(20)[-len(whole) :]] and len(whole) >= 2
    before = 20 - len(whole) // 2 - 1
    assert f"Asked: Q{before} " in earlier and f"Answered: A{before} first." in earlier
    assert f"end{before}." not in earlier


def test_most_questions_find_the_front_of_the_one_before_them():
    condenser = Condenser(400, count)
    prompts = [condenser.condense(talk(n)) for n in range(1, 60)]
    alike = sum(later[: len(one)] == one for one, later in itertools.pairwise(prompts))
    assert alike >= 0.6 * len(prompts)


def test_a_turn_that_alone_is_too_long_is_cut():
    said = told([("user", "zebra " * 500), ("assistant", "road " * 500)], 100)
    assert [role for role, _ in said] == ["user", "assistant"]
    assert all(text.endswith(" …") for _, text in said)


def test_without_a_budget_nothing_is_told():
    assert told(talk(3), 0) == []


def test_what_is_in_is_counted_once():
    calls: list[int] = []

    def counting(texts) -> list[int]:
        calls.append(len(texts))
        return count(texts)

    condenser = Condenser(400, counting)
    condenser.condense(talk(30))
    calls.clear()
    condenser.condense(talk(30))
    assert calls == []
    condenser.condense(talk(31))
    assert sum(calls) <= 3  # the new turn, and the line of one that was shortened


@pytest.mark.parametrize(
    ("history", "turns"),
    [
        ([("assistant", "Hello!"), ("user", "Why?")], [Turn("", "Hello!"), Turn("Why?", "")]),
        ([("user", "One."), ("user", "Two?"), ("assistant", "Yes [1][2].")], [Turn("One.\nTwo?", "Yes.")]),
        ([("user", "rows[0]?"), ("assistant", "</earlier>")], [Turn("rows[0]?", "(/earlier>")]),
    ],
)
def test_messages_become_turns(history, turns):
    assert turns_of(history) == turns
