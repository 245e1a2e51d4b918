import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from ragsaver.control_characters import first_control, in_lines, on_one_line


def test_a_name_is_shown_on_one_line():
    assert on_one_line("a\nb\x1b[31m\x7f\x9b\u2028\u202e.md") == r"a\x0ab\x1b[31m\x7f\x9b\u2028\u202e.md"
    assert on_one_line("Größe 1, 世界, ﻣﺮﺣﺒﺎ 👋.md") == "Größe 1, 世界, ﻣﺮﺣﺒﺎ 👋.md"


def test_a_text_keeps_its_lines_and_tabs_and_nothing_that_drives_a_terminal():
    assert in_lines("one\n\ttwo\r\x1b]0;title\x07\n") == "one\n\ttwo\\x0d\\x1b]0;title\\x07\n"


@given(st.text())
def test_nothing_that_is_shown_holds_a_control_character(text: str):
    assert first_control(on_one_line(text)) is None
    assert first_control(in_lines(text).replace("\n", "").replace("\t", "")) is None


@given(st.text())
def test_the_first_control_character_is_found(text: str):
    places = [place for place, one in enumerate(text) if unicodedata.category(one) == "Cc"]
    assert first_control(text) == (places[0] if places else None)
