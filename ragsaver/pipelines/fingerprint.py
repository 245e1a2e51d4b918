"""What decides how a question is answered, besides the question and the documents? A change of it makes other answers.

The pipeline's YAML, the settings, the embedding model, RAGSaver's version, and the source of components that are the
team's own.
"""

import hashlib
import inspect
import json
from pathlib import Path

from haystack import Pipeline

from ragsaver import __version__
from ragsaver.components.resources import Resources
from ragsaver.settings import environment

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
        sorted(_own_sources(pipeline)),
    ]
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()


def _own_sources(pipeline: Pipeline) -> set[str]:
    found: set[str] = set()
    for _, one in pipeline.walk():
        if not type(one).__module__.startswith(("ragsaver.", "haystack.")):
            source = inspect.getsourcefile(type(one))
            if source:
                found.add(hashlib.blake2b(Path(source).read_bytes(), digest_size=16).hexdigest())
    return found
