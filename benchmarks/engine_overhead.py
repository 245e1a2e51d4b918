"""What does the pipeline engine cost by the component, with 50 passages? JSON on the last line.

Ten components, of which one gives documents and the others hand them on, run by Haystack's engine: once with
`Passages`, once with a plain list of the same documents; and run as pipelines of RAGSaver's own components are.
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
from ragsaver.pipelines.direct_run import DirectRun
from ragsaver.settings import quiet_haystack

LIMIT_US = 100.0
COMPONENTS, PASSAGES = 10, 50


@component
class Give:
    """Gives out what it was made with."""

    def __init__(self, documents: Any) -> None:
        self._documents = documents

    @component.output_types(documents=list[Document])
    def run(self, query: str) -> dict[str, Any]:
        """Give."""
        return {"documents": self._documents}

    @component.output_types(documents=list[Document])
    async def run_async(self, query: str) -> dict[str, Any]:
        """Give."""
        return {"documents": self._documents}


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
    documents = [
        Document(content="word " * 100, meta={"source": f"{n}.md", "heading": "A > B"}) for n in range(PASSAGES)
    ]
    listed, pipeline = chain(documents), chain(Passages(documents))
    direct = DirectRun(pipeline, __name__)
    asked = {"c0": {"query": "why"}}
    assert direct.is_direct

    async def in_async() -> None:
        await pipeline.run_async(asked)

    with asyncio.Runner() as loop:
        runs: dict[str, Callable[[], Any]] = {
            "passages": lambda: pipeline.run(asked),
            "passages_async": lambda: loop.run(in_async()),
            "list_of_documents": lambda: listed.run(asked),
            "passages_direct": lambda: direct(asked),
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


def chain(documents: Any) -> Pipeline:
    """Ten components in a row."""
    pipeline = Pipeline()
    pipeline.add_component("c0", Give(documents))
    for n in range(1, COMPONENTS):
        pipeline.add_component(f"c{n}", HandOn())
        pipeline.connect(f"c{n - 1}", f"c{n}")
    return pipeline


if __name__ == "__main__":
    main()
