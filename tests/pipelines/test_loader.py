"""A pipeline's YAML loads, or the error names the file and what is wrong; nothing else can be imported."""

from pathlib import Path

import pytest

from ragsaver.errors import PipelineError, UsageError
from ragsaver.pipelines.loader import find_pipeline, load_pipeline, pipeline_names


def written(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "mine.yaml"
    file.write_text(text)
    return file


def test_the_project_s_own_pipeline_wins_over_the_shipped_one(tmp_path: Path):
    shipped = find_pipeline("query", tmp_path)
    (tmp_path / "query.yaml").write_text(shipped.read_text())
    assert find_pipeline("query", tmp_path) == tmp_path / "query.yaml" != shipped


@pytest.mark.parametrize("name", ["nope", "../query", "/etc/passwd", "", "a/b", "query.yaml"])
def test_a_name_that_is_none_lists_those_that_are(tmp_path: Path, name: str):
    with pytest.raises(UsageError, match=r"there is no pipeline.*Pipelines here: outlined, query, reranked, search"):
        find_pipeline(name, tmp_path)
    assert pipeline_names(tmp_path) == ["outlined", "query", "reranked", "search"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("components: [", "can't be loaded"),
        ("just words", "can't be loaded"),
        ("components: {a: {type: os.path.join}}", "can't be loaded"),
        ("components: {a: {type: ragsaver.components.packer.NoSuch, init_parameters: {}}}", "NoSuch"),
        (
            "components: {a: {type: ragsaver.components.packer.ContextPacker, init_parameters: {budget_tokens: 0}}}",
            "budget_tokens must be at least 1",
        ),
        (
            "components: {a: {type: ragsaver.components.packer.ContextPacker, init_parameters: {budget: 5}}}",
            "budget",
        ),
        (
            "components: {a: {type: ragsaver.components.packer.ContextPacker, init_parameters: {}}}\n"
            "connections: [{sender: a.documents, receiver: b.documents}]",
            "b",
        ),
    ],
)
def test_what_is_wrong_with_a_yaml_is_named_with_its_file(tmp_path: Path, text: str, said: str):
    file = written(tmp_path, text)
    with pytest.raises(PipelineError, match=said) as caught:
        load_pipeline(file)
    assert caught.value.where == str(file)


def test_a_module_that_the_operator_did_not_name_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    file = written(tmp_path / "pipelines", "components: {a: {type: evil_module.Thing, init_parameters: {}}}")
    with pytest.raises(PipelineError, match="allow_modules"):
        load_pipeline(file)
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_no_text_is_named(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PipelineError, match="can't be read"):
        load_pipeline(file)
