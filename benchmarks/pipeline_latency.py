"""How long does a question take from end to end, without the model's time, at 100,000 chunks? JSON on the last line.

Synthetic chunks of five sentences each (see `synthetic_chunks.py`) are written into a project's own index, which is
optimised, by a process of its own, as `ragsaver ingest` is. Another one, as `ragsaver serve` is, asks the default
pipeline one question after the other: retrieval, folding, packing, prompt, the free tier and the answer's citations.
The questions' vectors are there beforehand, and so is what the model reads of passages' tokens, as of all that
ingestion brings in: the writing process asks the questions once. No cache answers. `cold` is the first time that the
asking process sees these passages, whose sentences it has to find; what it reads of their tokens is forgotten then, and
read again in the first round. Rounds are taken in turns, packing by tokens and by words; `stages` are medians. Then
another tenant gets a passage, so that every search has to say whose it looks through, and all is asked again:
`filtered`.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from machine_pace import loop_s
from synthetic_chunks import BLOCK, SyntheticChunks, generate

from ragsaver.components.evidence import current_evidence
from ragsaver.components.packer import ContextPacker
from ragsaver.components.request import Request
from ragsaver.index.protocol import ChunkPoint
from ragsaver.models.embedded_text import embedded_hash
from ragsaver.models.rerankers.maxsim import TokenEncoder
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings

P50_LIMIT_MS = 5.0


class Round(NamedTuple):
    """Milliseconds of each question by the clock, of the processor in all threads, and by stage."""

    spent: list[float]
    processor: list[float]
    stages: list[dict[str, float]]


QUESTIONS, WARM, SENTENCE_WORDS = 300, 50, 12


def main() -> None:
    """Build, and ask."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", type=int, default=100_000)
    arguments.add_argument("--quantization", choices=("none", "int8"), default="int8")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    pace_s = loop_s()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        generate(place, given.size, QUESTIONS + WARM)
        chunks = SyntheticChunks(place)
        wanted = {"index": {"quantization": given.quantization}, "context": {"deadline_ms": 60_000}}
        settings = Settings.model_validate({"home": place / "home", **wanted})
        vectors = dict(zip(chunks.asked(), chunks.questions, strict=True))
        in_a_process(build, settings, place)
        with open_runtime(settings, "benchmark") as runtime:
            object.__setattr__(runtime.resources, "embed_question", Embedded(runtime, vectors))
            cold = ask(runtime, list(vectors))
            runtime.resources.reranking.tokens.forget()
            rounds = in_turns(runtime, list(vectors), given.rounds)
            let_in_another_tenant(runtime, vectors)
            filtered = in_turns(runtime, list(vectors), given.rounds)
    result = {
        "chunks": given.size,
        "quantization": given.quantization,
        "questions": QUESTIONS,
        "load": round(os.getloadavg()[0], 1),
        "loop_s": pace_s,
        "cold_p50_ms": round(statistics.median(cold.spent), 2),
        **told(rounds["tokens"]),
        "words": told(rounds["words"]),
        "filtered": {match: told(some) for match, some in filtered.items()},
        "p50_limit_ms": P50_LIMIT_MS,
        "ok": told(rounds["tokens"])["p50_ms"] < P50_LIMIT_MS,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def in_a_process(work: Callable[..., None], *given: object) -> None:
    """Do that in a process that shares nothing with this one, and wait for its end."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=given)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(process.exitcode)


def build(settings: Settings, place: Path) -> None:
    """Write and optimise the index, and read what questions will find."""
    chunks = SyntheticChunks(place)
    vectors = dict(zip(chunks.asked(), chunks.questions, strict=True))
    with open_runtime(settings, "benchmark") as runtime:
        write(runtime, chunks)
        runtime.index.optimise(force=True)
        object.__setattr__(runtime.resources, "embed_question", Embedded(runtime, vectors))
        ask(runtime, list(vectors))


def in_turns(runtime: Runtime, questions: list[str], rounds: int) -> dict[str, list[Round]]:
    """By what sentences are held against the question."""
    packer = runtime.engine().pipeline.get_component("packer")
    assert isinstance(packer, ContextPacker)
    found: dict[str, list[Round]] = {"tokens": [], "words": []}
    for _ in range(rounds):
        for match, some in found.items():
            packer.match = match
            some.append(ask(runtime, questions))
    return found


class Embedded:
    """The vectors of questions, and of their tokens, as if the model had given them."""

    def __init__(self, runtime: Runtime, vectors: Mapping[str, Any]) -> None:
        assert isinstance(runtime.encoder, TokenEncoder)
        self._vectors = vectors
        self._tokens = dict(zip(vectors, runtime.encoder.ask(list(vectors))[1], strict=True))

    def __call__(self, question: str) -> Any:
        """The vector; the running question's evidence has the tokens'."""
        if evidence := current_evidence():
            evidence.tokens[question] = self._tokens[question]
        return self._vectors[question]


def told(rounds: Sequence[Round]) -> dict[str, Any]:
    """The median of the rounds' medians, each of them, and where the time went."""
    p50s = [statistics.median(one.spent) for one in rounds]
    return {
        "p50_ms": round(statistics.median(p50s), 2),
        "p50_of_rounds_ms": [round(one, 2) for one in p50s],
        "p95_ms": round(statistics.quantiles([one for each in rounds for one in each.spent], n=20)[18], 2),
        "processor_p50_of_rounds_ms": [round(statistics.median(one.processor), 2) for one in rounds],
        "stages_ms": {
            name: round(statistics.median(one[name] for each in rounds for one in each.stages), 2)
            for name in rounds[0].stages[0]
        },
    }


def let_in_another_tenant(runtime: Runtime, vectors: Mapping[str, Any]) -> None:
    """One passage of its own."""
    scope = runtime.scope(tenant="another")
    one = point(runtime, 2**64, next(iter(vectors.values())), "Another tenant wrote this.")
    runtime.index.upsert(scope, [one])
    runtime.index.list_and_delete(scope, [one.id], [])


def write(runtime: Runtime, chunks: SyntheticChunks) -> None:
    """Into the project's index, as ingestion writes."""
    scope = runtime.scope()
    for first, vectors, texts in chunks.blocks():
        points = [
            point(runtime, place, vector, spoken(text))
            for place, (vector, text) in enumerate(zip(vectors, texts, strict=True), first)
        ]
        runtime.index.upsert(scope, points)
        runtime.index.list_and_delete(scope, [one.id for one in points], [])
        if first % (20 * BLOCK) == 0:
            print(f"{first} chunks written", file=sys.stderr)


def point(runtime: Runtime, place: int, vector: object, text: str) -> ChunkPoint:
    """The twenty chunks of a document, one after the other."""
    document, heading = f"d{place // 20}", f"Part {place % 20}"
    payload = {
        "text": text,
        "tokens": 120,
        "source": f"{document}.md",
        "title": document,
        "heading": heading,
        "chunk_hash": embedded_hash(runtime.encoder.fingerprint, f"{heading}\n{text}"),
    }
    return ChunkPoint(str(uuid.UUID(int=place)), document, vector, text, {**payload, "ordinal": place % 20})


def spoken(text: str) -> str:
    """The words as sentences."""
    words = text.split()
    groups = (words[start : start + SENTENCE_WORDS] for start in range(0, len(words), SENTENCE_WORDS))
    return " ".join(" ".join(group).capitalize() + "." for group in groups)


def ask(runtime: Runtime, questions: list[str]) -> Round:
    """What each question takes; the first ones warm up and don't count."""
    engine = runtime.engine()
    spent_ms, processor_ms, stages = [], [], []
    for number, question in enumerate(questions):
        request = Request(runtime.reading(), caching="off")
        started, used = time.perf_counter(), time.process_time()
        result = engine.ask(question, request)
        if number >= WARM:
            spent_ms.append((time.perf_counter() - started) * 1000)
            processor_ms.append((time.process_time() - used) * 1000)
            stages.append(result.latency_ms)
    return Round(spent_ms, processor_ms, stages)


if __name__ == "__main__":
    main()
