"""A throwaway index of a dataset, built by the real ingestion and asked by the real components."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

from ragsaver.errors import UsageError
from ragsaver.eval.dataset import Dataset
from ragsaver.ingestion.sources import PostedDocument
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import CacheSettings, Settings


@contextmanager
def indexed(dataset: Dataset, settings: Settings) -> Iterator[Runtime]:
    """Ingest a dataset into a temporary home with the project's own settings.

    :raises UsageError: if a document did not go in: figures over part of a corpus would mislead.
    """
    with tempfile.TemporaryDirectory(prefix="ragsaver-eval-") as home:
        # No question looks at an outline, and a summary would cost money.
        outline = settings.outline.model_copy(update={"summary_model": None})
        index = settings.index.model_copy(update={"engine": "edge"})  # nothing of a data set goes to a server
        # A sample beside the questions would slow down the ones that are timed.
        rerank = settings.rerank.model_copy(update={"sample_skipped": 0.0})
        # Each question is measured as if nobody had asked it before.
        cache = CacheSettings(backend="memory", answers="off", retrieval=False, embeddings=False)
        elsewhere = settings.model_copy(
            update={"home": Path(home), "outline": outline, "index": index, "rerank": rerank, "cache": cache}
        )
        with open_runtime(elsewhere, "ragsaver eval") as runtime:
            posted = [
                PostedDocument(one.id, _as_html(one.title, one.text), "html")
                for one in dataset.corpus
                if one.text.strip()
            ]
            report = runtime.ingestor.ingest_texts(posted, runtime.scope())
            if report.errors:
                failure = report.errors[0]
                raise UsageError(f"did not go in: {failure.error}", where=failure.source)
            runtime.index.optimise()
            yield runtime


def _as_html(title: str, text: str) -> str:
    """A dataset's text is no markup: escape it, so that nothing in it is read as any."""
    paragraphs = "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n"))
    heading = f"<h1>{escape(title)}</h1>" if title else ""
    return f"<html><body>{heading}{paragraphs}</body></html>"
