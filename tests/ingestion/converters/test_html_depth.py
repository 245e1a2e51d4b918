"""A page that is nested without end is refused before its parser takes the square of its length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from ragsaver.errors import UnreadableDocument
from ragsaver.ingestion.converters import convert, html
from ragsaver.ingestion.converters.html_depth import nests_beyond


def _around(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """What stands around other blocks, its optional end tags left out or not."""
    some = st.lists(inner, max_size=4)
    return st.one_of(
        st.builds("<{0}>{1}</{0}>".format, st.sampled_from(("div", "section", "blockquote")), some.map("".join)),
        st.builds(lambda items, end: f"<ul>{''.join(f'<li>{one}{end}' for one in items)}</ul>", some, _end("li")),
        st.builds(lambda items: f"<dl>{''.join(f'<dt>x<dd>{one}' for one in items)}</dl>", some),
        st.builds(
            lambda cells, end: f"<table>{''.join(f'<tr><td>{one}{end}' for one in cells)}</table>", some, _end("td")
        ),
        st.builds(lambda text, end: f"<p>{text}{end}", st.sampled_from(("x", "<b>x</b>")), _end("p")),
        st.just("<!-- <div> -->"),
    )


def _end(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from((f"</{name}>", ""))


PAGES = st.recursive(st.just("x"), _around, max_leaves=40)


@pytest.mark.parametrize("opened", ["<div>", "<UL class='a>b'>\n<li>", "<table><tr><td>", "<section><p>"])
def test_what_is_never_closed_is_not_parsed(opened: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def parser(page: str) -> None:
        raise AssertionError(f"{len(page)} characters were parsed")

    monkeypatch.setattr(html, "LexborHTMLParser", parser)
    with pytest.raises(UnreadableDocument, match="nested too deeply"):
        convert("a.html", opened.encode() * 20_000 + b"x")


@pytest.mark.parametrize(
    "page",
    [
        "<div>a</div>" * 5000,
        "<p>a" * 5000,
        "<ul>" + "<li>a" * 5000,
        "<ul>" + "<li><div>a" * 5000,
        "<dl>" + "<dt>a<dd><div>b" * 5000,
        "<table>" + "<tr><td><div>a<td>b" * 3000 + "</table>",
        "<section><div>a</section>" * 5000,
        "<p title='<div>' data-more=\"<div>\">a</p>" * 5000,
        "<p it's>a</p><div>b</div>" * 5000,
        "<script>'<div>'</script><p>a</p>" * 5000,
        "<p>a</p>" + "<!-- <div> -->" * 5000,
    ],
)
def test_a_long_page_that_is_flat_is_read(page: str) -> None:
    assert convert("a.html", page.encode()).blocks


@given(PAGES)
def test_nothing_is_called_deeper_than_the_parser_has_it(page: str) -> None:
    assert not nests_beyond(page, depth(page))


@given(st.integers(1, 40))
def test_what_is_just_deep_enough_is_let_through(deep: int) -> None:
    page = "<div><ul><li>" * deep + "x"
    assert not nests_beyond(page, 3 * deep) and nests_beyond(page, 3 * deep - 1)


def depth(page: str) -> int:
    """How many elements are open at once, as the parser has it."""
    deepest, level = 0, [(LexborHTMLParser(page).root, 0)]
    while level:
        node, above = level.pop()
        deepest = max(deepest, above)
        level += [(child, above + 1) for child in node.iter()]
    return deepest
