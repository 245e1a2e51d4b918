"""The recipes of the page about reranking, as printed: what is set is what is done."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.commands import as_json, run
from tests.rerank_server import Script, rerank_server

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "rerank-where-it-helps.md"
PATIENT = {"RAGSAVER_RERANK__DEADLINE_MS": "60000", "RAGSAVER_CACHE__ANSWERS": "off"}
ANIMALS = [f"{kind}{n}" for n in range(10) for kind in ("owl", "parrot", "otter", "lynx", "toad")]
QUESTION = "How much does the owl3 eat, unlike the toad2?"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Fifty documents, and a data set `my-set` with a question to each."""
    dataset, docs = tmp_path / "my-set", tmp_path / "docs"
    dataset.mkdir()
    docs.mkdir()
    texts = [f"The {one} eats {n + 3} grams of seeds and sleeps {n} hours a day." for n, one in enumerate(ANIMALS)]
    corpus = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)]
    queries = [{"_id": f"q{n}", "text": f"How much does the {one} eat?"} for n, one in enumerate(ANIMALS)]
    (dataset / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (dataset / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (dataset / "qrels.tsv").write_text("q\td\ts\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(len(ANIMALS))))
    for one, text in zip(ANIMALS, texts, strict=True):
        (docs / f"{one}.md").write_text(f"# {one}\n\n{text}\n")
    return tmp_path


def recipes() -> tuple[dict, dict]:
    """The page's settings: a remote reranker that is always asked, and a tuned gate."""
    found = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.M)]
    remote, gated = (one for one in found if "rerank" in one)
    return remote, gated


def verdict(project: Path, *arguments: str) -> tuple[str, str]:
    """What the receipt's line names, and why."""
    receipt = as_json(project, *arguments, **PATIENT)["receipt"]
    (line,) = (line for line in receipt["lines"] if line["stage"] == "rerank")
    return line["item"], line["reason"].split(":")[0]


def told_by_doctor(project: Path, code: int) -> dict:
    (row,) = (row for row in as_json(project, "doctor", code=code)["checks"] if row["check"] == "reranker")
    return row


def test_doctor_tells_of_a_model_that_is_garbage(project: Path):
    assert told_by_doctor(project, 0)["detail"] == "query asks none"
    (project / "model").mkdir()
    (project / "model" / "model.onnx").write_bytes(b"garbage")
    (project / "model" / "tokenizer.json").write_text("{}")
    rerank = {"mode": "always", "backend": "onnx", "model": str(project / "model")}
    (project / "ragsaver.yaml").write_text(yaml.safe_dump({"query": {"pipeline": "reranked"}, "rerank": rerank}))
    row = told_by_doctor(project, 2)
    assert not row["ok"] and "model" in row["detail"]


def test_the_recipes_of_the_page_do_what_it_says(project: Path):
    always, gated = recipes()
    (tune,) = (line for line in PAGE.read_text().splitlines() if line.startswith("ragsaver eval tune-gate"))
    file = project / "ragsaver.yaml"
    with rerank_server(script := Script()) as url:
        run(project, "ingest", "docs")
        assert verdict(project, "ask", QUESTION, "--pipeline", "reranked")[1] in ("reranked", "kept", "skipped")

        always["rerank"]["url"] = url
        file.write_text(yaml.safe_dump(always))
        assert verdict(project, "ask", QUESTION) == ("bge-reranker-base", "reranked")
        assert verdict(project, "ask", QUESTION, "--pipeline", "reranked") == ("bge-reranker-base", "reranked")
        explained = as_json(project, "search", QUESTION, "--explain", **PATIENT)["debug"]
        assert explained["rerank"] == "reranked: always reranked" and len(script.requests) == 3
        assert "Rerank: reranked" in run(project, "search", QUESTION, "--explain", **PATIENT).stdout

        assert told_by_doctor(project, 0) == {
            "check": "reranker", "ok": True, "warning": False, "detail": "bge-reranker-base (always)"
        }  # fmt: skip

        unpriced = {name: value for name, value in always["rerank"].items() if not name.startswith("usd_per_")}
        file.write_text(yaml.safe_dump({**always, "rerank": unpriced}))
        assert told_by_doctor(project, 0)["detail"].endswith("at an upper price: set `rerank.usd_per_1k_calls`")

        file.write_text(yaml.safe_dump({**always, "rerank": always["rerank"] | {"mode": "gated"}}))
        assert "tuned for" in told_by_doctor(project, 2)["detail"]
        refused = run(project, "ask", QUESTION, code=2, **PATIENT).stderr
        assert "tuned for" in refused and "ragsaver eval tune-gate" in refused

        tuned = as_json(project, *tune.split()[1:], **PATIENT)
        assert tuned["reranker"] == "bge-reranker-base" and (project / "gate.json").is_file()
        file.write_text(yaml.safe_dump({**gated, "rerank": always["rerank"] | gated["rerank"]}))
        assert verdict(project, "ask", QUESTION)[1] in ("reranked", "kept", "skipped")

        asked = len(script.requests)
        file.write_text(yaml.safe_dump({**always, "rerank": always["rerank"] | {"mode": "never"}}))
        lines = as_json(project, "ask", QUESTION, **PATIENT)["receipt"]["lines"]
        assert all(line["stage"] != "rerank" for line in lines) and len(script.requests) == asked
