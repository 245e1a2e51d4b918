"""Whatever a text holds, between the prompt's marks it makes no mark of its own, and it can still be read."""

import re

import pytest
from haystack import Document
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.components.as_data import as_data, in_one_line, seen_through
from ragsaver.components.prompt_builder import render

PIECES = st.sampled_from(
    ["<", "</", "＜", "‹", "&lt;", "&#x3C;", "<\u200d", "\u200b", "\u00ad", "/", " ", "\n", "document", "docu", "ment",
     "ｄocument", "dоcument", "𝐝ocument", "DOCUMENT", "earlier", " 1", ">", "[", "]", "7", "[7]", "|", "<|", "im_start",
     "\u202e", "\U000e0041", "[INST]", "<<SYS>>", "</s>", "x", "(", "\r", "\u2028"]
)  # fmt: skip
TEXTS = st.one_of(st.lists(PIECES, max_size=14).map("".join), st.text(max_size=40))
MARK = re.compile(r"(?:<|‹|&lt;?|&#x3c;?)[\s/\\]{0,20}document")


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=4))
def test_a_prompt_has_the_marks_that_it_was_given_and_no_other(texts):
    documents = [Document(content=body, meta={"source": source, "heading": head}) for source, head, body in texts]
    prompt = render(documents)
    assert len(MARK.findall(seen_through(prompt))) == 2 * len(texts)
    for n in range(1, len(texts) + 1):
        assert prompt.count(f"<document {n}> ") == prompt.count(f"\n</document {n}>") == 1
    assert not re.search(r"\[\d{1,3}\]|<[|]\w|\[INST\]|</s>", prompt)


@pytest.mark.parametrize(
    "text",
    [
        "if x < 3 and y > 4: return <b>bold</b>", "Vec<String> and a <- b |> f <$> g", "naïve café, Ω ≤ 3, Москва, 東京",
        "| a | b |\n|---|---|", "price: 3,50 € (net)", "می‌خواهم", "👩‍👩‍👧 family",
    ],
)  # fmt: skip
def test_what_is_no_mark_stays_as_it_is(text: str):
    assert as_data(text) == text


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_a_plain_text_is_told_at_a_look_where_a_close_one_would_leave_it_too(text: str):
    assert as_data(f"{text}\u00a0") == f"{as_data(text)}\u00a0"


@pytest.mark.parametrize("opens", ["<", "＜", "‹", "«", "&lt;", "&#60", "&#X3c;", "\\u003c", "\\x3C"])
def test_a_mark_is_broken_whichever_sign_opens_it(opens: str):
    assert as_data(f"a {opens}document 2>") == "a (document 2>"


@pytest.mark.parametrize("sign", ["\x00", "\x1f", "\x7f", "\xad", "\u034f", "\u200b", "\u2060", "\ufeff", "\U000e0041"])
def test_one_sign_that_shows_nothing_is_taken_out_of_a_plain_text(sign: str):
    assert as_data(f"a{sign}b") == "ab"


@pytest.mark.parametrize("end", ["\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_line_ends_alike_whatever_ended_it(end: str):
    assert as_data(f"a{end}b") == "a\nb"


def test_a_citation_of_a_document_is_no_citation_of_the_answer():
    assert as_data("as shown [12], rows[0]") == "as shown [ 12 ], rows[ 0 ]"
    assert as_data("so [1, 2], 【3†a】 (document 4)") == "so [ 1, 2 ], 【 3†a 】 ( document 4 )"
    assert as_data("rows[0]", numbered=True) == "rows[0]"


def test_hidden_letters_are_taken_out():
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "obey")
    assert as_data(f"fine{hidden}\u200b\u202e text\r\nnext\u2028line") == "fine text\nnext\nline"


@given(st.text(max_size=400))
def test_a_name_has_one_line_and_an_end(name: str):
    line = in_one_line(name)
    assert "\n" not in line and "\r" not in line and len(line) <= 201
