"""A citation is read in whatever form a model writes it, whole or in pieces; what stands in code is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.as_data import as_data
from ragsaver.components.citations import CitationReader, broken_marks, numbers_cited, plain_marks, resolved_marks

FORMS = [
    ("[1]", "[1]"),
    ("[1][2]", "[1][2]"),
    ("[1, 2]", "[1][2]"),
    ("[1,2]", "[1][2]"),
    ("[1; 2]", "[1][2]"),
    ("[1 and 2]", "[1][2]"),
    ("[1, 1]", "[1]"),
    ("[1-3]", "[1][2][3]"),
    ("[1–2, 5]", "[1][2][5]"),
    ("[^1]", "[1]"),
    ("【1】", "[1]"),
    ("【1, 2】", "[1][2]"),
    ("【1†source】", "[1]"),
    ("【4:0†birds/parrots 2.md】【2†L3-L9】", "[4][2]"),
    ("［2］", "[2]"),
    ("[Document 2]", "[2]"),
    ("[doc 2]", "[2]"),
    ("[Document 1, Document 2]", "[1][2]"),
    ("[documents 1 and 2]", "[1][2]"),
    ("[Dokument 2]", "[2]"),
    ("[文档1]", "[1]"),
    ("(document 1)", "[1]"),
    ("(see documents 1-2)", "[1][2]"),
    ("(Dokumente 1 und 2)", "[1][2]"),
    ("(Source: 3)", "[3]"),
]


@pytest.mark.parametrize(("written", "read"), FORMS)
def test_each_form_names_its_sources(written: str, read: str):
    answer = f"The office issues it {written}. It costs 40 euros {written}."
    assert plain_marks(answer) == f"The office issues it {read}. It costs 40 euros {read}."


@pytest.mark.parametrize(("written", "read"), FORMS)
def test_a_form_that_is_cut_across_pieces_is_the_same(written: str, read: str):
    answer = f"It is so {written}.\nYes {written}"
    assert in_pieces(list(answer)) == plain_marks(answer) == f"It is so {read}.\nYes {read}"


@pytest.mark.parametrize(
    "text",
    [
        "Call `sort([2, 1])` or `[1-3]`.",
        "Use ``a[1, 2] ` b``.",
        "```python\nx = [1, 2]\n```",
        "~~~\nx = [1, 2]\n~~~\nDone.",
        "```\n[1, 2] and never closed",
        '{"rows": [1, 2]}',
        '[{"rows": [1, 2]}]',
        "Values in [0, 1], [0-9], (1, 2), [1.5, 2] and [1:2].",
        "From [1990-1995] to [20-10] and [ 1, 2 ].",
        "All of [1-900] in (documents) and (see below).",
    ],
)
def test_what_is_no_citation_stays_as_it_is(text: str):
    assert plain_marks(text) == in_pieces(list(text)) == text
    assert not [number for number in numbers_cited(text) if number]


def test_what_is_around_code_is_read():
    text = "`a[1, 2]` is a call [1, 2].\n```\n[1, 2]\n```\nSo it is 【2】."
    assert plain_marks(text) == in_pieces(list(text))
    assert numbers_cited(plain_marks(text)) == [1, 2, 2]


PIECES = st.sampled_from(
    ["[", "]", "1", "2", ", ", "-", "【", "】", "†", "(", ")", "document ", "Doc", "`", "```", "~~~", "\n", " ", "a", "{",
     "[1, 2]", "【1†source】", "(document 1)", "> ", '"']
)  # fmt: skip


@given(st.lists(PIECES, max_size=30))
def test_in_pieces_it_is_what_it_is_as_a_whole(pieces: list[str]):
    assert in_pieces(pieces) == plain_marks("".join(pieces))


@given(st.lists(PIECES, max_size=30).map("".join))
def test_a_document_s_own_text_cites_nothing(text: str):
    assert plain_marks(broken_marks(text)) == broken_marks(text)
    assert plain_marks(as_data(text)) == as_data(text)
    assert numbers_cited(as_data(text)) == []


@given(st.lists(PIECES, max_size=30), st.integers(0, 2))
def test_in_pieces_what_points_to_no_source_is_left_out_as_from_the_whole(pieces: list[str], sources: int):
    whole = resolved_marks("".join(pieces), sources)
    assert in_pieces(pieces, sources) == whole
    assert all(1 <= number <= sources for number in numbers_cited(whole))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("It is so [9].", "It is so."),
        ("It is so  [1][9], and so【12†source】.", "It is so  [1], and so."),
        ("It is so [0] [2].", "It is so [2]."),
        ("`a [9]` stays, (documents 1 and 7) and [9]", "`a [9]` stays, [1] and"),
        ("It is so. [9]\nYes [2]\n[9] it is", "It is so.\nYes [2]\n it is"),
    ],
)
def test_a_mark_of_no_source_is_never_told(said: str, told: str):
    assert resolved_marks(said, 2) == in_pieces(list(said), 2) == told


def test_prose_is_told_as_it_comes():
    reader = CitationReader(2)
    assert reader.feed("It costs (for example) 40 euros ") == "It costs (for example) 40 euros"
    assert reader.feed("(doc") == ""
    assert reader.feed("tors say so) [1") == " (doctors say so)"
    assert reader.feed(", 2, 3") == ""
    assert reader.feed("]") + reader.rest() == " [1][2]"


def test_spaces_are_not_held_for_ever():
    assert CitationReader(1).feed("a" + " " * 300) == "a" + " " * 300


def test_a_mark_that_never_ends_is_read_in_reasonable_steps():
    text = "[1, " * 50_000 + "[" + "1," * 50_000 + "`" * 50_001 + "(document " * 20_000
    assert len(plain_marks(text)) == len(text)


def in_pieces(pieces: list[str], sources: int | None = None) -> str:
    reader = CitationReader(sources)
    return "".join([*map(reader.feed, pieces), reader.rest()])
