"""What decides how a question is answered, besides the question and the documents? A change of it makes other answers.

The pipeline's YAML, the settings, the embedding model, RAGSaver's version, and the code of components and chat
generators that are not RAGSaver's.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from haystack import Pipeline

from ragsaver import __version__
from ragsaver.components.generator import AnswerGenerator
from ragsaver.components.generator_class import generator_class
from ragsaver.components.resources import Resources
from ragsaver.pipelines.code_in_use import code_of
from ragsaver.settings import GenerationSettings, environment

# These decide where things are, who may ask, and what it is worth; all others may decide about an answer.
_NO_MATTER = {
    "home",
    "pipelines_dir",
    "tenant",
    "collection",
    "groups",
    "embedding_cache",
    "ingestion",
    "lifecycle",
    "queue",
    "database",
    "sources",
    "spend",
    "cache",
    "server",
}


def cacheable(pipeline: Pipeline) -> bool:
    """Whether an answer depends on nothing but the question and the chunks that were read.

    RAGSaver's own components are known to be so. For others the YAML has to say it: `metadata: {cacheable: true}`.
    """
    said = pipeline.metadata.get("cacheable")
    if said is not None:
        return said is True
    return all(type(one).__module__.startswith("ragsaver.") for _, one in pipeline.walk())


def fingerprint(pipeline: Pipeline, file: Path, resources: Resources) -> str:
    """A digest of all of it (blake2b, hex)."""
    settings = resources.settings
    told = [
        __version__,
        file.read_text(encoding="utf-8"),
        settings.model_dump(mode="json", exclude=_NO_MATTER),
        environment("OPENAI_BASE_URL"),
        resources.encoder.fingerprint,
        code_of(_classes(pipeline, settings.generation)),
    ]
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()


def _classes(pipeline: Pipeline, wishes: GenerationSettings) -> Iterator[type]:
    """Of its components, and of the generators that they ask."""
    parts = [one for _, one in pipeline.walk()]
    yield from map(type, parts)
    if wishes.asks_about_conversations or any(isinstance(one, AnswerGenerator) for one in parts):
        for model in wishes.models:
            if model.generator is not None:
                yield generator_class(model, model.generator).cls
