"""Tags, comments, links, imports and headings are what regular expressions say, without their time."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragsaver.ingestion.chunker import chunk
from ragsaver.ingestion.converters import convert, markdown
from ragsaver.ingestion.converters.markdown_inline import without_tags, without_targets

TAG = re.compile(r"</?[A-Za-z][\w.-]*(?:\s[^<>]*)?/?>|<!--.*?-->|\{/\*.*?\*/\}", re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")
IMPORT_EXPORT = re.compile(r"^(?:import\s.+?(?:from\s+)?[\"'].+[\"'];?|export\s.+)\s*$")
HEADING_MARKS = re.compile(r"\A[ \t]*#{1,6}(?:[ \t]+|\Z)|(?:(?<=[ \t])#+)?[ \t]*\Z")


def texts_of(*parts: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(parts), max_size=14).map("".join)


@given(texts_of("<!--", "-->", "{/*", "*/}", "<a", "</b", ">", "/>", " c='d'", "<", "-", "*", "\n", "x"))
def test_tags_and_comments_go(text: str):
    assert without_tags(text) == TAG.sub("", text)


@given(texts_of("[", "]", "](", "(", ")", "!", ' "', '"', '")', " ", "\n", "a", "[b](c)", '[d](e "f")'))
def test_links_keep_their_words(text: str):
    assert without_targets(text) == LINK.sub(r"\1", text)


@given(texts_of("import", "export", " ", "\t", "'", '"', ";", "from ", "a", "{ b }"))
def test_imports_and_exports_are_told_by_the_line(line: str):
    assert markdown._is_import_or_export(line) == bool(IMPORT_EXPORT.match(line))


@example("#######")  # is no heading
@given(texts_of("#", "##", " ", "\t", "a", "C#"))
def test_a_heading_loses_its_marks(raw: str):
    assert markdown._heading_text(raw).strip() == HEADING_MARKS.sub("", raw).strip()


@pytest.mark.parametrize(
    "part",
    [
        "<!-- ",
        "{/* ",
        "[a](",
        "[",
        '[a](b "',
        "![",
        "<a ",
        "`",
        "](",
    ],
)
def test_what_is_opened_and_never_closed_is_looked_at_once(part: str):
    text = f"# Head\n\nSee [the guide](guide.md).\n\n{part * 200_000}"  # hours, if each were followed to the end
    parsed = convert("a.md", text.encode())
    assert [one.text for one in parsed.blocks[:2]] == ["Head", "See the guide."]


@pytest.mark.parametrize("line", ["import " + "'a" * 500_000 + "b", f"# a{' ' * 500_000}b"])
def test_a_long_line_is_looked_at_once(line: str):
    assert convert("a.md", f"{line}\n\nText.".encode()).blocks[-1].text == "Text."


def test_a_row_of_dashes_that_is_no_rule_is_looked_at_once():
    rows = "1,2\n" + "-" * 500_000 + "x,2\n" + "3,4\n" * 100
    chunks = chunk(convert("a.csv", rows.encode()), None, min_words=20, max_words=60, embed_headings=False)
    assert chunks[0].text.startswith("1 | 2\n---")
