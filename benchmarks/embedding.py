"""How much faster is the shipped int8 model than sentence-transformers on torch? JSON on the last line.

Both embed the same chunks on the same cores in turn. The peer is a MiniLM of the same shape and tokenizer with
random float32 weights: weights do not change the time. Needs the `train` extra.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ingest import embedded_texts
from minilm import sentence_transformer

from ragsaver.settings import EmbeddingSettings, Settings, quiet_haystack

LIMIT = 2.3


def main() -> None:
    """Time both over a few rounds."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--corpus", type=Path, default=Path("../shared/data/docs-history/3.0"))
    arguments.add_argument("--chunks", type=int, default=256)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    quiet_haystack()
    from ragsaver.models.registry import bundled_folder, load_encoder

    settings = EmbeddingSettings()
    encoder = load_encoder(settings)
    texts = sample(given.corpus, given.chunks)
    with tempfile.TemporaryDirectory() as folder:
        peer = sentence_transformer(bundled_folder(), Path(folder), settings.max_tokens)
    runs: dict[str, Callable[[], Any]] = {
        "ragsaver": lambda: encoder.encode(texts),
        "sentence_transformers": lambda: peer.encode(texts, show_progress_bar=False),
    }
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(given.rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    ratio = statistics.median(
        theirs / ours for ours, theirs in zip(seconds["ragsaver"], seconds["sentence_transformers"], strict=True)
    )
    result = {
        "chunks": len(texts),
        "tokens_per_chunk": round(statistics.mean(encoder.count_tokens(texts)), 1),
        "cores": len(os.sched_getaffinity(0)),
        **{f"{name}_chunks_per_s": round(len(texts) / statistics.median(took), 1) for name, took in seconds.items()},
        "ratio": round(ratio, 2),
        "ratio_limit": LIMIT,
        "vector_shift": vector_shift(encoder, texts),
        "ok": ratio >= LIMIT,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def sample(corpus: Path, size: int) -> list[str]:
    """Texts as ingestion embeds them, evenly taken from the whole corpus."""
    from ragsaver.pipelines.runtime import open_runtime

    with tempfile.TemporaryDirectory() as home, open_runtime(Settings(home=Path(home)), "benchmark") as runtime:
        texts = embedded_texts(corpus, runtime)
    step = max(len(texts) // size, 1)
    return texts[::step][:size]


def vector_shift(encoder: Any, texts: Sequence[str]) -> dict[str, float]:
    """How far a text's vector moves with its company in a batch, as 1 - cosine with the text encoded alone."""
    together = encoder.encode(texts)
    alone = [encoder.encode([text])[0] for text in texts]
    moved = [1 - float(a @ b) for a, b in zip(alone, together, strict=True)]
    return {"median": round(statistics.median(moved), 5), "largest": round(max(moved), 5)}


if __name__ == "__main__":
    main()
