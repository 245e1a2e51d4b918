"""What is filled into a PDF's form is read, though the page's text does not have it."""

import pytest

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.blocks import Block
from ragsaver.ingestion.converters import convert
from tests.pdf_files import PICTURE, pdf


def test_fields_stand_below_their_page_with_what_they_are_called():
    fields = [
        ("form[0].page[0].f1_03[0]", "Your name", "Ada Lovelace"),
        ("form[0].page[0].Town[0]", "", "London"),
        ("Text12", "", "on  foot"),
        ("Street", "", ""),
        ("agreed", "I agree", "/Yes"),
        ("copy.Town", "", "London"),
    ]
    found = convert("a.pdf", pdf([["Application"], ["The end"]], fields=fields)).blocks
    assert list(found) == [
        Block("paragraph", "Application", page=1),
        Block("list", "- Your name: Ada Lovelace\n- Town: London\n- on foot", page=1),
        Block("paragraph", "The end", page=2),
    ]


def test_a_scanned_form_has_what_was_filled_in():
    data = pdf([[]], drawn={0: PICTURE}, fields=[("Town", "", "London")])
    parsed = convert("a.pdf", data)
    assert [block.text for block in parsed.blocks] == ["- Town: London"]
    assert [note.code for note in parsed.notes] == ["pages-without-text"]


def test_a_scanned_form_that_is_empty_is_a_scan():
    with pytest.raises(UnreadableDocument, match="no text layer"):
        convert("a.pdf", pdf([[]], drawn={0: PICTURE}, fields=[("Town", "", "")]))


def test_headings_are_found_on_a_page_with_a_form():
    data = pdf([["Travel", "A permit is needed."]], [("Travel", 0)], fields=[("Town", "", "Bonn")])
    assert [block.kind for block in convert("a.pdf", data).blocks] == ["heading", "paragraph", "list"]
