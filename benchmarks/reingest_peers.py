"""The other half of `reingest.py`: the same folder through LangChain's `index()` and LlamaIndex's pipeline.

Runs in an environment of its own that has these two and not RAGSaver. Prints one JSON object.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

CHUNK_CHARACTERS = 1000


class Paid:
    """What the costly model would have been given."""

    def __init__(self) -> None:
        self.texts = 0

    def embed(self, texts: list[str]) -> list[list[float]]:
        """Vectors from a digest."""
        self.texts += len(texts)
        return [[byte - 127.0 for byte in hashlib.sha512(text.encode()).digest()[:16]] for text in texts]

    def during(self, run: Callable[[], Any]) -> dict[str, float]:
        """Seconds and embedded texts of one run."""
        before, started = self.texts, time.perf_counter()
        run()
        return {"seconds": round(time.perf_counter() - started, 4), "embedded": self.texts - before}


def main() -> None:
    """Ingest, ingest again, put one paragraph into one document, ingest once more."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--documents", type=Path, required=True)
    arguments.add_argument("--edit", type=Path, required=True, help="the document that gets a paragraph")
    arguments.add_argument("--edited", type=Path, required=True, help="a file with that document's new text")
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    old, new = given.edit.read_text(), given.edited.read_text()
    result = {}
    for name, peer in (("langchain", langchain), ("llama_index", llama_index)):
        given.edit.write_text(old)
        result[name] = peer(given, new)
    given.edit.write_text(old)
    print(json.dumps(result))


def langchain(given: argparse.Namespace, edited: str) -> dict[str, Any]:
    """Incremental indexing with the SQLite record manager; the loader reads the files in every run."""
    from langchain_community.document_loaders import DirectoryLoader, TextLoader
    from langchain_community.indexes._sql_record_manager import SQLRecordManager
    from langchain_core.embeddings import Embeddings
    from langchain_core.indexing import index
    from langchain_core.vectorstores import InMemoryVectorStore
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    paid = Paid()

    class Stub(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return paid.embed(texts)

        def embed_query(self, text: str) -> list[float]:
            return paid.embed([text])[0]

    loader = DirectoryLoader(
        str(given.documents), glob="**/*.mdx", loader_cls=TextLoader, loader_kwargs={"encoding": "utf-8"}
    )
    splitter = RecursiveCharacterTextSplitter(chunk_size=CHUNK_CHARACTERS, chunk_overlap=0)
    store = InMemoryVectorStore(Stub())
    with tempfile.TemporaryDirectory() as folder:
        records = SQLRecordManager("benchmark", db_url=f"sqlite:///{folder}/records.sqlite")
        records.create_schema()

        def run() -> None:
            index(
                splitter.split_documents(loader.load()), records, store,
                cleanup="incremental", source_id_key="source", key_encoder="sha256",
            )  # fmt: skip

        first = paid.during(run)
        again = [paid.during(run) for _ in range(given.rounds)]
        given.edit.write_text(edited)
        return {
            "versions": {name: version(name) for name in ("langchain-core", "langchain-community")},
            "first": first,
            "again": median(again),
            "edited": paid.during(run),
        }


def llama_index(given: argparse.Namespace, edited: str) -> dict[str, Any]:
    """An ingestion pipeline with a docstore and upserts; reading the files is timed apart."""
    from llama_index.core import Document, SimpleDirectoryReader
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.core.storage.docstore import SimpleDocumentStore
    from llama_index.core.vector_stores import SimpleVectorStore

    paid = Paid()

    class Stub(BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return paid.embed([text])[0]

        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            return paid.embed(texts)

        def _get_query_embedding(self, query: str) -> list[float]:
            return self._get_text_embedding(query)

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_text_embedding(query)

    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=CHUNK_CHARACTERS // 4, chunk_overlap=0), Stub()],
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS,
        vector_store=SimpleVectorStore(),
    )

    def in_memory() -> list[Document]:
        files = sorted(given.documents.rglob("*.mdx"))
        return [Document(text=file.read_text(), id_=str(file)) for file in files]

    def read() -> None:
        reader = SimpleDirectoryReader(
            str(given.documents), recursive=True, required_exts=[".mdx"], filename_as_id=True
        )
        pipeline.run(documents=reader.load_data())

    documents = in_memory()
    first = paid.during(lambda: pipeline.run(documents=documents))
    again = [paid.during(lambda: pipeline.run(documents=documents)) for _ in range(given.rounds)]
    given.edit.write_text(edited)
    documents = in_memory()
    after = paid.during(lambda: pipeline.run(documents=documents))
    paid.during(read)  # its own metadata and names: once through, then again
    return {
        "versions": {"llama-index-core": version("llama-index-core")},
        "first": first,
        "again": median(again),
        "again_with_reading": median([paid.during(read) for _ in range(given.rounds)]),
        "edited": after,
    }


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    """The middle run by time."""
    return sorted(runs, key=lambda run: run["seconds"])[(len(runs) - 1) // 2]


if __name__ == "__main__":
    main()
