"""Small tokenizers as files, made where a test needs one: no model's own is in the repository."""

import base64
from pathlib import Path

WORDS = ["th", "the", " the", "er", "mit", "permit", " permit"]


def tokenizer_json(file: Path, pattern: str) -> Path:
    """A token for each match of the pattern, as tokenizers' own file."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    made.save(str(file))
    return file


def bpe_file() -> bytes:
    """All bytes, and a few words, in tiktoken's format."""
    tokens = [bytes([one]) for one in range(256)] + [word.encode() for word in WORDS]
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))
