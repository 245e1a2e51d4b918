"""Tables that a PDF draws keep their rows; whatever else it draws, its text stays as it is."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.ingestion.blocks import Block
from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.converters.pdf_tables import Char, Line, grids, split
from tests.pdf_files import pdf, table

ROWS = [["Place", "Price"], ["Bonn", "12"], ["Ulm", "30"]]
PROSE = "The committee met in May\nand agreed that a budget\nwould be raised for all of\nthe members who asked it."


def blocks(drawn: str, *lines: str) -> list[Block]:
    return list(convert("a.pdf", pdf([lines], drawn={0: drawn})).blocks)


@pytest.mark.parametrize("lines", ["re S", "re f"])
def test_rows_of_a_drawn_table_stay_together_between_the_text_around_it(lines: str):
    drawn = "BT /F1 12 Tf 50 700 Td (Prices of May.) Tj ET " + table(ROWS, lines=lines)
    assert blocks(drawn, "At the end.") == [
        Block("paragraph", "Prices of May.", page=1),
        Block("table", "Place | Price\nBonn | 12\nUlm | 30", page=1, header="Place | Price"),
        Block("paragraph", "At the end.", page=1),
    ]


def test_a_cell_may_have_lines_of_its_own():
    found = blocks(table([["Place", "What is there"], ["Bonn", "a museum and\na river"]]))
    assert found[0].text == "Place | What is there\nBonn | a museum and a river"


def test_letters_of_two_halves_are_whole_in_tables_and_around_them():
    means = {"A": "😀".encode("utf-16-be"), "B": b"\xd8\x3d", "C": b"\xde\x00"}
    data = pdf([["A text."]], drawn={0: table([["xA", "yB"], ["Cz", "w"]])}, means=means)
    assert [block.text for block in convert("a.pdf", data).blocks] == ["x😀 | y\nz | w", "😀 text."]


def test_what_spans_columns_or_rows_stands_in_the_first_of_them():
    whole = table([["Prices"]], top=640, widths=(300,)) + table([["Bonn"]], top=600, widths=(150,), height=80)
    parts = table([["12"], ["13"]], left=200, widths=(150,))
    assert blocks(whole + parts)[0].text == "Prices\nBonn | 12\n | 13"


def test_two_tables_of_a_page_stay_two():
    found = blocks(table(ROWS, top=700) + table([["Who", "When"], ["Ada", "Monday"]], top=400))
    assert [block.text for block in found] == ["Place | Price\nBonn | 12\nUlm | 30", "Who | When\nAda | Monday"]


@pytest.mark.parametrize(
    ("rows", "widths"),
    [
        ([[PROSE + "\n" + PROSE, PROSE + "\n" + PROSE]] * 2, (220, 220)),  # columns of prose between rules
        ([[PROSE, PROSE]], (220, 220)),  # two columns in frames
        ([[PROSE], [PROSE]], (220,)),  # frames
        ([["Prices of tea", "", ""], ["", "", ""], ["", "", ""]], (100, 100, 100)),  # the grid behind a curve
        ([["", "", ""], ["a", "b", "c"], ["", "", ""]], (100, 100, 100)),
    ],
)
def test_lines_that_make_no_table_change_nothing(rows: list[list[str]], widths: tuple[float, ...]):
    assert blocks(table(rows, widths=widths, height=120)) == blocks(table(rows, widths=widths, height=120, lines=""))


def test_columns_without_lines_are_text():
    assert [block.kind for block in blocks(table(ROWS, lines=""))] == ["paragraph"]


def test_headings_are_found_on_both_sides_of_a_table():
    drawn = "BT /F1 12 Tf 50 700 Td (Prices) Tj ET " + table(ROWS)
    data = pdf([["Names", "Ada wrote this."]], [("Prices", 0), ("Names", 0)], drawn={0: drawn})
    assert [(block.kind, block.text) for block in convert("a.pdf", data).blocks] == [
        ("heading", "Prices"),
        ("table", "Place | Price\nBonn | 12\nUlm | 30"),
        ("heading", "Names"),
        ("paragraph", "Ada wrote this."),
    ]


def test_a_page_that_is_drawn_throughout_is_not_looked_through():
    lines = [Line(float(10 * n), 0, 5000) for n in range(400)]
    assert grids(lines, lines) == []
    assert len(grids(lines[:4], lines[:4])) == 1


ends = st.tuples(st.sampled_from([0.0, 20.0]), st.sampled_from([20.0, 40.0, 60.0]))
some_lines = st.lists(
    st.builds(lambda at, ends: Line(at, *ends), st.sampled_from([0.0, 20.0, 40.0, 60.0]), ends), min_size=3
)
places = st.integers(-5, 65).map(float)
some_chars = st.lists(
    st.builds(Char, st.sampled_from("abc "), st.one_of(st.none(), st.tuples(places, places))), min_size=5
)


@given(some_chars, some_lines, some_lines)
def test_no_character_is_lost_or_doubled_whatever_is_drawn(
    chars: list[Char], horizontal: list[Line], upright: list[Line]
):
    parts = split(chars, grids(horizontal, upright))
    told = "".join(part if isinstance(part, str) else "".join(map("".join, part)) for part in parts)
    assert Counter("".join(told.split())) == Counter("".join("".join(char.text for char in chars).split()))
