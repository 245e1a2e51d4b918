"""An outline has every chunk under its heading and one verbatim sentence a section, and costs no embedding."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragsaver.index.scope import Scope
from ragsaver.ingestion.converters.limits import ConversionLimits
from ragsaver.ingestion.outlines import (
    Outline,
    OutlineLine,
    central_sentence,
    deciding,
    from_json,
    outline,
    render,
    to_json,
)
from ragsaver.ingestion.preparing import Raw, Recipe, prepare
from tests.commands import as_json, run, serving
from tests.ingestion.bench import SCOPE, Bench

FILLER = "These words only make the section long enough to stand alone. "

GUIDE = f"""Before any heading. {FILLER * 5}

# Parrots

## Food

### Seeds

A parrot eats seeds. Parrots eat many seeds each day. Water is another matter. {FILLER * 5}

### Water

Water is fresh. {FILLER * 5}

## Travel

Parrots need a permit. {FILLER * 5}
"""


@pytest.fixture
def bench(tmp_path: Path):
    made = Bench(tmp_path)
    yield made
    made.close()


def chunks(text: str, min_words: int = 5):
    recipe = Recipe("m", min_words, 60, True, ConversionLimits(100, 100, 100))
    return prepare(Raw("document", "guide.md", text.encode(), "markdown", recipe)).chunks


def made(text: str) -> Outline:
    return outline("Guide", chunks(text), {})


def of(bench: Bench, name: str = "docs/a.md") -> Outline:
    found = bench.manifest.outline(SCOPE, name)
    assert found is not None
    return found


def test_each_heading_has_a_line_whether_it_has_text_of_its_own_or_not():
    shown = [(line.level, line.heading, bool(line.sentence)) for line in made(GUIDE).lines]
    assert shown == [
        (0, "", True),
        (1, "Parrots", False),
        (2, "Food", False),
        (3, "Seeds", True),
        (3, "Water", True),
        (2, "Travel", True),
    ]


def test_a_heading_that_comes_again_has_a_line_again():
    body = FILLER * 5
    text = f"# A\n\n## B\n\n{body}\n\n# A\n\nown {body}\n\n## B\n\n{body}"
    assert [(line.level, line.heading) for line in made(text).lines] == [(1, "A"), (2, "B"), (1, "A"), (2, "B")]


headings = st.tuples(st.integers(1, 4), st.sampled_from(["Alpha", "Beta", "Gamma"]))
bodies = st.lists(
    st.sampled_from(["One fish. Two fish! ", "- item\n- other", "```\ncode = 1\n```", "| a |\n|---|\n| b |", "no end"]),
    max_size=6,
)


@given(st.lists(st.tuples(headings, bodies), min_size=1, max_size=8))
def test_every_chunk_stands_under_its_heading_and_every_sentence_in_its_chunks(sections):
    text = "Start here.\n\n" + "\n\n".join(
        f"{'#' * level} {name}\n\n" + "\n\n".join(found) for (level, name), found in sections
    )
    cut = chunks(text)
    lines = outline("Guide", cut, {}).lines
    assert [one for line in lines for one in line.chunk_ids] == [one.id for one in cut]
    by_id = {one.id: one.chunk for one in cut}
    path: list[str] = []
    for line in lines:
        assert line.level <= len(path) + 1
        path[max(line.level - 1, 0) :] = [line.heading] if line.level else []
        own = [by_id[one] for one in line.chunk_ids]
        assert all(chunk.heading == " > ".join(path) for chunk in own)
        assert not line.sentence or any(line.sentence in chunk.text for chunk in own)
        assert line.ordinal == own[0].ordinal if own else not line.sentence


def test_the_chunk_nearest_to_the_others_speaks_for_its_section():
    text = "# A\n\n" + "\n\n".join(f"Chunk {n} says so. " + f"Word{n} " * 50 for n in range(3))
    cut = chunks(text)
    assert len(cut) == 3 and deciding(cut) == list(cut)
    directions = np.array([[1, 0, 0], [0, 0, 1], [0.8, 0, 0.6]], dtype=np.float32)
    vectors = {one.prints.embedded: vector for one, vector in zip(cut, directions, strict=True)}
    assert outline("A", cut, vectors).lines[0].sentence == "Chunk 2 says so."


def test_the_sentence_that_shares_most_with_the_others_speaks_for_its_chunk():
    text = "Bring a pencil. The index belongs to one process. A process locks the index that it owns. Locks end with the process."
    assert central_sentence(text) == ("A process locks the index that it owns.", True)


def test_code_never_speaks_and_lists_only_where_nothing_else_does():
    code = "```py\nprint('All. Done. Here.')\n\nx = 1\n```"
    assert central_sentence(code) == ("", False)
    assert central_sentence(f"- an item\n\nThis sentence is whole.\n\n{code}") == ("This sentence is whole.", True)
    assert central_sentence(f"- the only item\n\n{code}") == ("- the only item", False)
    assert central_sentence("| name | size |\n|---|---|\n| a | 1 |") == ("| name | size |", False)


def test_only_a_section_whose_chunks_changed_is_worked_out_again():
    old = made(GUIDE)
    before = replace(old, lines=tuple(replace(line, sentence="kept" if line.chunk_ids else "") for line in old.lines))
    cut = chunks(GUIDE.replace("A parrot eats seeds.", "A parrot eats nuts."))
    after = outline("Guide", cut, {}, before)
    assert [line.heading for line in after.lines if line.sentence not in ("", "kept")] == ["Seeds"]
    assert {one.chunk.heading for one in deciding(cut, before)} <= {"Parrots > Food > Seeds"}


words = st.text("ab ", max_size=12)
outline_lines = st.lists(
    st.builds(OutlineLine, st.integers(0, 4), words, words, st.just(()), st.integers(0, 9)), max_size=12
)
outlines = st.builds(Outline, words, outline_lines.map(tuple))


@given(outlines, st.integers(1, 60))
def test_an_outline_as_text_keeps_its_budget_and_loses_the_deepest_lines_first(whole: Outline, budget: int):
    named = replace(whole, lines=tuple(replace(line, heading=f"h{n}h") for n, line in enumerate(whole.lines)))
    text = render(named, budget, len)
    assert len(text) <= budget
    levels = {True: [-1], False: [9]}
    for line in named.lines:
        levels[line.heading in text].append(line.level)
    assert max(levels[True]) <= min(levels[False])
    full = render(named, 0, len)
    assert render(named, max(len(full), 1), len) == full and all(line.heading in full for line in named.lines)


@given(outlines)
def test_an_outline_comes_back_from_json_as_it_was(whole: Outline):
    assert from_json(to_json(whole)) == whole


def test_outlines_embed_nothing_when_they_are_made_changed_or_made_again(bench: Bench):
    file = bench.docs / "a.md"
    long = "\n\n".join(f"Paragraph {n} says so. " + f"word{n} " * 50 for n in range(12))
    file.write_text(f"# A\n\n{long}\n\n# B\n\nThe zebra sleeps. {FILLER * 5}")
    first = bench.ingest()
    assert len(bench.encoder.paid) == first.chunks.embedded == first.chunks.total
    assert len(of(bench).lines[0].chunk_ids) > 2

    file.write_text(file.read_text().replace("Paragraph 3 says so.", "Paragraph 3 says more."))
    assert bench.ingest().chunks.embedded == 1
    assert len(bench.encoder.paid) == first.chunks.embedded + 1

    incremental, record = of(bench), bench.manifest.documents(SCOPE)["docs/a.md"]
    forget_outlines(bench)
    assert bench.plan().documents.stale == 1
    report = bench.ingest()
    assert (report.chunks.embedded, report.chunks.deleted, of(bench)) == (0, 0, incremental)
    assert bench.manifest.documents(SCOPE)["docs/a.md"].points == record.points
    assert len(bench.encoder.paid) == first.chunks.embedded + 1
    assert bench.ingest().documents.unchanged == 1


def forget_outlines(bench: Bench) -> None:
    """Leave the manifest as one from before there were outlines."""
    connection = sqlite3.connect(bench.manifest.place)
    connection.execute("DELETE FROM outlines")
    connection.commit()
    connection.close()


def test_an_outline_goes_with_its_document_and_is_its_scope_s_own(bench: Bench):
    (bench.docs / "a.md").write_text("# A\n\nThe zebra sleeps.")
    (bench.docs / "b.md").write_text("# B\n\nThe horse sleeps.")
    bench.ingest()
    record = bench.manifest.documents(SCOPE)["docs/a.md"]
    assert bench.manifest.outline(Scope("other", "docs"), "docs/a.md") is None
    (bench.docs / "a.md").unlink()
    bench.ingest(prune=True)
    assert bench.manifest.outlines([record.id]) == {}
    assert of(bench, "docs/b.md").lines[0].sentence == "The horse sleeps."


def test_the_command_shows_an_outline_here_and_through_the_server(tmp_path: Path):
    (tmp_path / "guide.md").write_text(GUIDE)
    run(tmp_path, "ingest", "guide.md")
    assert "there is no outline" in run(tmp_path, "outline", "other.md", code=2).stderr
    text = run(tmp_path, "outline", "guide.md").stdout
    assert "    - Seeds: " in text
    here = as_json(tmp_path, "outline", "guide.md", "--budget-tokens", "60")
    assert here["text"] != text and len(here["lines"]) == 6
    with serving(tmp_path):
        assert as_json(tmp_path, "outline", "guide.md", "--budget-tokens", "60") == here
