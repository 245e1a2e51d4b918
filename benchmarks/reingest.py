"""What does it cost to ingest again what has changed a little, or not at all? JSON on the last line.

Real versions of a documentation, one paragraph put into a long document, renames, copies, and a folder of which
nothing changed; all with an encoder that is free and counts. With `--peers` the same folder goes through LangChain
and LlamaIndex, in an environment of their own.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from free_encoder import CountingEncoder

from ragsaver.caching.embeddings import SqliteEmbeddingCache
from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.scope import Scope
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.order import IngestOrder
from ragsaver.ingestion.report import IngestReport
from ragsaver.settings import Settings

VERSIONS = ("2.30", "2.31", "3.0")
# Words embedded again over words in changed paragraphs, from one version to the next.
SHARE_LIMITS = (1.9, 1.5)
LONG_CHUNKS, INSERTED_CHUNKS_LIMIT = 30, 2
IDLE_DOCUMENTS, LANGCHAIN_TIMES, LLAMA_INDEX_TIMES = 2000, 20, 1
PARAGRAPH = "This paragraph was not here before, and says in a few words what has changed since then."
PEERS = ("langchain-core", "langchain-text-splitters", "langchain-community", "llama-index-core")
LONG_AGO = 1_600_000_000


def main() -> None:
    """Measure it all."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=Path("../shared/data/docs-history"))
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--peers", type=Path, nargs="?", const=Path(), help="where their environment is or will be")
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    result: dict[str, Any] = {
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before": round(os.getloadavg()[0], 1),
        "versions": versions(given.data),
        "insertion": insertion(given.data),
        "moves": moves(given.data / VERSIONS[-1]),
        "idle": idle(given.data, given.rounds, given.peers),
    }
    result["ok"] = all(part["ok"] for part in result.values() if isinstance(part, dict))
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


class Place:
    """A folder of documents and an embedded index that it is ingested into."""

    def __init__(self, folder: Path) -> None:
        self.docs = folder / "docs"
        settings = Settings.model_validate({"home": folder / "home"})
        settings.home.mkdir()
        self.encoder = CountingEncoder()
        self._index = EdgeIndex(settings.home / "index", IndexIdentity("free", "f" * 32, 16, "english", 50.0))
        self._manifest = Manifest(settings.home / "manifest.sqlite")
        self._cache = SqliteEmbeddingCache(settings.home / "embeddings.sqlite", 2**31)
        self._ingestor = Ingestor(settings, self._index, self.encoder, self._manifest, self._cache)
        self._order = IngestOrder(paths=(str(self.docs),), cwd=folder, prune=True)

    def ingest(self) -> IngestReport:
        """Everything in the folder; what is gone from it is forgotten."""
        return self._ingestor.ingest(self._order, Scope("benchmark", "docs"))

    def chunks(self) -> dict[str, int]:
        """How many chunks each document has, by its path within the folder."""
        records = self._manifest.documents(Scope("benchmark", "docs"))
        return {source.removeprefix("docs/"): len(record.chunks) for source, record in records.items()}

    def close(self) -> None:
        """Close the stores."""
        self._index.close()
        self._manifest.close()
        self._cache.close()


@contextmanager
def place(documents: Path | None = None) -> Iterator[Place]:
    """A new one, with a copy of the documents."""
    with tempfile.TemporaryDirectory() as folder:
        made = Place(Path(folder).resolve())
        if documents:
            copy(documents, made.docs)
        try:
            yield made
        finally:
            made.close()


def copy(documents: Path, to: Path) -> None:
    """The files of a folder, as if they had been there for long."""
    shutil.copytree(documents, to)
    for file in to.rglob("*.mdx"):
        os.utime(file, (LONG_AGO, LONG_AGO))


def versions(data: Path) -> dict[str, Any]:
    """Words embedded again from one version to the next, beside the words in paragraphs that changed."""
    steps = []
    for before, after, limit in zip(VERSIONS, VERSIONS[1:], SHARE_LIMITS, strict=False):
        share, floor = words_again(data / before, data / after), changed_share(data / before, data / after)
        steps.append(
            {
                "from": before,
                "to": after,
                "embedded_share": round(share, 4),
                "changed_paragraphs_share": round(floor, 4),
                "ratio": round(share / floor, 3),
                "ratio_limit": limit,
            }
        )
    return {"steps": steps, "ok": all(step["ratio"] <= step["ratio_limit"] for step in steps)}


def words_again(before: Path, after: Path) -> float:
    """Share of the words of the new version, as they are embedded, that are embedded when it follows the old one."""
    with place(after) as fresh:
        fresh.ingest()
        whole = fresh.encoder.words
    with place(before) as kept:
        kept.ingest()
        first = kept.encoder.words
        shutil.rmtree(kept.docs)
        copy(after, kept.docs)
        kept.ingest()
        return (kept.encoder.words - first) / whole


def changed_share(before: Path, after: Path) -> float:
    """Share of the new version's words that stand in paragraphs which the old one has nowhere.

    A paragraph is what stands between empty lines.
    """
    old = set(paragraphs(before))
    new = list(paragraphs(after))
    return sum(len(text.split()) for text in new if text not in old) / sum(len(text.split()) for text in new)


def paragraphs(folder: Path) -> Iterator[str]:
    """Those of all documents of a folder."""
    for file in sorted(folder.rglob("*.mdx")):
        yield from (text for text in file.read_text().split("\n\n") if text.strip())


