"""Every run of the embedding model, whatever is asked of it."""

from collections.abc import Callable
from typing import Any

from ragsaver.models.onnx_encoder import OnnxEncoder


def tell_runs(noted: Callable[[list[str], bool], None], put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Have a function told of the texts before each run, and whether they are questions.

    :param put: puts a method in the place of another: `monkeypatch.setattr` for as long as a test.
    """
    for name in ("encode", "read", "ask"):
        put(OnnxEncoder, name, _telling(getattr(OnnxEncoder, name), noted, asks=name == "ask"))


def _telling(method: Callable[..., Any], noted: Callable[[list[str], bool], None], *, asks: bool) -> Callable[..., Any]:
    def told(self: OnnxEncoder, texts: Any, *more: Any, **named: Any) -> Any:
        noted(list(texts), asks or named.get("query", False))
        return method(self, texts, *more, **named)

    return told
