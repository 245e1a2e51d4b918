"""Tokens counted by word are those that the tokenizer makes of the whole text."""

import threading
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer, models, normalizers, pre_tokenizers

from ragsaver.models import counting
from ragsaver.models.counting import TokenCounts
from ragsaver.models.devices import TOKENIZER
from ragsaver.models.registry import bundled_folder

TRICKY = "ab Zz09 .,-_`[]MASKéÉ́中文\u200b\xa0\u2028\u3000\ufeffßİΣ’…😀\t\n\r\x00\x0b\x1c\x7f\x85"


def shipped() -> Tokenizer:
    return Tokenizer.from_file(str(bundled_folder() / TOKENIZER))


def size(encoding: Encoding) -> int:
    """Tokens of a text, the unknown ones by their length."""
    return sum(
        max((end - start) // 2, 1) if token == "[UNK]" else 1
        for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
    )


@pytest.fixture(scope="module")
def counts() -> TokenCounts:
    return TokenCounts(shipped())


@pytest.fixture(scope="module")
def whole() -> Tokenizer:
    tokenizer = shipped()
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


@given(st.lists(st.text() | st.text(alphabet=TRICKY) | st.text(alphabet=st.characters(max_codepoint=127)), max_size=4))
@example(["It isn't [MASK], is it?", "a [mask] b", "[CLS]"])
@example(["word\x1cword\x0bword", "a\x85b", "naïve café", "x" * 101 + " " + "x" * 100])
def test_counts_are_those_of_the_whole_text(counts: TokenCounts, whole: Tokenizer, texts: list[str]):
    expected = [size(one) for one in whole.encode_batch(texts, add_special_tokens=False)]
    assert counts(texts) == expected
    assert counts(texts) == expected  # remembered


def test_what_the_tokenizer_does_not_know_counts_by_its_length(counts: TokenCounts):
    thai, base64, known = "ภาษาไทยเป็นภาษาราชการ" * 10, "QUJD" * 300, "Owls hunt voles 🎉 at night."
    assert counts([thai, base64, known]) == [len(thai) // 2, len(base64) // 2, 8]
    assert counts([f"{known} {base64}"]) == [8 + len(base64) // 2]


def test_a_tokenizer_that_looks_past_words_is_asked_for_each_text():
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, " ": 1, "a a": 2, "a ": 3}, merges=[("a", " "), ("a ", "a")]))
    tokenizer.normalizer = normalizers.Sequence([])
    assert TokenCounts(tokenizer)(["a a", "a", ""]) == [1, 1, 0]
    split = Tokenizer(models.WordPiece(vocab={"[UNK]": 0, "a": 1, "a-a": 2}, unk_token="[UNK]"))
    split.normalizer, split.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.WhitespaceSplit()
    assert TokenCounts(split)(["a-a a"]) == [2]


def test_a_word_that_is_a_token_of_its_own_is_found_in_any_text():
    tokenizer = shipped()
    tokenizer.add_tokens(["ragsaver"])
    plain = shipped()
    assert TokenCounts(tokenizer)(["unragsavered"]) == [
        len(tokenizer.encode("unragsavered", add_special_tokens=False).ids)
    ]
    assert TokenCounts(plain)(["ragsaver"])[0] > TokenCounts(tokenizer)(["ragsaver"])[0] == 1


def test_what_has_no_spaces_is_not_remembered(counts: TokenCounts, whole: Tokenizer):
    text = "猫が寝ている。" * 20
    assert counts([text, "short", text]) == [
        len(one.ids) for one in whole.encode_batch([text, "short", text], add_special_tokens=False)
    ]
    assert text not in counts._counted and "short" in counts._counted


def test_one_sign_of_another_alphabet_leaves_the_rest_counted_by_word(whole: Tokenizer):
    counts = TokenCounts(shipped())
    address = "https://example.org/" + "/".join(f"part-{n}" for n in range(30))
    asked = [f"Read this … at {address}?", f"this {address} … at Read!"]
    expected = [len(one.ids) for one in whole.encode_batch(asked, add_special_tokens=False)]
    assert counts(asked[:1]) == expected[:1]
    with patch.object(counts, "_tokenizer", None):  # all words were counted before
        assert counts(asked) == expected


def test_words_are_forgotten_beyond_a_bound_and_threads_count_alike(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counting, "_REMEMBERED", 50)
    counts = TokenCounts(shipped())
    texts = [f"number{n} of word{n % 7} and sign-{n}!" for n in range(200)]
    expected = [counts([text])[0] for text in texts]
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(counts(texts))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
    assert len(counts._counted) <= 50
