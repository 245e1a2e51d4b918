"""CSV, TSV, JSON and JSON Lines: rows under their header, objects as lines."""

import pytest

from ragsaver.ingestion.blocks import Block
from ragsaver.ingestion.converters import convert


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'Name,Note\nAda,"one, two\nthree"\nBob,x\n'),
        ("a.csv", "Name;Note\r\nAda;one, two three\r\nBob;x"),
        ("a.csv", "sep=|\nName|Note\nAda|one, two three\nBob|x"),
        ("a.tsv", "Name\tNote\nAda\tone, two three\nBob\tx"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_rows_make_a_table_whatever_parts_the_cells(name: str, text: str, encoding: str):
    table = "Name | Note\nAda | one, two three\nBob | x"
    assert convert(name, text.encode(encoding)).blocks == (Block("table", table, header="Name | Note"),)


def test_a_first_row_with_numbers_is_no_header():
    assert convert("a.csv", b"Ada,1815\nBob,1901\n").blocks == (Block("table", "Ada | 1815\nBob | 1901"),)


def test_one_long_row_does_not_widen_the_others():
    assert convert("a.csv", b"a,b,c\n1\n").blocks[0].text == "a | b | c\n1"


def test_decimal_commas_do_not_part_cells():
    assert convert("a.csv", b"Ware;Preis\nTee;2,50\nRum;3,00").blocks[0].text.split("\n")[1] == "Tee | 2,50"


def test_nested_objects_are_headings_and_their_values_lines():
    text = b'{"title": "T", "on": true, "tags": ["a", "b"], "db": {"host": "h", "pool": {"size": 3}}, "none": null}'
    parsed = convert("a.json", text)
    assert parsed.title == "T"
    assert list(parsed.blocks) == [
        Block("list", "title: T\non: true\ntags: a, b"),
        Block("heading", "db", level=1),
        Block("list", "host: h"),
        Block("heading", "pool", level=2),
        Block("list", "size: 3"),
    ]


def test_each_object_of_a_list_and_each_row_of_json_lines_is_a_block():
    rows = (Block("list", "q: one\na.b: 1"), Block("list", "q: two\na[0].b: 2"))
    lines = b'{"q": "one", "a": {"b": 1}}\n\n{"q": "two", "a": [{"b": 2}]}\n'
    assert convert("a.jsonl", lines).blocks == rows
    assert convert("misnamed.json", lines).blocks == rows
    assert convert("a.json", b"[" + b",".join(lines.split(b"\n\n")) + b"]").blocks == rows


def test_a_long_value_is_prose():
    assert convert("a.jsonl", b'{"text": "' + b"Words. " * 100 + b'"}').blocks[0].kind == "paragraph"
