"""A citation names the page or slide on which its words stand, wherever it is shown."""

from pathlib import Path

import httpx
import pytest

from tests.commands import as_json, run, serving
from tests.ingestion.converters.office_files import slides
from tests.pdf_files import pdf

OWL, HERON = "The owl lives in the old barn.", "The heron stands in the pond behind the mill."
DECK = slides(
    **{
        "Slide 1": "The fox lives in the forest.",
        "Slide 2": "The mole lives below the meadow.",
        "Slide 3": OWL,
        "Slide 4": "The otter lives by the river.",
    }
)
PAPER = pdf([["The stork nests on the chimney of the town hall."], [HERON], ["The swift sleeps while it flies."]])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("pages")
    (project / "deck.pptx").write_bytes(DECK)
    (project / "paper.pdf").write_bytes(PAPER)
    (project / "notes.md").write_text("# Notes\n\nThe badger digs its burrow under the oak.\n")
    assert as_json(project, "ingest", "deck.pptx", "paper.pdf", "notes.md")["documents"]["added"] == 3
    return project


@pytest.mark.parametrize(
    ("question", "source", "page", "quote"),
    [
        ("Where does the owl live?", "deck.pptx", 3, OWL),
        ("Where does the heron stand?", "paper.pdf", 2, HERON),
        ("Where does the badger dig its burrow?", "notes.md", None, "The badger digs its burrow under the oak."),
    ],
)
def test_an_answer_cites_the_page_of_its_quote(project: Path, question: str, source: str, page: int | None, quote: str):
    (cited,) = as_json(project, "ask", question)["citations"]
    assert (cited["source"], cited["page"], cited["quote"]) == (source, page, quote)


def test_a_slide_is_cited_under_its_own_title(project: Path):
    assert as_json(project, "ask", "Where does the owl live?")["citations"][0]["heading"] == "Slide 3"


def test_people_read_the_page_beside_the_source(project: Path):
    assert "paper.pdf, page 2 — " in run(project, "ask", "Where does the heron stand?").stdout
    found = run(project, "search", "Where does the owl live?", "--explain").stdout
    assert found.count("deck.pptx, page 3 — Slide 3") == 2
    assert "notes.md — Notes" in found


def test_a_passage_found_tells_the_page_on_which_it_begins(project: Path):
    result = as_json(project, "search", "Where does the heron stand?", "--explain")
    for passages in (result["passages"], result["debug"]["passages"]):
        pages = {(one["source"], one["page"]) for one in passages}
        assert pages == {("paper.pdf", 1), ("notes.md", None), *(("deck.pptx", n) for n in range(1, 5))}


def test_every_route_gives_out_the_page(project: Path):
    with serving(project) as url, httpx.Client(base_url=url, timeout=60) as client:
        asked = client.post("/v1/query", json={"query": "Where does the heron stand?", "debug": True}).json()
        assert asked["citations"][0]["page"] == 2
        assert {one["page"] for one in asked["debug"]["passages"]} == {1, 2, 3, 4, None}
        again = client.post("/v1/query", json={"query": "Where does the heron stand?"}).json()
        assert again["citations"] == asked["citations"]
        message = {"role": "user", "content": "Where does the owl live?"}
        chat = client.post("/v1/chat/completions", json={"model": "query", "messages": [message]}).json()
        assert [(one["source"], one["page"]) for one in chat["ragsaver"]["citations"]] == [("deck.pptx", 3)]
        found = client.post("/v1/search", json={"query": "Where does the owl live?", "top_k": 1}).json()
        assert [(one["source"], one["page"]) for one in found["passages"]] == [("deck.pptx", 3)]
        shapes = client.get("/openapi.json").json()["components"]["schemas"]
        assert all("page" in shapes[name]["properties"] for name in ("Citation", "FoundPassage", "ExplainedPassage"))


def test_who_stands_on_another_page_now_is_cited_there_and_embedded_once(tmp_path: Path):
    pages = [["The stork nests."], ["The heron stands in the pond behind the mill, where the water is low all year."]]
    for paper, page in ((pages, 2), ([pages[0], [], pages[1]], 3), ([[*pages[0], *pages[1]]], 1)):
        (tmp_path / "paper.pdf").write_bytes(pdf(paper))
        went_in = as_json(tmp_path, "ingest", "paper.pdf")
        assert (went_in["documents"]["failed"], went_in["chunks"]["embedded"]) == (0, page == 2)
        (cited,) = as_json(tmp_path, "ask", "Where does the heron stand?")["citations"]
        assert (cited["page"], cited["quote"]) == (page, pages[1][0])
        told = as_json(tmp_path, "verify")
        assert (told["missing"], told["orphaned"], told["repaired"]) == (0, 0, 0)


def test_an_index_with_pages_is_as_the_manifest_has_it(project: Path):
    told = as_json(project, "verify")
    assert (told["missing"], told["orphaned"], told["repaired"]) == (0, 0, 0)
