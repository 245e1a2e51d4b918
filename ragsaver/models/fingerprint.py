"""A name for what a model does: it changes whenever the vectors would, and only then."""

from functools import lru_cache
from pathlib import Path

import xxhash

# Raise it when the code that turns token vectors into one vector changes what it gives out.
POOLING = "mean over mask, L2, v1"
TORCH_POOLING = "sentence-transformers, own modules, L2, v1"
_SHAPES_VECTORS = frozenset({".bin", ".json", ".model", ".pt", ".safetensors", ".txt"})
_OTHER_RUNTIMES = frozenset({"onnx", "openvino"})
_BLOCK_BYTES = 2**22


def fingerprint(weights: Path, tokenizer: Path, *, max_tokens: int, prefix: str = "") -> str:
    """Hex digest (xxh3-128) of an ONNX model: weights, tokenizer, pooling, prefix and cut-off.

    :param weights: an ONNX file; what it keeps beside itself (`.data`, `_data`) counts too.
    """
    beside = [file for ending in (".data", "_data") if (file := weights.with_name(weights.name + ending)).is_file()]
    parts = [_file_digest(file, *_stamp(file)) for file in (weights, tokenizer, *beside)]
    return _digest(*parts, POOLING, str(max_tokens), prefix)


def torch_fingerprint(source: str, *, dtype: str, max_tokens: int, prefix: str = "") -> str:
    """Hex digest (xxh3-128) of a model that sentence-transformers runs.

    :param source: `folder_digest` of its folder, or its name and commit on the hub.
    :param dtype: of the weights as they are run, `float16` for example.
    """
    return _digest(source, TORCH_POOLING, dtype, str(max_tokens), prefix)


def folder_digest(folder: Path) -> str:
    """Hex digest of a model's weights, tokenizer and configuration; not of its README or other runtimes' weights."""
    files = {
        inside.as_posix(): file
        for file in sorted(folder.rglob("*"))
        if file.suffix in _SHAPES_VECTORS
        and file.is_file()
        and not _OTHER_RUNTIMES.intersection((inside := file.relative_to(folder)).parts)
        and not any(part.startswith(".") for part in inside.parts)
    }
    return _digest(*(part for name, file in files.items() for part in (name, _file_digest(file, *_stamp(file)))))


def _digest(*parts: str) -> str:
    return xxhash.xxh3_128_hexdigest("\0".join(parts).encode())


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=256)
def _file_digest(file: Path, size: int, mtime_ns: int) -> str:
    digest = xxhash.xxh3_128()
    with file.open("rb") as content:
        while block := content.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
