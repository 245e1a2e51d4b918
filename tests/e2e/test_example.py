import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from haystack import Pipeline

ROOT = Path(__file__).resolve().parents[2]


def test_a_team_s_own_component_works_in_its_own_yaml(tmp_path: Path):
    project = tmp_path / "team"
    shutil.copytree(ROOT / "examples" / "team-project", project)
    environment = {**os.environ, "RAGSAVER_HOME": str(tmp_path / "home")}

    def ragsaver(*arguments: str) -> dict:
        done = subprocess.run(
            [sys.executable, "-m", "ragsaver", *arguments, "--json"],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    assert ragsaver("ingest", "docs")["documents"]["added"] == 2
    answer = ragsaver("ask", "How do I restart the printer?")
    assert "ten seconds" in answer["answer"]
    assert answer["citations"][0]["source"] == "docs/runbooks/printer.md"


def test_the_shipped_yaml_loads_in_plain_haystack():
    text = (ROOT / "ragsaver" / "pipelines" / "query.yaml").read_text()
    pipeline = Pipeline.loads(text, allowed_modules=["ragsaver"])
    assert "retriever" in pipeline.inputs()
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["ragsaver"])
    assert again.to_dict()["components"] == pipeline.to_dict()["components"]
