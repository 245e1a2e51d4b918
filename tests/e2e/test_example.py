import shutil
from pathlib import Path

from haystack import Pipeline

from tests.commands import as_json

ROOT = Path(__file__).resolve().parents[2]


def test_a_team_s_own_component_works_in_its_own_yaml(tmp_path: Path):
    project = tmp_path / "team"
    shutil.copytree(ROOT / "examples" / "team-project", project)
    assert as_json(project, "ingest", "docs")["documents"]["added"] == 2
    answer = as_json(project, "ask", "How do I restart the printer?")
    assert "ten seconds" in answer["answer"]
    assert answer["citations"][0]["source"] == "docs/runbooks/printer.md"


def test_the_shipped_yaml_loads_in_plain_haystack():
    text = (ROOT / "ragsaver" / "pipelines" / "query.yaml").read_text()
    pipeline = Pipeline.loads(text, allowed_modules=["ragsaver"])
    assert "retriever" in pipeline.inputs()
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["ragsaver"])
    assert again.to_dict()["components"] == pipeline.to_dict()["components"]
