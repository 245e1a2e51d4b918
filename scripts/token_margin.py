"""How many more tokens do models' tokenizers count than the shipped one? Says whether `spend.prompt_margin` is enough.

    python scripts/token_margin.py --tokenizer o200k_base --tokenizer ./tokenizer.json FILE...

A FILE is text, or the `corpus.jsonl` of a data set. Prompts are made of four of its paragraphs; JSON on the last line.
"""

import argparse
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from ragsaver.models.own_tokens import own_tokens
from ragsaver.models.registry import load_encoder
from ragsaver.settings import EmbeddingSettings, SpendSettings
from ragsaver.spend.prompt_bound import AROUND_A_MESSAGE, prompt_bound

PROMPTS, PARAGRAPHS, MIN_WORDS = 1000, 4, 20


def paragraphs(file: Path) -> Iterator[str]:
    if file.suffix == ".jsonl":
        texts = [json.loads(line)["text"] for line in file.read_text().splitlines()]
    else:
        texts = re.split(r"\n\n+", file.read_text(errors="replace"))
    return (text for text in texts if len(text.split()) >= MIN_WORDS)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--tokenizer", action="append", required=True)
    arguments.add_argument("files", nargs="+", type=Path)
    given = arguments.parse_args()
    files = [one for file in given.files for one in (sorted(file.rglob("*.md*")) if file.is_dir() else [file])]
    there = [text for file in files for text in paragraphs(file)]
    chance = random.Random(1)
    prompts = ["\n\n".join(chance.sample(there, PARAGRAPHS)) for _ in range(PROMPTS)]
    shipped = load_encoder(EmbeddingSettings()).count_tokens(prompts)
    margin = SpendSettings().prompt_margin
    bounds = [
        prompt_bound([text], [count], margin) - AROUND_A_MESSAGE for text, count in zip(prompts, shipped, strict=True)
    ]
    told: dict[str, dict[str, float]] = {}
    for wanted in given.tokenizer:
        own = own_tokens("", wanted)
        counted = own.count(prompts) if own else shipped
        shares = sorted(mine / theirs for mine, theirs in zip(counted, shipped, strict=True))
        told[wanted] = {
            "mean": round(sum(counted) / sum(shipped), 3),
            "p99": round(shares[int(0.99 * len(shares))], 3),
            "max": round(shares[-1], 3),
            "beyond_margin": sum(share > 1 + margin for share in shares),
            "beyond_bound": sum(mine > bound for mine, bound in zip(counted, bounds, strict=True)),
            "bound_over_counted": round(sum(bounds) / sum(counted), 2),
        }
        print(wanted, told[wanted])
    print(json.dumps({"prompts": PROMPTS, "margin": margin, "over_shipped": told}))


if __name__ == "__main__":
    main()
