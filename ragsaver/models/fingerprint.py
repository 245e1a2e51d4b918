"""A name for what a model does: it changes whenever the vectors would, and only then."""

from functools import lru_cache
from pathlib import Path

import xxhash

# Raise it when the code that turns token vectors into one vector changes what it gives out.
POOLING = "mean over mask, L2, v1"


def fingerprint(folder: Path, *, max_tokens: int, prefix: str = "") -> str:
    """Hex digest (xxh3-128) of the weights, the tokenizer, the pooling, the prefix and the cut-off.

    :param folder: holds `model.onnx` and `tokenizer.json`.
    """
    parts = [_file_digest(file, *_stamp(file)) for file in (folder / "model.onnx", folder / "tokenizer.json")]
    return xxhash.xxh3_128_hexdigest("\0".join([*parts, POOLING, str(max_tokens), prefix]).encode())


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=32)
def _file_digest(file: Path, size: int, mtime_ns: int) -> str:
    return xxhash.xxh3_128_hexdigest(file.read_bytes())
