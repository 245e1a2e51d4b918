"""Ingesting again pays for what is new, and for nothing else: edits, insertions, renames, copies, real versions."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.index.scope import Scope
from ragsaver.ingestion.identity import Fingerprints, StoredFingerprints
from tests.ingestion.bench import SCOPE, Bench

VERSIONS = Path(__file__).resolve().parents[3] / "shared" / "data" / "docs-history"
LONG_AGO = 1_600_000_000
NEW = "Nobody has written this paragraph before, and it is not a long one."


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def paragraph(number: int) -> str:
    return f"Paragraph {number} tells of zebras. " + " ".join(f"w{number}x{n}" for n in range(20 + number * 7 % 40))


def guide(name: str, sections: int = 12) -> str:
    """A document of some forty chunks."""
    parts = [f"# Guide to {name}"]
    for section in range(sections):
        parts.append(f"## Part {section} of {name}")
        parts.extend(paragraph(section * 10 + n) + f" {name}" for n in range(8))
    return "\n\n".join(parts) + "\n"


def write(bench: Bench, name: str, text: str) -> Path:
    """A file that seems to have been there for long, so that its time tells whether it changed."""
    file = bench.docs / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    os.utime(file, (LONG_AGO, LONG_AGO))
    return file


def chunks(bench: Bench, source: str) -> int:
    return len(bench.manifest.documents(SCOPE)[f"docs/{source}"].chunks)


@pytest.mark.parametrize("place", ["# Guide to a\n", "## Part 0 of a\n", "## Part 6 of a\n"])
def test_a_paragraph_put_into_a_long_document_embeds_two_chunks_at_most(bench: Bench, place: str):
    text = guide("a")
    write(bench, "a.md", text)
    bench.ingest()
    assert chunks(bench, "a.md") >= 30
    bench.docs.joinpath("a.md").write_text(text.replace(place, f"{place}\n{NEW}\n"))
    assert 1 <= bench.ingest().chunks.embedded <= 2


def test_a_renamed_file_and_a_moved_folder_embed_nothing(bench: Bench):
    for name in ("a", "sub/b", "sub/c"):
        write(bench, f"{name}.md", guide(name, 3))
    first = bench.ingest()
    (bench.docs / "a.md").rename(bench.docs / "z.md")
    assert bench.ingest(prune=True).chunks.embedded == 0
    (bench.docs / "sub").rename(bench.docs / "elsewhere")
    moved = bench.ingest(prune=True)
    assert (moved.chunks.embedded, moved.chunks.total) == (0, first.chunks.total)
    assert len(bench.listed()) == first.chunks.total


def test_a_text_that_stands_in_two_documents_is_embedded_once(bench: Bench):
    write(bench, "a.md", guide("a", 3))
    write(bench, "copy.md", guide("a", 3))
    together = bench.ingest()
    assert together.chunks.embedded == together.chunks.total / 2
    write(bench, "later.md", guide("a", 3))
    assert bench.ingest().chunks.embedded == 0


def test_documents_that_did_not_change_are_neither_read_nor_embedded(bench: Bench):
    for number in range(40):
        file = write(bench, f"{number % 7}/{number}.md", guide(str(number), 1))
    first = bench.ingest()
    size = file.stat().st_size
    file.write_text("?" * size)  # were it read, it would be another document
    os.utime(file, (LONG_AGO, LONG_AGO))
    again = bench.ingest()
    assert (again.documents.unchanged, again.documents.changed, again.chunks.embedded) == (40, 0, 0)
    assert again.chunks.total == first.chunks.total
    assert bench.ingest(checksum=True).documents.changed == 1


def test_a_file_that_was_only_touched_embeds_nothing_and_keeps_its_chunks(bench: Bench):
    file = write(bench, "a.md", guide("a", 3))
    bench.ingest()
    before = bench.manifest.documents(SCOPE)["docs/a.md"]
    os.utime(file, (LONG_AGO + 5, LONG_AGO + 5))
    assert bench.ingest().chunks.embedded == 0
    after = bench.manifest.documents(SCOPE)["docs/a.md"]
    assert (after.chunks, after.version != before.version) == (before.chunks, True)


def test_another_tenant_s_same_text_is_its_own(bench: Bench):
    write(bench, "a.md", guide("a", 2))
    first = bench.ingest()
    assert bench.ingest(scope=Scope("other", "docs")).chunks.embedded == first.chunks.embedded


@given(st.lists(st.builds(Fingerprints, *[st.text("0123456789abcdef-", max_size=36)] * 4)).map(tuple))
def test_stored_fingerprints_are_the_ones_that_were_stored(prints: tuple[Fingerprints, ...]):
    stored = StoredFingerprints(StoredFingerprints.of(prints).text)
    assert len(stored) == len(prints)
    assert (stored, hash(stored), list(stored)) == (prints, hash(prints), list(prints))


@pytest.mark.skipif(not VERSIONS.exists(), reason="the versions of the documentation are not there")
def test_real_versions_embed_little_more_than_the_paragraphs_that_changed(bench: Bench):
    shares = {}
    words: dict[str, int] = {}
    for version in ("2.30", "2.31", "3.0"):
        shutil.rmtree(bench.docs)
        shutil.copytree(VERSIONS / version, bench.docs)
        paid = len(bench.encoder.paid)
        bench.ingest(prune=True)
        new = {digest(bench, text): len(text.split()) for text in bench.encoder.paid[paid:]}
        words |= new
        there = {one.embedded for record in bench.manifest.documents(SCOPE).values() for one in record.chunks}
        shares[version] = sum(new.values()) / sum(words[name] for name in there)
    assert shares["2.31"] / changed_share("2.30", "2.31") <= 1.9
    assert shares["3.0"] / changed_share("2.31", "3.0") <= 1.5


def digest(bench: Bench, text: str) -> str:
    return xxhash.xxh3_128_hexdigest(f"{bench.encoder.fingerprint}\0{text}".encode())


def changed_share(before: str, after: str) -> float:
    """Share of the words that stand in paragraphs (between empty lines) which the version before has nowhere."""
    old, new = (
        [text for file in (VERSIONS / version).rglob("*.mdx") for text in re.split("\n\n", file.read_text())]
        for version in (before, after)
    )
    known = set(old)
    return sum(len(text.split()) for text in new if text not in known) / sum(len(text.split()) for text in new)
