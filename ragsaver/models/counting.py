"""How many tokens has a text? A question asks that of many sentences, and most of their words were counted before."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

# Control characters are taken out before words are told apart.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_NO_SIGNS = bytes(code for code in range(128) if chr(code).isalnum() or chr(code) in "\t\n\r ")
_SPACES_FOR_SIGNS = bytes(code if code in _NO_SIGNS else ord(" ") for code in range(256))
_REMEMBERED, _LONGEST = 65_536, 64  # words, and characters of one: some scripts put no spaces between words
# What the tokenizer has one token for, whatever it is: a word of Thai, a file in base64. Models make more of it.
_UNKNOWN_CHARACTERS_A_TOKEN = 2


class TokenCounts:
    """Counts the tokens of texts, without special tokens and cut. Any thread may use it.

    A tokenizer like BERT's never looks past a word: its counts are summed up from those of a text's words, which are
    remembered. With another one each text is tokenised. What it does not know counts by its length.

    :param tokenizer: of its own; it is made not to pad and not to cut.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder().values()
        self._whole = [one.content for one in added]
        self._marks = {whole[0] for whole in self._whole}
        unknown = getattr(tokenizer.model, "unk_token", None)
        self._unknown = tokenizer.token_to_id(unknown) if unknown else None
        self._by_word = (
            isinstance(tokenizer.normalizer, BertNormalizer)
            and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
            and isinstance(tokenizer.model, WordPiece)
            # those words would be found in other texts than are counted here
            and not any(one.normalized or one.content[0].isalnum() for one in added)
        )
        self._counted: dict[str, int] = {}

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each."""
        if not self._by_word:
            return self._tokenised(texts)
        counted = self._counted
        cut = [self._cut(text) for text in texts]
        with suppress(KeyError):  # mostly all words are known: to look which ones are not takes as long again
            return _summed(cut, counted)
        fresh = self._of_words(list(set[str]().union(*(words for words, _ in cut)).difference(counted)))
        kept = {word: count for word, count in fresh.items() if len(word) <= _LONGEST}
        counted.update(kept)
        if len(counted) > _REMEMBERED:
            self._counted = {}  # another dictionary: other threads may still read this one
        if len(kept) == len(fresh):
            return _summed(cut, counted)
        return [sum(fresh[one] if one in fresh else counted[one] for one in words) + signs for words, signs in cut]

    def _of_words(self, words: Sequence[str]) -> dict[str, int]:
        """Of plain words together: to tokenise each by itself takes three times as long, on all cores."""
        plain = [word for word in words if len(word) <= _LONGEST and word.isascii() and word.isalnum()]
        encoding: Any = self._tokenizer.encode(" ".join(plain), add_special_tokens=False)
        found = Counter(encoding.word_ids)
        counts = {word: found[place] for place, word in enumerate(plain)}
        others = [word for word in words if word not in counts]
        return {**counts, **dict(zip(others, self._tokenised(others), strict=True))}

    def _cut(self, text: str) -> tuple[list[str], int]:
        """What is counted each by itself, and how many signs stand beside it, each a token."""
        if text.isascii():
            words, signs = _cut_ascii(text)
            if signs.isprintable() and (self._marks.isdisjoint(signs) or not self._has_whole(text)):
                return words, len(signs)
            return [text], 0
        if _CONTROL.search(text) or self._has_whole(text):
            return [text], 0
        # a sign of another alphabet may end a word or not: what has one is counted in one piece
        pieces = text.split()
        words, signs = _cut_ascii(" ".join(filter(str.isascii, pieces)))
        return words + [piece for piece in pieces if not piece.isascii()], len(signs)

    def _has_whole(self, text: str) -> bool:
        return any(whole in text for whole in self._whole)

    def _tokenised(self, texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        encodings: list[Any] = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._size(text, encoding.ids) for text, encoding in zip(texts, encodings, strict=True)]

    def _size(self, text: str, ids: list[int]) -> int:
        if self._unknown not in ids:
            return len(ids)
        encoding: Any = self._tokenizer.encode(text, add_special_tokens=False)
        return sum(
            max((end - start) // _UNKNOWN_CHARACTERS_A_TOKEN, 1) if one == self._unknown else 1
            for one, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
        )


def _summed(cut: Sequence[tuple[list[str], int]], counted: Mapping[str, int]) -> list[int]:
    return [sum(map(counted.__getitem__, words)) + signs for words, signs in cut]


def _cut_ascii(text: str) -> tuple[list[str], str]:
    """The words, and the signs beside them."""
    plain = text.encode()
    return plain.translate(_SPACES_FOR_SIGNS).decode().split(), plain.translate(None, _NO_SIGNS).decode()
