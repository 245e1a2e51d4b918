"""Chunks: nothing lost, nothing twice, never too long, and cut by what the blocks say."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ragsaver.ingestion.blocks import Block, ParsedDocument
from ragsaver.ingestion.chunker import Chunk, chunk

words = st.text(alphabet="abcdefg", min_size=1, max_size=6)
sentences = st.lists(words, min_size=1, max_size=30).map(lambda parts: " ".join(parts) + ".")
paragraphs = st.lists(sentences, min_size=1, max_size=6).map(" ".join)
bodies = st.one_of(
    paragraphs.map(lambda text: Block("paragraph", text)),
    st.lists(sentences, min_size=1, max_size=8).map(lambda rows: Block("list", "\n".join(f"- {row}" for row in rows))),
    st.lists(words, min_size=1, max_size=8).map(lambda rows: Block("table", "\n".join(f"| {row} |" for row in rows))),
)
headings = st.builds(lambda name, level: Block("heading", name, level=level), words, st.integers(1, 4))
documents = st.lists(st.one_of(bodies, bodies, headings), max_size=25).map(lambda found: ParsedDocument(tuple(found)))


def cut(document: ParsedDocument, min_words: int = 20, max_words: int = 60) -> list[Chunk]:
    return chunk(document, "Title", min_words=min_words, max_words=max_words, embed_headings=True)


@given(documents)
def test_every_word_is_in_one_chunk_in_order(document: ParsedDocument):
    body = [word for block in document.blocks if block.kind != "heading" for word in block.text.split()]
    # headings of small sections that were joined stand in the text; nothing else may be added
    found = [word for one in cut(document) for word in one.text.split()]
    names = [word for block in document.blocks if block.kind == "heading" for word in block.text.split()]
    rest = iter(found)
    assert all(word in rest for word in body)
    assert len(found) <= len(body) + len(names)


@given(documents)
def test_no_chunk_is_longer_than_allowed(document: ParsedDocument):
    assert all(len(one.text.split()) <= 60 for one in cut(document))


@given(documents)
def test_the_same_document_is_always_cut_alike_and_numbered_in_order(document: ParsedDocument):
    chunks = cut(document)
    assert chunks == cut(document)
    assert [one.ordinal for one in chunks] == list(range(len(chunks)))


@given(documents)
def test_what_is_embedded_begins_with_the_path_of_headings(document: ParsedDocument):
    for one in cut(document):
        first, _, rest = one.embed_text.partition("\n")
        assert first.startswith("Title") and one.heading in first
        assert rest == one.text


def test_headings_are_a_path_that_follows_their_levels():
    long = "word " * 25
    blocks = [
        Block("heading", "A", level=1), Block("paragraph", long),
        Block("heading", "B", level=2), Block("paragraph", long),
        Block("heading", "C", level=3), Block("paragraph", long),
        Block("heading", "D", level=2), Block("paragraph", long),
    ]  # fmt: skip
    assert [one.heading for one in cut(ParsedDocument(tuple(blocks)))] == ["A", "A > B", "A > B > C", "A > D"]


def test_small_sections_of_one_parent_are_joined_under_their_names():
    blocks = [
        Block("heading", "Guide", level=1), Block("paragraph", "word " * 25),
        Block("heading", "One", level=2), Block("paragraph", "First."),
        Block("heading", "Two", level=2), Block("paragraph", "Second."),
    ]  # fmt: skip
    last = cut(ParsedDocument(tuple(blocks)))[-1]
    assert (last.heading, last.text) == ("Guide > One", "First.\n\nTwo\n\nSecond.")


def paragraphs_of(numbers: list[int]) -> ParsedDocument:
    """Paragraphs that are always the same for the same numbers."""
    return ParsedDocument(
        tuple(
            Block("paragraph", f"Paragraph {n} says " + " ".join(f"w{n}x{i}" for i in range(n % 60))) for n in numbers
        )
    )


@given(st.lists(st.integers(0, 10_000), min_size=60, max_size=120, unique=True), st.integers(10_001, 20_000))
def test_a_paragraph_at_the_top_costs_at_most_two_chunks(numbers: list[int], new: int):
    before = {one.text for one in cut(paragraphs_of(numbers), 40, 300)}
    after = {one.text for one in cut(paragraphs_of([new, *numbers]), 40, 300)}
    assert len(after - before) <= 2


@given(
    st.lists(st.integers(0, 10_000), min_size=60, max_size=120, unique=True),
    st.integers(10_001, 20_000),
    st.integers(0, 60),
)
def test_an_edit_anywhere_moves_only_the_cuts_beside_it(numbers: list[int], new: int, at: int):
    before = {one.text for one in cut(paragraphs_of(numbers), 40, 300)}
    for edited in ([*numbers[:at], new, *numbers[at:]], [*numbers[:at], new, *numbers[at + 1 :]]):
        assert len({one.text for one in cut(paragraphs_of(edited), 40, 300)} - before) <= 3


def test_a_chunk_knows_where_in_it_each_page_begins():
    said = ["One begins.", "One goes on.", "Two begins.", "Three is short.", "Three ends."]
    pages = [1, 1, 2, 3, 3]
    blocks = [Block("paragraph", text, page=page) for text, page in zip(said, pages, strict=True)]
    (only,) = cut(ParsedDocument(tuple(blocks)))
    assert only.page == 1 and only.page_starts is not None
    assert [page for _, page in only.page_starts] == [1, 2, 3]
    begins = ["One begins.", "Two begins.", "Three is short."]
    assert all(only.text[offset:].startswith(text) for (offset, _), text in zip(only.page_starts, begins, strict=True))


def test_a_part_of_a_table_that_begins_with_its_head_again_knows_its_pages():
    head = "| name | value |"
    rows = "\n".join([head, *(f"| row {n} | value |" for n in range(60))])
    after = Block("paragraph", "Said on the next page.", page=2)
    last = cut(ParsedDocument((Block("table", rows, page=1, header=head), after)))[-1]
    assert last.page_starts is not None
    (first, _), (second, page) = last.page_starts
    assert (first, page, last.text[second:]) == (0, 2, after.text)


def test_short_sections_are_joined_within_their_page_only():
    blocks = [
        Block(kind, text, level=kind == "heading", page=page)
        for page, texts in ((1, ("A", "Said.", "B", "Said too.")), (2, ("C", "Last.")), (3, ("D", "Really.")))
        for kind, text in zip(itertools.cycle(("heading", "paragraph")), texts, strict=False)
    ]
    chunks = cut(ParsedDocument(tuple(blocks)))
    assert [(one.heading, one.text, one.page, one.page_starts) for one in chunks] == [
        ("A", "Said.\n\nB\n\nSaid too.", 1, None),
        ("C", "Last.", 2, None),
        ("D", "Really.", 3, None),
    ]


def test_code_longer_than_a_chunk_stays_whole():
    code = Block("code", "\n".join(f"line {n}" for n in range(100)))
    (only,) = cut(ParsedDocument((code,)))
    assert only.text == code.text


def test_a_long_table_is_cut_by_rows_and_every_part_begins_with_its_head():
    rows = [f"| row {n} | value |" for n in range(60)]
    head = "| name | value |\n|---|---|"
    parts = [one.text for one in cut(ParsedDocument((Block("table", "\n".join([head, *rows])),)))]
    assert len(parts) > 2
    assert all(part.startswith(head + "\n") for part in parts)
    assert [line for part in parts for line in part.split("\n")[2:]] == rows


def test_a_long_table_of_equal_rows_is_cut_into_full_parts():
    rows = ["| alpha | ok |"] * 1_900
    head = "| host | state |\n|---|---|"
    table = Block("table", "\n".join([head, *rows]), header=head)
    parts = [one.text.removeprefix(head + "\n") for one in cut(ParsedDocument((table,)), 40, 300)]
    assert "\n".join(parts).split("\n") == rows
    assert all(150 <= len(part.split()) <= 300 for part in parts[1:])


def test_a_document_without_a_title_embeds_no_title():
    (only,) = chunk(
        ParsedDocument((Block("paragraph", "Only text."),)), None, min_words=40, max_words=300, embed_headings=True
    )
    assert only.embed_text == "Only text."
