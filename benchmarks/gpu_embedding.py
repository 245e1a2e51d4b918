"""How much of the device does embedding use? Tokens and TFLOP/s by back end and precision, JSON on the last line.

A model of MiniLM's shape with random weights (weights do not change the time) embeds texts of 256 tokens, tokenizing
included, on CUDA where the back end has it, else on the CPU with less to do. A transformer's forward pass costs
`2 * P + 4 * L * T * H` floating-point operations a token: P parameters in matrix multiplications, L layers, T tokens
in a text, H the hidden width; the second term is attention's two products (Kaplan et al. 2020, section 2.1, whose
causal half is whole here). The peak is what one large matrix multiplication of torch reaches on the same device in
the same precision; on a CPU in float32 always, since CPUs compute float16 as float32. Needs the `train` extra.
"""

import argparse
import json
import os
import platform
import random
import re
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from minilm import SHAPE, sentence_transformer

from ragsaver.models.batching import ready_batches
from ragsaver.models.float16 import write_float16
from ragsaver.models.registry import bundled_folder, load_encoder
from ragsaver.settings import EmbeddingSettings

LENGTH = 256
# of a side of the square matrices whose product is the peak
SIDE = {"cpu": 1024, "cuda": 8192}
TOKENS = {"cpu": 8192, "cuda": 2**21}
SECONDS = {"cpu": 2.0, "cuda": 10.0}
MIXED = [" ".join(["token", "budget", "receipt", "reranker"][number % 4 :] * (number % 61)) for number in range(200)]


def main() -> None:
    """Measure every back end in every precision."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tokens", type=int, help="in one round; default: 8,192 on a CPU, 2,097,152 on CUDA")
    arguments.add_argument("--seconds", type=float, help="of measuring in each row; default: 2 on a CPU, 10 on CUDA")
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    arguments.add_argument("--batch-tokens", type=int, default=0, help="padded tokens in one batch; 0: automatic")
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    peaks: dict[tuple[str, str], float] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        reference = load_encoder(
            EmbeddingSettings(backend="onnx", model=folder, device="cpu", precision="float32", max_tokens=LENGTH)
        ).encode(MIXED)
        for backend in ("onnx", "sentence-transformers"):
            for precision in ("float32", "float16"):
                encoder: Any = load_encoder(
                    EmbeddingSettings(
                        backend=backend,
                        model=folder,
                        device=given.device,
                        precision=precision,
                        batch_tokens=given.batch_tokens,
                        max_tokens=LENGTH,
                    )
                )
                device = encoder.device
                seconds = given.seconds or SECONDS[device]
                peak_in = precision if device == "cuda" else "float32"
                if (device, peak_in) not in peaks:
                    peaks[device, peak_in] = peak_flops(device, peak_in, seconds)
                row = measure(encoder, given.tokens or TOKENS[device], seconds)
                row |= {"least_cosine_to_reference": least_cosine(encoder, reference)}
                peak = peaks[device, peak_in]
                row |= {"backend": backend, "precision": precision, "device": device}
                row |= {
                    "peak_tflops": round(peak / 1e12, 3),
                    "peak_precision": peak_in,
                    "share_of_peak": round(row["tflops"] * 1e12 / peak, 3),
                }
                rows.append(row)
                print(
                    f"{backend}, {precision}, {device}: {row['tokens_per_s']:,} tokens/s, {row['tflops']} TFLOP/s, "
                    f"{row['share_of_peak']:.1%} of the peak",
                    flush=True,
                )
    on_gpu = any(row["device"] == "cuda" for row in rows)
    result = {
        "measured_on": "GPU" if on_gpu else "CPU only: no GPU was used, so this says nothing about one",
        "device_name": device_name(on_gpu),
        "tokens_a_text": LENGTH,
        "flops_a_token": flops_a_token(LENGTH),
        "flops_formula": "2 * P_matmul + 4 * layers * tokens_a_text * hidden",
        "rows": rows,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def flops_a_token(tokens: int) -> int:
    """Floating-point operations of the forward pass for one token of a text of so many."""
    hidden, layers, wide = SHAPE["hidden_size"], SHAPE["num_hidden_layers"], SHAPE["intermediate_size"]
    in_matmuls = layers * (4 * hidden * hidden + 2 * hidden * wide)
    return 2 * in_matmuls + 4 * layers * tokens * hidden


def least_cosine(encoder: Any, reference: Any) -> float:
    """Of texts of all lengths, embedded together: how near the furthest vector is to onnxruntime's on the CPU."""
    return round(float((encoder.encode(MIXED) * reference).sum(axis=1).min()), 7)


