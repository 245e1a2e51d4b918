"""What does the pipeline engine cost by the component, with 50 passages? JSON on the last line.

Ten components that only hand their documents on, run by Haystack's engine: once with `Passages`, once with a
plain list of the same documents.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from haystack import Document, Pipeline, component

from ragsaver.components.passages import Passages
from ragsaver.settings import quiet_haystack

LIMIT_US = 100.0
COMPONENTS, PASSAGES = 10, 50


@component
class HandOn:
    """Gives out what it takes."""

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Hand on."""
        return {"documents": documents}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """Hand on."""
        return {"documents": documents}


def main() -> None:
    """Time both in turn."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=200)
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    quiet_haystack()
    pipeline = chain()
    documents = [
        Document(content="word " * 100, meta={"source": f"{n}.md", "heading": "A > B"}) for n in range(PASSAGES)
    ]

    async def in_async(what: Any) -> None:
        await pipeline.run_async({"c0": {"documents": what}})

    with asyncio.Runner() as loop:
        runs: dict[str, Callable[[], Any]] = {
            "passages": lambda: pipeline.run({"c0": {"documents": Passages(documents)}}),
            "passages_async": lambda: loop.run(in_async(Passages(documents))),
            "list_of_documents": lambda: pipeline.run({"c0": {"documents": documents}}),
        }
        spent_us: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(given.rounds):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                spent_us[name].append((time.perf_counter() - started) * 1e6 / COMPONENTS)
    medians = {f"{name}_us": round(statistics.median(spent), 1) for name, spent in spent_us.items()}
    result = {**medians, "limit_us": LIMIT_US, "ok": medians["passages_us"] < LIMIT_US}
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


def chain() -> Pipeline:
    """Ten components in a row."""
    pipeline = Pipeline()
    for n in range(COMPONENTS):
        pipeline.add_component(f"c{n}", HandOn())
        if n:
            pipeline.connect(f"c{n - 1}", f"c{n}")
    return pipeline


if __name__ == "__main__":
    main()
