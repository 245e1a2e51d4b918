"""Outlines in front of every prompt: the same text for every question, as long as what it was made from stands."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ragsaver.components.answer_schema import AnswerSchema, read_schema
from ragsaver.components.request import Request
from ragsaver.index.scope import Scope
from ragsaver.ingestion.order import IngestOrder
from ragsaver.pipelines.runtime import Runtime, open_runtime
from ragsaver.settings import Settings
from tests.openai_server import Script, openai_server

TOPICS = {"parrots": "the veterinary office", "ships": "the harbour master", "bees": "the beekeepers' guild"}


@pytest.fixture
def script() -> Script:
    return Script(reply="It does so [1].")


def write(folder: Path, topic: str, issuer: str) -> None:
    rules = [f"Rule {n} about {topic} is written down in chapter {n} of the guide." for n in range(1, 12)]
    sections = "\n\n".join(f"## Part {n} of {topic}\n\n{rule}" for n, rule in enumerate(rules, 1))
    (folder / f"{topic}.md").write_text(f"# {topic}\n\nA permit for {topic} is issued by {issuer}.\n\n{sections}\n")


@pytest.fixture
def runtime(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for topic, issuer in TOPICS.items():
        write(tmp_path / "docs", topic, issuer)
    (tmp_path / "pipelines").mkdir()
    shipped = (Path(__file__).parents[2] / "ragsaver" / "pipelines" / "outlined.yaml").read_text()
    outlines = "StableContext\n    init_parameters: {tokens: 600, documents: 3, cached_from_tokens: 100}"
    yaml = shipped.replace("StableContext\n    init_parameters: {}", outlines)
    assert yaml != shipped
    (tmp_path / "pipelines" / "outlined.yaml").write_text(yaml)
    with openai_server(script) as url:
        model = {"name": "tiny", "base_url": url, "max_retries": 0, "api_key": SecretStr("k")}
        price = {"input_per_mtok": 1, "cached_input_per_mtok": 0.1, "output_per_mtok": 1}
        settings = Settings.model_validate(
            {
                "home": tmp_path / "home",
                "generation": {"models": [model], "extractive_first": False},
                "spend": {"prices": {"tiny": price}},
            }
        )
        with open_runtime(settings, "test") as opened:
            opened.ingestor.ingest(IngestOrder(paths=("docs",)), opened.scope())
            yield opened


def ask(
    runtime: Runtime, question: str, groups: frozenset[str] = frozenset(), response_schema: AnswerSchema | None = None
):
    scope = Scope(runtime.settings.tenant, runtime.settings.collection, groups)
    request = Request(scope, caching="off", response_schema=response_schema)
    return runtime.engine("outlined").ask(question, request)


def prompts(script: Script) -> tuple[list[str], list[str]]:
    """What each prompt has in front, instructions and outlines, and the rest."""
    fronts, rests = [], []
    for request in script.requests:
        (system, user) = (message["content"] for message in request["messages"])
        assert "<document" not in system
        outlines = re.match(r"(?:<document \d+> [^\n]* — outline\n.*?\n</document \d+>\n\n)*", user, re.DOTALL)
        fronts.append(system + outlines.group())
        rests.append(user[outlines.end() :])
    return fronts, rests


def test_questions_share_what_stands_in_front_and_pay_for_it_as_cached(runtime: Runtime, script: Script):
    for topic in TOPICS:
        ask(runtime, f"Who issues a permit for {topic}?")
    results = [ask(runtime, f"Which rule about {topic} is in chapter 3?") for topic in TOPICS]
    systems, users = prompts(script)
    assert systems[-1] == systems[-2] == systems[-3]
    assert all(f"# {topic}" in systems[-1] or f"{topic}.md" in systems[-1] for topic in TOPICS)
    assert "<document 3>" in systems[-1] and users[-1].startswith("<document 4>")
    line = next(line for line in results[-1].receipt.lines if line.item == "outlines in front")
    assert "of 3 documents" in line.reason and "at 0.10 of a fresh token's price" in line.reason


def test_a_schema_stands_in_front_of_the_outlines_which_are_fresh_behind_another_one(runtime: Runtime, script: Script):
    for topic in TOPICS:
        ask(runtime, f"Who issues a permit for {topic}?")
    script.requests.clear()
    script.reply = '{"rule": "none"}'
    schema = read_schema({"type": "object", "properties": {"rule": {"type": "string"}}})
    asked = [ask(runtime, f"Which rule about {topic} is in chapter 3?", response_schema=schema) for topic in TOPICS]
    fronts, rests = prompts(script)
    assert fronts[0] == fronts[1] == fronts[2] and not any(schema.text in rest for rest in rests)
    assert fronts[0].index(schema.text) < fronts[0].index("<document 1>")
    lines = [next(line for line in one.receipt.lines if line.item == "outlines in front") for one in asked]
    assert ["at 1.00 of a fresh" in line.reason for line in lines] == [True, False, False]
    assert all("at 0.10 of a fresh" in line.reason for line in lines[1:])


def test_the_first_question_has_nothing_in_front(runtime: Runtime, script: Script):
    ask(runtime, "Who issues a permit for bees?")
    assert "<document 1>" not in prompts(script)[0][0]


def test_a_document_that_changed_is_shown_as_it_is_now(runtime: Runtime, script: Script, tmp_path: Path):
    for topic in TOPICS:
        ask(runtime, f"Who issues a permit for {topic}?")
    ask(runtime, "Who issues a permit for bees?")
    assert TOPICS["bees"] in prompts(script)[0][-1]
    write(tmp_path / "docs", "bees", "nobody at all")
    runtime.ingestor.ingest(IngestOrder(paths=("docs",)), runtime.scope())
    ask(runtime, "Who issues a permit for ships?")
    shown = prompts(script)[0][-1]
    assert TOPICS["bees"] not in shown and "nobody at all" in shown


def test_who_may_not_read_a_document_never_sees_its_outline(runtime: Runtime, script: Script):
    points = [point for point, _ in runtime.index.ids(runtime.scope())]
    bees = [
        one for one, payload in runtime.index.payloads(runtime.scope(), points).items() if "bees" in payload["source"]
    ]
    for topic in TOPICS:
        ask(runtime, f"Who issues a permit for {topic}?")
    runtime.index.set_payload(runtime.scope(), {point: {"groups": ["keepers"]} for point in bees})
    ask(runtime, "Who issues a permit for ships?")
    assert "beekeepers" not in prompts(script)[0][-1]
    ask(runtime, "Who issues a permit for bees?", frozenset({"keepers"}))
    ask(runtime, "Who issues a permit for bees?", frozenset({"keepers"}))
    assert "beekeepers" in prompts(script)[0][-1]
