"""A text's words, asked of the encoder one by one and remembered, are those that it makes of the whole text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.index import words
from ragsaver.index.words import LANGUAGES, WordSettings, word_encoder, words_of

DOCS = Path(__file__).parents[2] / "docs"
ENGLISH = WordSettings("english", 50.0, 1.2, 0.75)
ASCII = st.text(st.characters(codec="ascii"), max_size=300)
OFTEN = st.lists(st.sampled_from(["the", "Zebra", "zebras", "zebra's", "x9", "_", "9,5", "a-b"]), max_size=60)


def weighed(text: str, settings: WordSettings) -> dict[int, float]:
    """What `words_of` tells; each id once."""
    ids, weights = words_of(text, settings).lists()
    assert len(ids) == len(set(ids))
    return dict(zip(ids, weights, strict=True))


def encoded(text: str, settings: WordSettings) -> dict[int, float]:
    """What the encoder makes of the whole text."""
    vector = word_encoder(settings).embed_document(text)
    return dict(zip(vector.indices, vector.values, strict=True))


@given(ASCII | st.text(max_size=100) | OFTEN.map(" ".join), st.sampled_from(LANGUAGES))
def test_words_are_those_of_the_whole_text_in_any_language(text, language):
    settings = ENGLISH._replace(language=language)
    assert weighed(text, settings) == encoded(text, settings)


@given(OFTEN.map(" ".join), st.floats(1, 500), st.floats(0.1, 3), st.floats(0, 1))
def test_weights_follow_the_settings(text, average, k1, b):
    settings = WordSettings("english", average, k1, b)
    assert weighed(text, settings) == encoded(text, settings)


def test_real_texts_have_the_same_words():
    texts = [text for file in sorted(DOCS.rglob("*.md")) for text in file.read_text().split("\n\n")]
    assert sum(map(str.isascii, texts)) > 500
    for text in texts:
        assert weighed(text, ENGLISH) == encoded(text, ENGLISH)


def test_endless_new_words_take_no_more_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(words, "_REMEMBERED", 10)
    settings = ENGLISH._replace(avg_words=51.0)
    for number in range(100):
        text = f"zebra word{number} long{'x' * 500}{number}"
        assert weighed(text, settings) == encoded(text, settings)
    remembered = words._ids_of(settings)
    assert len(remembered) <= 10 + 3
    assert max(map(len, remembered)) < 100