def insertion(data: Path) -> dict[str, Any]:
    """Texts embedded again when a long document gets a paragraph at its top: before its first heading, and below."""
    embedded: list[int] = []
    longest = 0
    for version in VERSIONS:
        with place(data / version) as kept:
            kept.ingest()
            long = {source: chunks for source, chunks in kept.chunks().items() if chunks >= LONG_CHUNKS}
            longest = max([longest, *long.values()])
            for source in long:
                file = kept.docs / source
                text = file.read_text()
                for edited in (with_paragraph(text), with_paragraph(text, below_heading=True)):
                    file.write_text(edited)
                    embedded.append(kept.ingest().chunks.embedded)
                    file.write_text(text)
                    kept.ingest()
    return {
        "insertions": len(embedded),
        "longest_document_chunks": longest,
        "embedded_median": statistics.median(embedded),
        "embedded_most": max(embedded),
        "embedded_limit": INSERTED_CHUNKS_LIMIT,
        "ok": max(embedded) <= INSERTED_CHUNKS_LIMIT,
    }


def with_paragraph(text: str, *, below_heading: bool = False) -> str:
    """The document with a paragraph at its top."""
    front = re.match(r"---\n.*?\n---\n", text, re.DOTALL)
    at = front.end() if front else 0
    heading = re.compile(r"^#+ .*\n", re.MULTILINE).search(text, at)
    if below_heading and heading:
        at = heading.end()
    return f"{text[:at]}\n{PARAGRAPH}\n\n{text[at:]}"


def moves(documents: Path) -> dict[str, Any]:
    """Texts embedded for a renamed file, a moved folder, and a second copy of everything."""
    with place(documents) as kept:
        first = kept.ingest().chunks.embedded
        file = max(kept.docs.rglob("*.mdx"), key=lambda one: one.stat().st_size)
        file.rename(file.with_name("renamed.mdx"))
        renamed = kept.ingest().chunks.embedded
        folder = max((one for one in kept.docs.iterdir() if one.is_dir()), key=lambda one: len(list(one.rglob("*"))))
        folder.rename(kept.docs / "moved")
        moved = kept.ingest().chunks.embedded
    with tempfile.TemporaryDirectory() as folder_of_two, place() as both:
        copy(documents, Path(folder_of_two) / "one")
        copy(documents, Path(folder_of_two) / "two")
        shutil.copytree(folder_of_two, both.docs)
        twice = both.ingest().chunks.embedded
    return {
        "renamed_embedded": renamed,
        "moved_folder_embedded": moved,
        "embedded_once": first,
        "embedded_where_all_stand_twice": twice,
        "ok": renamed == moved == 0 and twice == first,
    }


def idle(data: Path, rounds: int, peers: Path | None) -> dict[str, Any]:
    """Seconds of a run that finds nothing changed, in one process, beside those of the peers.

    The first one after a change looks at every document; those after it know by the folders that it found nothing.
    """
    with place() as kept:
        many(data, kept.docs)
        kept.ingest()
        first_s = quietly(kept)
        took = [quietly(kept) for _ in range(rounds)]
        report = kept.ingest()
        result: dict[str, Any] = {
            "documents": report.documents.unchanged,
            "chunks": report.chunks.total,
            "first_again_s": round(first_s, 4),
            "again_s": round(statistics.median(took), 4),
            "embedded": report.chunks.embedded,
            "ok": report.documents.unchanged == IDLE_DOCUMENTS and not report.chunks.embedded,
        }
        if peers is None:
            return result
        longest = kept.docs / max(kept.chunks().items(), key=lambda one: one[1])[0]
        theirs = run_peers(peers, kept.docs, longest, rounds)
        os.utime(longest, (LONG_AGO + 1, LONG_AGO + 1))  # they have edited it
        for _ in range(2):
            kept.ingest()
        took += [quietly(kept) for _ in range(rounds)]  # before and after theirs: the machine's pace changes
    ours = statistics.median(took)
    langchain = theirs["langchain"]["again"]["seconds"] / ours
    llama_index = theirs["llama_index"]["again"]["seconds"] / ours
    return result | {
        "again_s": round(ours, 4),
        "peers": theirs,
        "times_less_than_langchain": round(langchain, 1),
        "times_less_than_langchain_limit": LANGCHAIN_TIMES,
        "times_less_than_llama_index_in_memory": round(llama_index, 2),
        "times_less_than_llama_index_in_memory_limit": LLAMA_INDEX_TIMES,
        "ok": result["ok"] and langchain >= LANGCHAIN_TIMES and llama_index >= LLAMA_INDEX_TIMES,
    }


def quietly(kept: Place) -> float:
    """Seconds of one run that finds nothing changed."""
    started = time.perf_counter()
    kept.ingest()
    return time.perf_counter() - started


def many(data: Path, to: Path) -> None:
    """The versions, each in a folder of its own, again and again until there are enough documents."""
    missing, copies = IDLE_DOCUMENTS, 0
    while missing:
        for version in VERSIONS:
            for file in sorted((data / version).rglob("*.mdx"))[:missing]:
                target = to / str(copies) / version / file.relative_to(data / version)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
                os.utime(target, (LONG_AGO, LONG_AGO))
                missing -= 1
        copies += 1


def run_peers(folder: Path, documents: Path, edit: Path, rounds: int) -> dict[str, Any]:
    """What the peers need for the same documents.

    :param folder: of their environment; a temporary one if it is the working directory.
    """
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary) / "peers" if folder == Path() else folder
        python = home / "bin" / "python"
        if not python.exists():
            venv.create(home, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *PEERS], check=True, stdout=sys.stderr)
        edited = Path(temporary) / "edited.mdx"
        edited.write_text(with_paragraph(edit.read_text()))
        script = Path(__file__).with_name("reingest_peers.py")
        arguments = ["--documents", documents, "--edit", edit, "--edited", edited, "--rounds", str(rounds)]
        said = subprocess.run(
            [python, "-W", "ignore", script, *arguments], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer


if __name__ == "__main__":
    main()
