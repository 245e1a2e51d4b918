"""A question that leans on those before it gets their words; one that stands for itself gets none."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.conversation import Turn, turns_of
from ragsaver.components.follow_up import MAX_ADDED, self_contained

DIALOGUES = Path(__file__).parents[1] / "data" / "dialogues" / "dialogues.jsonl"
TOWER = [Turn("When was the Eiffel Tower built?", "It was built from 1887 to 1889.")]
BUILDER = [Turn("Who designed the Eiffel Tower?", "Gustave Eiffel's company designed it. Others helped.")]
PERMIT = [Turn("Who issues the export permit for parrots?", "The veterinary office.")]
CURIE = [Turn("Where was Marie Curie born?", "In Warsaw, then Russia. She left it.")]


@pytest.mark.parametrize(
    ("turns", "question", "whole"),
    [
        (TOWER, "How tall is it?", "How tall is it? Eiffel Tower"),
        (BUILDER, "When was he born?", "When was he born? Gustave Eiffel"),
        (TOWER + BUILDER, "And where did he die?", "And where did he die? Gustave Eiffel"),
        ([Turn("Who was Gustave Eiffel?", "An engineer of Dijon.")], "When did he die?",
         "When did he die? Gustave Eiffel"),
        ([Turn("What is the population of France?", "68 million.")], "And in Germany?", "And in Germany? population"),
        ([Turn("Who wrote Hamlet?", "Shakespeare.")], "And Macbeth?", "And Macbeth? wrote"),
        (PERMIT, "Why?", "Why? issues export permit parrots"),
        (PERMIT, "How long does that take?", "How long does that take? issues export permit parrots"),
        (CURIE, "What is spoken there?", "What is spoken there? Warsaw Russia Marie Curie"),
        ([*TOWER, Turn("How tall is it?", "It is 330 m tall.")], "And who owns it?", "And who owns it? Eiffel Tower"),
    ],
)  # fmt: skip
def test_it_gets_what_it_leans_on(turns, question: str, whole: str):
    assert self_contained(question, turns) == whole


@pytest.mark.parametrize(
    "question",
    [
        "Who wrote Hamlet?", "What is photosynthesis?", "What is Python and who made it?", "Is there a fee for ships?",
        "How do I renew a passport at the consulate?", "If the pump fails, what does it cost?",
        "What happened in Normandy in 1066?",
    ],
)  # fmt: skip
def test_one_that_stands_for_itself_stays_as_it_is(question: str):
    assert self_contained(question, TOWER) == question


def test_without_a_conversation_nothing_is_added():
    assert self_contained("How tall is it?", []) == "How tall is it?"
    assert self_contained("How tall is it?", [Turn("", "Hello, how can I help?")]) == "How tall is it?"


@given(st.lists(st.tuples(st.text(max_size=60), st.text(max_size=60)), max_size=12), st.text(max_size=60))
def test_the_askers_words_stay_and_few_are_added(turns, question: str):
    whole = self_contained(question, [Turn(*turn) for turn in turns])
    assert whole.startswith(question)
    assert len(whole[len(question) :].split()) <= MAX_ADDED


@pytest.mark.parametrize("line", DIALOGUES.read_text().splitlines())
def test_dialogues_of_a_new_topic_are_left_alone(line: str):
    one = json.loads(line)
    whole = self_contained(one["question"], turns_of([tuple(message) for message in one["history"]]))
    assert whole.startswith(one["question"])
    if one["new_topic"]:
        assert whole == one["question"]
