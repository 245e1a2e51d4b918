"""What is slow to begin, and keeps nothing of what it did, is begun once in a process of the tests.

It is the shipped model, and the guarded processes that read documents. Processes that tests start begin their own, and
so do tests of how these things begin and end: `tests/models`, and who makes a `GuardedPool` himself.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pytest

from ragsaver.ingestion import cutting
from ragsaver.ingestion.guard import GuardedPool
from ragsaver.models import onnx_encoder
from ragsaver.models.onnx_encoder import OnnxEncoder
from ragsaver.models.onnx_session import OnnxSession
from ragsaver.models.registry import bundled_folder


@contextmanager
def lasting() -> Iterator[None]:
    """Inside, runtimes share them."""
    with pytest.MonkeyPatch.context() as patched:
        _share_the_model(patched)
        pools: dict[tuple[Any, ...], list[GuardedPool[Any, Any]]] = defaultdict(list)
        patched.setattr(cutting, "GuardedPool", lambda work, **limits: _pool(pools, work, **limits))
        yield
        for some in pools.values():
            for one in some:
                GuardedPool.close(one)


def _share_the_model(patched: pytest.MonkeyPatch) -> None:
    opening, folder = onnx_encoder.open_on_best, bundled_folder()

    @lru_cache
    def opened(wanted: str, weights: Path, threads: int) -> OnnxSession:
        return opening(wanted, lambda device: weights, threads=threads)

    def open_on_best(wanted: str, weights: Callable[[str], Path], *, threads: int = 0) -> OnnxSession:
        files = {weights("cpu"), weights("cuda")}
        if len(files) > 1 or folder not in (file := files.pop()).parents:
            return opening(wanted, weights, threads=threads)
        return opened(wanted, file, threads)

    patched.setattr(onnx_encoder, "open_on_best", open_on_best)
    for name in ("_tokenizer", "_counts"):
        patched.setattr(OnnxEncoder, name, _shared(name, OnnxEncoder.__dict__[name].func, folder))


def _shared(name: str, read: Callable[[OnnxEncoder], Any], folder: Path) -> Any:
    of: dict[int, Any] = {}

    def shared(encoder: OnnxEncoder) -> Any:
        if encoder.folder != folder:
            return read(encoder)
        length = encoder._options.max_tokens
        if length not in of:
            of[length] = read(encoder)
        return of[length]

    made = cached_property(shared)
    made.__set_name__(OnnxEncoder, name)
    return made


def _pool(
    kept: dict[tuple[Any, ...], list[GuardedPool[Any, Any]]], work: Callable[[Any], Any], **limits: Any
) -> GuardedPool[Any, Any]:
    idle = kept[(work, limits["workers"], limits["timeout_s"], limits["memory_mb"], limits.get("cores"))]
    if idle:
        return idle.pop()
    made = GuardedPool(work, **limits)

    def close() -> None:
        if made._waiting or any(worker.busy for worker in made._workers):
            GuardedPool.close(made)
        if made not in idle:
            idle.append(made)

    made.close = close
    return made
