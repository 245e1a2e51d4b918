"""Which first row names the columns of a table that marks no header?"""

import pytest

from ragsaver.ingestion.converters import convert
from ragsaver.ingestion.converters.rows import names_columns, table
from tests.ingestion.converters.office_files import xlsx

VALUES = [["France", "12", "1,950"], ["Poland", "7", "9"]]


@pytest.mark.parametrize(
    ("first", "below"),
    [
        (["Country", "Sold", "Left"], VALUES),
        (["", "Sold", "Left"], VALUES),
        (["Country", "2019", "2020"], VALUES),
        (["", "2020", "2019"], VALUES),
        (["Country", "2019", "Total"], VALUES),
        (["Country", "2020"], [["France", "12"], ["Poland", "2001"], ["Spain", "7"]]),
        (["2019", "2020", "2021"], [["12", "15", "9"]]),
        (["Size", "36", "38", "40"], [["Red", "5", "0", "12"], ["Blue", "0", "0", "0"]]),
        (["", "0", "1", "2"], [["a", "0.5", "0.1", "7"]]),
    ],
)
def test_words_and_what_is_counted_name_columns(first: list[str], below: list[list[str]]):
    assert names_columns(first, below)


@pytest.mark.parametrize(
    ("first", "below"),
    [
        (["France", "12", "15"], VALUES),
        (["Ada", "1815", "1852"], [["Bach", "1685", "1750"]]),
        (["Turing", "1912", "1954"], [["Hopper", "1906", "1992"], ["Lovelace", "1915", "1952"]]),
        (["Country", "2019", "2019"], VALUES),
        (["Rum", "2019", "2001", "2010"], [["Tea", "1", "2", "7"]]),
        (["Tea", "2019", "12"], VALUES),
        (["Tea", "1", "2", "3"], [["Rum", "4", "5", "6"]]),
        (["1", "2", "3"], [["7", "1", "9"]]),
        (["Tea", "1", "3"], [["Rum", "7", "2"]]),
        (["Tea", "", "2020"], VALUES),
        (["", "", ""], VALUES),
        (["Country", "2019", "2020"], []),
    ],
)
def test_values_do_not(first: list[str], below: list[list[str]]):
    assert not names_columns(first, below)


def test_a_sheet_s_years_are_its_header():
    rows = [["Country", 2019, 2020], ["France", 12, 15.5], ["Poland", 7, 9]]
    assert convert("a.xlsx", xlsx({"S": rows})).blocks[1].header == "Country | 2019 | 2020"
    assert convert("a.csv", b"Country;2019;2020\nFrance;12;15\n").blocks[0].header == "Country | 2019 | 2020"


def test_a_header_is_judged_by_the_columns_that_are_used():
    block = table([["Country", "", "2019", "2020"], ["France", "", "12", "15"], ["Poland"]])
    assert block is not None and block.header == "Country | 2019 | 2020"