def measure(encoder: Any, tokens: int, seconds: float) -> dict[str, Any]:
    """Embed for at least so long, after one round that warms up."""
    texts = sample(tokens // LENGTH or 1)
    rate = per_second(lambda: encoder.encode(texts), seconds) * len(texts) * LENGTH
    counting = per_second(lambda: encoder.count_tokens(texts), min(seconds, 2.0)) * len(texts) * LENGTH
    running = model_alone(encoder, texts, min(seconds, 5.0))
    return {
        "tokens_per_s": round(rate),
        "tflops": round(rate * flops_a_token(LENGTH) / 1e12, 4),
        "tokenizing_alone_tokens_per_s": round(counting),
        "model_alone_tokens_per_s": round(running),
    }


def model_alone(encoder: Any, texts: list[str], seconds: float) -> float:
    """Tokens a second of the first batch, tokenized before: the limit if the host cost nothing but the copies."""
    budget = encoder._options.budget_on(encoder.device)
    batch = next(ready_batches(texts, encoder._tokenize, budget, "cpu"))

    def run() -> None:
        for vectors in [encoder._embed(batch.inputs) for _ in range(4)]:
            np.asarray(vectors if isinstance(vectors, np.ndarray) else vectors.cpu())

    return per_second(run, seconds) * 4 * batch.padded


def per_second(work: Callable[[], Any], seconds: float) -> float:
    """Rounds a second, over as many as fill the time."""
    work()
    rounds, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < seconds or not rounds:
        work()
        rounds += 1
    return rounds / took


def peak_flops(device: str, precision: str, seconds: float) -> float:
    """Floating-point operations a second of one large product; float32 without TF32, as the encoders run it."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "onnxruntime sees a GPU and torch does not: the peak can't be measured. Install torch for CUDA"
        )
    side = SIDE[device]
    left, right = (torch.randn(side, side, device=device, dtype=getattr(torch, precision)) for _ in range(2))

    def products() -> None:
        for _ in range(4):
            left @ right
        if device == "cuda":
            torch.cuda.synchronize()

    return per_second(products, seconds) * 4 * 2 * side**3


def sample(texts: int) -> list[str]:
    """Texts of exactly `LENGTH` tokens, the two at the ends included."""
    vocabulary = json.loads((bundled_folder() / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    words = sorted(word for word in vocabulary if re.fullmatch("[a-z]{3,}", word))
    chance = random.Random(7)
    return [" ".join(chance.choices(words, k=LENGTH - 2)) for _ in range(texts)]


def make_model(folder: Path) -> None:
    """What both back ends run: modules of sentence-transformers, and ONNX in both precisions."""
    import torch

    model = sentence_transformer(bundled_folder(), folder, LENGTH)
    model.save(str(folder))
    bert = model[0].model.eval()

    class TokenVectors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    ones = torch.ones((2, 8), dtype=torch.int64)
    names = ["input_ids", "attention_mask"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            TokenVectors(),
            (ones, ones),
            str(folder / "model.onnx"),
            input_names=names,
            output_names=["token_vectors"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in [*names, "token_vectors"]},
            dynamo=False,
        )
    write_float16(folder)


def device_name(on_gpu: bool) -> str:
    """What the figures were measured on."""
    if on_gpu:
        import torch

        return str(torch.cuda.get_device_name(0))
    return f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores"


if __name__ == "__main__":
    main()
