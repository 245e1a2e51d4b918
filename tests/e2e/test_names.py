"""Names come from anywhere; a terminal is never sent what they hold beside letters."""

import re
from pathlib import Path

import pytest

from tests.commands import run

CLI = Path(__file__).resolve().parents[2] / "ragsaver" / "cli"
NAME = "a\x1b[2J\nfake: 1 deleted.md"
SHOWN = r"a\x1b[2J\x0afake: 1 deleted"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / NAME).write_text("# Zebras &#27;[31m\n\nZebras &#27;]0;owned live in herds.")
    return tmp_path


def test_names_and_texts_with_control_characters_are_shown_escaped(project: Path):
    (project / "docs" / NAME.replace(".md", ".pdf")).write_text("no PDF")
    (project / "docs" / f"{NAME}.\nodd").write_text("of no known kind")
    commands = (
        ("plan", "docs"),
        ("ingest", "docs"),
        ("documents", "list"),
        ("documents", "report"),
        ("search", "Where do zebras live?"),
        ("search", "Where do zebras live?", "--explain"),
        ("ask", "Where do zebras live?"),
        ("outline", f"docs/{NAME}"),
        ("documents", "delete", "--source", f"docs/{NAME}"),
        ("ingest", f"docs/gone{NAME}"),
    )
    told = {command: run(project, *command, code=code_of(command)) for command in commands}
    for command, done in told.items():
        said = done.stdout + done.stderr
        assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", said) == [], (command, said)
        assert not any(line.startswith("fake") for line in said.splitlines()), (command, said)
        assert SHOWN in said or command[0] == "outline" or command[1] == "report", (command, said)


def code_of(command: tuple[str, ...]) -> int:
    if command == ("ingest", "docs"):
        return 3
    return 2 if "gone" in command[-1] else 0


def test_people_are_told_things_in_one_place():
    others = [file for file in CLI.glob("*.py") if file.name not in ("main.py", "output.py")]
    assert [file.name for file in others if re.search(r"\b(typer|click)\.s?echo\(|\bprint\(", file.read_text())] == []
