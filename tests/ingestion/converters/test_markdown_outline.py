"""The outermost blocks are those that another CommonMark parser finds."""

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ragsaver.ingestion.converters import markdown

OTHER = MarkdownIt("commonmark").enable("table").disable("inline")

words = st.sampled_from(["a", "a b", "ä", "漢 字", "a | b", "x\\|y", "-->", "`# d`", "1.5", "C#", "*e* f_g"])
# In the corners (an item that is empty, a table that a code block follows at once) the two differ, and may.
blocks = st.one_of(
    words,
    st.lists(words, min_size=2, max_size=3).map("\n".join),
    st.builds("{} {}{}".format, st.sampled_from(["#", "##", "   ######"]), words, st.sampled_from(["", " #", " ##  "])),
    st.builds("{}\n{}".format, st.sampled_from(["a", "ä b", "C#"]), st.sampled_from(["===", "---"])),
    st.builds("{0}{1}\n{0}{2}".format, st.sampled_from(["- ", "* ", "1. ", "2) "]), words, words),
    st.builds("- {}\n  - {}\n\n  {}\n- {}".format, words, words, words, words),
    st.builds("> {}\n{}\n> - {}".format, words, words, words),
    st.builds("{0}py\n# {1}\n\n    - {2}\n{0}".format, st.sampled_from(["```", "~~~", "  ````"]), words, words),
    st.builds("    {}\n\n    # {}".format, words, words),
    st.sampled_from(["| a | `b` |\n|:--|---|\n| ä \\| c | d |", "<div>\n*a*\n</div>", "<!-- a\n\n# b -->", "***"]),
)
texts = st.lists(blocks, max_size=8).map("\n\n".join)


def by_the_other(text: str) -> list[tuple[str, int, str]]:
    lines = text.split("\n")
    blocks = []
    for token in OTHER.parse(text):
        if token.level or token.map is None:
            continue
        level = int(token.tag[1]) if token.type == "heading_open" else 0
        blocks.append((token.type, level, "\n".join(lines[slice(*token.map)]).strip()))
    return [block for block in blocks if block[0] != "hr"]


@given(texts)
def test_blocks_are_those_that_another_parser_finds(text: str):
    found = [(level, raw.strip()) for _, level, raw in markdown._outermost(text)]
    assert found == [(level, raw) for _, level, raw in by_the_other(text)]
