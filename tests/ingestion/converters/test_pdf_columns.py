"""Columns that no lines draw are a table only where nothing else can be meant."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragsaver.ingestion.blocks import Block
from ragsaver.ingestion.converters import convert
from tests.pdf_files import pdf, table

Rows = Sequence[Sequence[str]]
WIDTHS = (120, 60, 60)
SALES = [["Country", "2019", "2020"], ["France", "12", "15"], ["Poland", "7", "9"], ["Spain", "3", "4"]]


def blocks(rows: Rows, widths: Sequence[float] = WIDTHS, more: str = "", height: float = 14) -> list[Block]:
    drawn = more + table(rows, widths=widths, height=height, lines="")
    return list(convert("a.pdf", pdf([()], drawn={0: drawn})).blocks)


def tables(rows: Rows, widths: Sequence[float] = WIDTHS, more: str = "", height: float = 14) -> list[str]:
    return [block.text for block in blocks(rows, widths, more, height) if block.kind == "table"]


def as_text(rows: Rows) -> str:
    return "\n".join(" | ".join(row) for row in rows)


def test_rows_of_words_and_numbers_keep_their_cells_and_their_header():
    around = "BT /F1 10 Tf 54 650 Td (Sales in all the countries of that year, as told.) Tj ET "
    after = "BT /F1 10 Tf 54 500 Td (Nobody sold more than that in any other year.) Tj ET "
    assert blocks(SALES, more=around) == [
        Block("paragraph", "Sales in all the countries of that year, as told.", page=1),
        Block("table", as_text(SALES), page=1, header="Country | 2019 | 2020"),
    ]
    assert [block.kind for block in blocks(SALES, more=after)] == ["paragraph", "table"]


@pytest.mark.parametrize(
    "rows",
    [
        SALES[1:],
        [["Country", "Sold", "Grown by"], *SALES[1:]],
        [["France", "-12.5%", "$1,200"], ["Poland", "n/a", "$30"], ["Spain", "(0.4)%", "$7"], ["Malta", "3%", "$8"]],
        [["Mon", "Tue", "Wed"], ["3", "4", "5"], ["10", "11", "12"], ["17", "18", "19"]],
    ],
)
def test_what_else_is_a_table(rows: Rows):
    assert tables(rows) == [as_text(rows)]


def test_a_header_that_names_all_columns_but_the_first_is_one():
    rows = [["", "Sold", "Grown by"], *SALES[1:]]
    assert tables(rows) == [as_text(rows)]


def test_columns_that_are_drawn_one_after_the_other_are_rows():
    drawn = ""
    for column, left in enumerate((50, 200, 300)):
        drawn += table([[row[column]] for row in SALES], left=left, widths=(60,), height=14, lines="")
    found = convert("a.pdf", pdf([()], drawn={0: drawn})).blocks
    assert [block.text for block in found] == [as_text(SALES)]


LINES = [
    "the committee met in May 12",
    "and agreed that 300 would",
    "be raised for all 12 of",
    "members in 1999 who ask",
]


@pytest.mark.parametrize(
    ("rows", "widths"),
    [
        pytest.param([["Country", "Sold", "Grown by"], *SALES[1:3]], WIDTHS, id="too few rows"),
        pytest.param([row[:2] for row in SALES], WIDTHS, id="too few columns"),
        pytest.param([[line, line] for line in LINES], (220, 220), id="two columns of prose"),
        pytest.param([[line, line, line] for line in LINES], (180, 180, 180), id="three columns of prose"),
        pytest.param(
            [[line, *row[1:]] for line, row in zip(LINES, SALES, strict=True)], (180, 80, 80), id="prose beside figures"
        ),
        pytest.param(
            [["1", "Why", "3"], ["1.1", "Owls", "3"], ["1.2", "Voles", "7"], ["2", "How", "12"]], WIDTHS, id="contents"
        ),
        pytest.param([[f"{one} ........", ". . .", str(n)] for n, one in enumerate("cab")], WIDTHS, id="dots"),
        pytest.param([["x", "= 3", "12"], ["y", "= 4", "13"], ["z", "= 5", "9"]], WIDTHS, id="formulas"),
        pytest.param([["1", "0", "0"], ["0", "1", "0"], ["0", "0", "1"]], WIDTHS, id="a matrix"),
        pytest.param([["int a;", "// one", "12"], ["int b;", "// two", "11"], ["int c;", "", "1"]], WIDTHS, id="code"),
        pytest.param(
            [["Ada Byron", "Owl Ltd.", "Bo Li"], ["Mill St 3", "Box 12", "Via 9"], ["53111 Bonn", "10115 Ulm", "20 Rom"]],
            WIDTHS,
            id="addresses",
        ),
        pytest.param([["owl 12", "vole 3", "bee 7"], ["ant 4", "fox 9", "cat 1"], ["elk 5", "eel 6", "emu 2"]], WIDTHS,
                     id="an index"),
        pytest.param([["[1]", "Byron, A.", "1843"], ["[2]", "Li, B.", "1801"], ["[3]", "Bo, C. Owls", "1950"]], WIDTHS,
                     id="a bibliography"),
        pytest.param([["Why", "3", "How", "30"], ["Owls", "7", "Bees", "32"], ["Ants", "12", "Ends", "47"]],
                     (90, 60, 90, 60), id="contents in two columns"),
        pytest.param(
            [["France", "12", "15"], ["Poland", "7", "9"], ["Spain", "3", "4"], ["and Portugal", "", ""]], WIDTHS,
            id="a cell of two lines",
        ),
        pytest.param(
            [["France", "12", "15"], ["Poland", "7", ""], ["Spain", "3", "4"], ["Malta", "3", "4"]], WIDTHS,
            id="a gap",
        ),
    ],
)  # fmt: skip
def test_whatever_may_be_something_else_stays_text(rows: Rows, widths: Sequence[float]):
    found = blocks(rows, widths)
    assert {block.kind for block in found} == {"paragraph"}
    said = " ".join(block.text for block in found).split()
    assert sorted(said) == sorted(word for row in rows for cell in row for word in cell.split())


@given(st.lists(st.lists(st.sampled_from(["owl", "12", "3.5", "a b", "x"]), min_size=1, max_size=4), max_size=6))
@settings(max_examples=60, deadline=None)
def test_no_letter_is_lost_or_told_twice(rows: list[list[str]]):
    shown = [["owls"], *rows]
    said = "".join(block.text for block in blocks(shown, (90, 60, 60, 60)))
    assert sorted(letter for letter in said if letter not in " |\n") == sorted(
        letter for row in shown for cell in row for letter in cell if letter != " "
    )


def test_rows_that_are_not_evenly_apart_are_no_table():
    drawn = "".join(
        table([row], widths=WIDTHS, top=top, height=14, lines="")
        for row, top in zip(SALES, (600, 586, 540, 400), strict=True)
    )
    assert {block.kind for block in convert("a.pdf", pdf([()], drawn={0: drawn})).blocks} == {"paragraph"}


def test_a_page_of_more_lines_than_people_read_is_left_alone():
    rows = [["France", "12", "15"]] * 1200
    assert {block.kind for block in blocks(rows, height=0.5)} == {"paragraph"}


def test_what_stands_in_drawn_lines_is_left_to_them():
    drawn = table(SALES, widths=WIDTHS, height=14)
    assert [block.text for block in convert("a.pdf", pdf([()], drawn={0: drawn})).blocks] == [as_text(SALES)]
