"""Every command and every YAML in the documentation is run; every reference names what there is, and no more."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import typer
import yaml
from filelock import FileLock

from ragsaver.cli.main import app
from ragsaver.pipelines.loader import load_pipeline
from ragsaver.settings_file import load_settings
from tests.commands import environment, run, serving
from tests.qdrant_server import qdrant_server

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PORT = "8765"


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text()) if found == language]


def commands(page: Path) -> list[str]:
    return [line[2:] for text in blocks(page, "console") for line in text.splitlines() if line.startswith("$ ")]


def named(pages: Iterator[Path] | list[Path]) -> list:
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of embeddings once `docs` is in: the pages ingest it a dozen times, and pay for the model once."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "docs-embedded"
    with FileLock(f"{folder}.lock"):  # of all processes of this run
        if not folder.exists():
            begun = folder.with_suffix(".begun")
            shutil.copytree(ROOT / "docs", begun / "docs")
            run(begun, "ingest", "docs")
            begun.rename(folder)
    return folder / ".ragsaver" / "embeddings.sqlite"


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest, embedded: Path) -> Path:
    """What the pages speak of: a folder `docs` that was embedded before, a data set `my-set`, the outcomes of two models,
    the example project.
    """
    made = tmp_path / "project"
    if "your-own-component" in request.node.name:
        shutil.copytree(ROOT / "examples" / "team-project", made)
    else:
        made.mkdir()
        shutil.copytree(ROOT / "docs", made / "docs")
    (made / ".ragsaver").mkdir()
    shutil.copy(embedded, made / ".ragsaver")
    dataset = made / "my-set"
    dataset.mkdir()
    corpus, query = (json.loads(text) for text in blocks(ROOT / "docs/how-to/measure-your-own-corpus.md", "json"))
    (dataset / "corpus.jsonl").write_text(json.dumps(corpus))
    (dataset / "queries.jsonl").write_text(json.dumps(query))
    (dataset / "qrels.tsv").write_text(f"query\tdocument\tgrade\n{query['_id']}\t{corpus['_id']}\t1\n")
    outcomes = [
        {
            "query": f"{'Prove' if n % 3 else 'What is'} number {n}?",
            "weak_ok": n % 3 == 0,
            "strong_ok": True,
            "group": f"{n % 5}",
        }
        for n in range(120)
    ]
    (made / "outcomes.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in outcomes))
    return made


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("page", named([page for page in PAGES if commands(page)]))
def test_every_command_of_a_page_runs_in_order(page: Path, project: Path):
    port = str(free_port())
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with ExitStack() as running:
        if page.name == "rest.md":
            running.enter_context(serving(project, "--port", port, alone=True))
            assert (
                subprocess.run(
                    ["ragsaver", "ingest", "docs"], cwd=project, env=environment(project, PATH=path)
                ).returncode
                == 0
            )
        servers = {}
        if page.name == "grow-to-a-qdrant-server.md":
            server = running.enter_context(qdrant_server())
            servers = {"QDRANT_URL": server.url, "RAGSAVER_INDEX__GRPC_PORT": "null"}
        for command in commands(page):
            if shlex.split(command) == ["ragsaver", "serve"]:
                running.enter_context(serving(project, "--port", port, alone=True))
                continue
            done = subprocess.run(
                ["bash", "-c", command.replace(PORT, port)],
                cwd=project,
                env=environment(project, PATH=path, **servers),
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            if command.startswith("curl"):
                assert "status" not in json.loads(done.stdout) or json.loads(done.stdout)["status"] == "ready"


@pytest.mark.parametrize("page", named([page for page in PAGES if blocks(page, "yaml")]))
def test_every_yaml_of_a_page_is_valid(page: Path, tmp_path: Path):
    for number, text in enumerate(blocks(page, "yaml")):
        folder = tmp_path / str(number)
        folder.mkdir()
        if "components" in yaml.safe_load(text):
            (folder / "pipeline.yaml").write_text(text)
            assert load_pipeline(folder / "pipeline.yaml").walk()
        else:
            (folder / "ragsaver.yaml").write_text(text)
            assert load_settings(folder, {"OPENAI_API_KEY": "k", "NAME": "n"})


def test_the_python_of_the_pipelines_page_runs_in_plain_haystack(project: Path):
    (code,) = blocks(ROOT / "docs/reference/pipelines.md", "python")
    ragsaver = [sys.executable, "-m", "ragsaver"]
    for arguments in ([*ragsaver, "init"], [*ragsaver, "ingest", "docs"]):
        subprocess.run(arguments, cwd=project, env=environment(project), check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment(project), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() and any(done.stdout.strip() in page.read_text() for page in PAGES)


def test_the_settings_page_is_what_the_settings_are():
    done = subprocess.run(
        [sys.executable, "scripts/settings_reference.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_template_of_init_shows_the_defaults(tmp_path: Path):
    template = (ROOT / "ragsaver/cli/templates/ragsaver.yaml").read_text()
    (tmp_path / "ragsaver.yaml").write_text(template)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert load_settings(tmp_path, {}).model_copy(update={"home": None, "pipelines_dir": None}) == load_settings(
        empty, {}
    ).model_copy(update={"home": None, "pipelines_dir": None})


def test_the_commands_page_names_every_command_and_option():
    page = (ROOT / "docs/reference/commands.md").read_text()
    there: set[str] = set()

    def walk(command: typer.core.TyperCommand, path: str) -> None:
        for name, below in getattr(command, "commands", {}).items():
            walk(below, f"{path} {name}")
        if not getattr(command, "commands", {}):
            heading = next((line for line in page.splitlines() if line.startswith(f"## `{path}")), None)
            assert heading, path
            options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
            there.update(options)
            assert options - {"--help"} == set(re.findall(r"--[a-z-]+", heading)), heading

    walk(typer.main.get_command(app), "ragsaver")
    assert set(re.findall(r"--[a-z][a-z-]+", page)) <= there | {"--help", "--version"}


def test_the_rest_page_names_every_route_and_status(runtime):
    from ragsaver.errors import RagSaverError
    from ragsaver.pipelines.live import LiveRuntime
    from ragsaver.server.access import Access
    from ragsaver.server.app import create_app

    page = (ROOT / "docs/reference/rest.md").read_text()
    for path in create_app(Access(LiveRuntime(runtime), "token")).openapi()["paths"]:
        assert path in page
    raised = {error.status for error in all_errors(RagSaverError)} - {409}  # that stops the start of a server
    assert raised <= {int(status) for status in re.findall(r"^\| (\d{3}) \|", page, re.MULTILINE)}


def all_errors(error: type) -> Iterator[type]:
    yield error
    for below in error.__subclasses__():
        yield from all_errors(below)


@pytest.mark.parametrize("page", named(PAGES))
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_page_can_be_reached_from_the_index():
    index = (ROOT / "docs/README.md").read_text()
    missing = [
        page for page in PAGES[1:] if page.name != "README.md" and f"{page.relative_to(ROOT / 'docs')}" not in index
    ]
    assert missing == []


def test_commands_of_the_makefile_and_benchmarks_that_pages_name_exist():
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        text = page.read_text()
        for target in re.findall(r"\bmake ([a-z-]+)", text):
            assert f"\n{target}:" in makefile, (page, target)
        for script in re.findall(r"python ((?:benchmarks|scripts)/\w+\.py)", text):
            assert (ROOT / script).exists(), (page, script)
