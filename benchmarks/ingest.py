"""Does ingestion cost more than embedding its chunks, and what does doing nothing cost? JSON on the last line.

`--minilm-on cuda` embeds with a model of MiniLM's shape there, in float16, instead of the bundled one: how much of a
GPU does ingesting use? (Random weights, which do not change the time. Needs the `train` extra.)
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minilm import sentence_transformer

from ragsaver.models.registry import bundled_folder
from ragsaver.settings import EmbeddingSettings, Settings, quiet_haystack

RATIO_LIMIT, AGAIN_LIMIT_S, MODEL_SHARE_LIMIT = 1.15, 1.0, 0.9


def main() -> None:
    """Time embedding alone and the whole ingestion in turn."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--corpus", type=Path, default=Path("../shared/data/docs-history/3.0"))
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--minilm-on", choices=("cpu", "cuda"))
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    quiet_haystack()
    from ragsaver.ingestion.order import IngestOrder
    from ragsaver.pipelines.runtime import open_runtime

    whole, alone, again, shares, rates, batches = [], [], [], [], [], []
    chunks = 0
    for _ in range(given.rounds):
        with (
            tempfile.TemporaryDirectory() as home,
            open_runtime(Settings(home=Path(home), embedding=model(given.minilm_on, home)), "benchmark") as runtime,
        ):
            scope, order = runtime.scope(), IngestOrder(paths=(str(given.corpus),))
            runtime.encoder.encode(["warm"])
            with timed(runtime.encoder) as in_model:
                report = runtime.ingestor.ingest(order, scope)
            whole.append(report.seconds)
            shares.append(sum(in_model) / report.seconds)
            chunks = report.chunks.embedded
            rates.append(report.embedding.tokens / report.seconds)
            batches.append(report.embedding.tokens / len(in_model))
            again.append(runtime.ingestor.ingest(order, scope).seconds)
            texts = embedded_texts(given.corpus, runtime)
            started = time.perf_counter()
            runtime.encoder.encode(texts)
            alone.append(time.perf_counter() - started)
    ratio = statistics.median(a / b for a, b in zip(whole, alone, strict=True))
    result = {
        "model": f"MiniLM's shape, float16, {given.minilm_on}" if given.minilm_on else "bundled",
        "chunks": chunks,
        "tokens_per_s": round(statistics.median(rates)),
        "tokens_a_call": round(statistics.median(batches)),
        "ingest_s": round(statistics.median(whole), 3),
        "embedding_alone_s": round(statistics.median(alone), 3),
        "ratio": round(ratio, 3),
        "ratio_limit": RATIO_LIMIT,
        "model_share": round(statistics.median(shares), 3),
        "model_share_limit": MODEL_SHARE_LIMIT,
        "again_s": round(statistics.median(again), 3),
        "again_limit_s": AGAIN_LIMIT_S,
        "ok": ratio <= RATIO_LIMIT
        and statistics.median(again) < AGAIN_LIMIT_S
        and statistics.median(shares) >= MODEL_SHARE_LIMIT,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def model(minilm_on: str | None, home: str) -> EmbeddingSettings:
    """The bundled model, or one that is made here."""
    if not minilm_on:
        return EmbeddingSettings()
    folder = Path(home) / "minilm"
    sentence_transformer(bundled_folder(), folder, 256).save(str(folder))
    return EmbeddingSettings(
        backend="sentence-transformers", model=str(folder), device=minilm_on, precision="float16", max_tokens=256
    )


@contextmanager
def timed(encoder: Any) -> Iterator[list[float]]:
    """Seconds of each call of the model inside."""
    seconds: list[float] = []

    def timing(method: Any) -> Any:
        def timed_call(*args: Any, **more: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*args, **more)
            finally:
                seconds.append(time.perf_counter() - started)

        return timed_call

    names = [name for name in ("encode", "read") if hasattr(encoder, name)]
    for name in names:
        setattr(encoder, name, timing(getattr(encoder, name)))
    try:
        yield seconds
    finally:
        for name in names:
            delattr(encoder, name)


def embedded_texts(corpus: Path, runtime) -> list[str]:
    """Exactly the texts that ingesting the corpus embeds."""
    from ragsaver.ingestion.preparing import Raw, prepare

    texts: dict[str, None] = {}
    for file in sorted(corpus.rglob("*.md*")):
        prepared = prepare(Raw("any", file.name, file.read_bytes(), None, runtime.ingestor.recipe))
        texts.update(dict.fromkeys(one.chunk.embed_text for one in prepared.chunks))
    return list(texts)


if __name__ == "__main__":
    main()
