from hypothesis import example, given
from hypothesis import strategies as st

from ragsaver.components.passage_sentences import sentences
from ragsaver.sentences import MAX_CHARS, content_stems, split


def test_sentences_end_where_a_reader_ends_them():
    text = 'Dr. Smith came at 5.30 on Monday. He said "No." Then he left.'
    assert split(text) == ["Dr. Smith came at 5.30 on Monday.", 'He said "No."', "Then he left."]


def test_code_list_items_and_table_rows_stay_whole():
    text = "Intro here.\n\n- one. Two\n- three\n\nAfter it.\n\n```py\na = 1. B\n\nc\n```\n\n| a. B | c |\n| d | e |"
    assert split(text) == [
        "Intro here.",
        "- one. Two",
        "- three",
        "After it.",
        "```py\na = 1. B\n\nc\n```",
        "| a. B | c |",
        "| d | e |",
    ]


@given(st.text(max_size=200))
def test_every_sentence_is_a_verbatim_slice_in_order(text):
    at = 0
    for sentence in split(text):
        at = text.index(sentence, at) + len(sentence)
    assert "".join("".join(split(text)).split()) == "".join(text.split())


@given(st.text(alphabet="ab. \n|-`", max_size=3000))
def test_no_sentence_is_too_long_to_pack_and_each_knows_its_place(text):
    for sentence in sentences(text, ""):
        assert len(sentence.text) <= MAX_CHARS
        assert text[sentence.start :].startswith(sentence.text)


def test_what_is_too_long_ends_at_a_line_s_end_if_it_can():
    code = "```\n" + "\n".join(f"line {n} = {n}" for n in range(100)) + "\n```"
    parts = split(code)
    assert len(parts) > 1 and all(part.splitlines()[0].startswith(("```", "line ")) for part in parts)
    assert "\n".join(parts) == code


@given(st.text(alphabet=st.characters(max_codepoint=127)))
@example("A_b-C9 don't\x1cstop\x00 e.g. x")
def test_words_are_the_same_beside_another_alphabet(text):
    assert content_stems(text) == content_stems(f"{text} é")[:-1]


def test_words_without_meaning_are_left_out_and_forms_meet():
    assert content_stems("What are the running costs?") == content_stems("run cost")
