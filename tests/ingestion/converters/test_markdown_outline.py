"""What the parser leaves out for speed is nothing that a converter looks at: the blocks are the whole parser's."""

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ragsaver.ingestion.converters import markdown

WHOLE = MarkdownIt("commonmark").enable("table").disable("inline")

# Beginnings of lines that open, continue, end and nest every kind of block, and what may follow them.
openings = st.sampled_from(
    ["", " ", "  ", "    ", "\t", "- ", "  - ", "    - ", "* ", "1. ", "   2) ", "> ", "> - ", "- > ", "- - ", "# ", "## ",
     "- # ", "```", "  ```", "~~~", "> ```", "| ", "- | ", "|-", "--- | ---", "===", "---", "***", "<div>", "</div>",
     "<!-- ", "[a]: "]
)  # fmt: skip
rests = st.sampled_from(
    ["", "a", "a b", "a | b", "--- | ---", "c |", "`|`", "x\\|y", "/url 'title'", "-->", "- d", "1. e"]
)
texts = st.lists(st.tuples(openings, rests).map("".join), max_size=25).map("\n".join)


def seen(parser: MarkdownIt, text: str) -> list[tuple[object, ...]]:
    tokens = parser.parse(text)
    return [
        (one.type, one.tag, one.map, tokens[at + 1].content if one.type == "heading_open" else None)
        for at, one in enumerate(tokens)
        if one.level == 0
    ]


@given(texts)
def test_blocks_are_those_of_the_whole_parser(text: str):
    assert seen(markdown._PARSER, text) == seen(WHOLE, text)
