"""A stop between any two steps costs nothing: the next run completes it, and embeds nothing twice."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from ragsaver.index.edge import EdgeIndex
from ragsaver.index.identity import IndexIdentity
from ragsaver.index.protocol import Scope
from ragsaver.ingestion.ingest import Ingestor
from ragsaver.ingestion.manifest import Manifest
from ragsaver.ingestion.verify import verify
from ragsaver.settings import Settings

SCOPE = Scope("acme", "docs")
STEPS = ("intent", "embedded", "upserted", "committed", "listed")


class CountingEncoder:
    """Stands in for the costly model: vectors from a digest, and every text that was paid for."""

    name, dim, fingerprint = "counting", 16, "c" * 32

    def __init__(self):
        self.paid: list[str] = []

    def encode(self, texts, progress=None):
        self.paid.extend(texts)
        rows = [np.frombuffer(hashlib.sha512(text.encode()).digest()[:16], dtype=np.uint8) for text in texts]
        vectors = np.array(rows, dtype=np.float32).reshape(len(texts), 16) - 127
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if len(texts) else vectors

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]


class Stopped(KeyboardInterrupt):
    pass


class Bench:
    def __init__(self, folder: Path):
        self.folder = folder
        self.docs = folder / "docs"
        self.docs.mkdir()
        self.settings = Settings(home=folder / "home")
        (folder / "home").mkdir()
        self.index = EdgeIndex(folder / "home" / "index", IndexIdentity("counting", "c" * 32, 16, "english", 50.0))
        self.manifest = Manifest(folder / "home" / "manifest.sqlite")
        self.encoder = CountingEncoder()

    def ingestor(self, stop_after: str | None = None) -> Ingestor:
        def fault(step: str) -> None:
            if step == stop_after:
                raise Stopped

        return Ingestor(self.settings, self.index, self.encoder, self.manifest, fault)

    def ingest(self, stop_after: str | None = None):
        return self.ingestor(stop_after).ingest([self.docs], SCOPE, cwd=self.folder)

    def verify(self):
        return verify(self.manifest, self.index, self.ingestor(), SCOPE)

    def found(self, words: str) -> set[str]:
        legs = self.index.search(SCOPE, words, self.encoder.encode(["x"])[0], 50)
        self.encoder.paid.remove("x")
        return {hit.payload["text"] for hit in legs.lexical}


@pytest.fixture
def bench(tmp_path: Path):
    made = Bench(tmp_path)
    yield made
    made.manifest.close()
    made.index.close()


@pytest.mark.parametrize("step", STEPS)
def test_a_stop_in_the_first_ingestion_is_completed(bench: Bench, step: str):
    for n in range(3):
        (bench.docs / f"{n}.md").write_text(f"# Title {n}\n\nzebra number {n} lives here")
    with pytest.raises(Stopped):
        bench.ingest(stop_after=step)
    paid_before = len(bench.encoder.paid)

    bench.ingest()

    assert len(bench.found("zebra")) == 3
    if step in STEPS[2:]:
        assert len(bench.encoder.paid) == paid_before == 3
    report = bench.verify()
    assert (report.documents, report.points, report.missing, report.orphaned) == (3, 3, 0, 0)


@pytest.mark.parametrize("step", STEPS)
def test_the_old_version_stays_whole_until_the_new_one_is(bench: Bench, step: str):
    file = bench.docs / "a.md"
    file.write_text("# A\n\nthe old zebra")
    bench.ingest()
    file.write_text("# A\n\nthe new zebra, which is longer")
    with pytest.raises(Stopped):
        bench.ingest(stop_after=step)
    assert len(bench.found("zebra")) == 1

    bench.ingest()

    assert bench.found("zebra") == {"the new zebra, which is longer"}
    assert bench.verify().points == 1


def test_verify_mends_what_another_hand_broke(bench: Bench):
    for n in range(3):
        (bench.docs / f"{n}.md").write_text(f"# Title {n}\n\nzebra number {n}")
    bench.ingest()
    victim = next(iter(bench.index.ids(SCOPE)))[0]
    bench.index.list_and_delete(SCOPE, [], [victim])

    report = bench.verify()

    assert (report.missing, report.repaired, report.points) == (1, 1, 3)
    assert bench.verify().missing == 0


def test_an_insertion_at_the_top_moves_only_the_cuts_near_it(bench: Bench):
    body = "\n\n".join(f"Paragraph {n} says that " + f"word{n} " * 40 for n in range(60))
    file = bench.docs / "long.md"
    file.write_text(f"# Long\n\n{body}")
    assert bench.ingest().chunks.total >= 20
    bench.encoder.paid.clear()
    file.write_text(f"# Long\n\nA new paragraph comes first.\n\n{body}")
    assert bench.ingest().chunks.embedded <= 3
