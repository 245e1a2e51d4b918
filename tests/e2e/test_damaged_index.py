"""An index whose files are damaged: what the command says has to be done brings everything back."""

import shutil
from pathlib import Path

import pytest

from tests.commands import as_json, run

QUESTION = "What do owls hunt at night?"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/owls.md").write_text("# Owls\n\nOwls hunt voles at night, and the voles know it.\n")
    as_json(tmp_path, "ingest", "docs")
    return tmp_path


@pytest.mark.parametrize("damaged", ["identity.json", "shard/segments/*/segment.json"])
def test_the_remedy_for_a_damaged_file_takes_the_index_alone_and_brings_it_back(project: Path, damaged: str):
    index = project / ".ragsaver/index"
    (file,) = index.glob(damaged)
    file.write_text("{")
    for command in (("search", QUESTION), ("verify",)):
        error = as_json(project, *command, code=2)["error"]
        said = error["remedy"].replace("that folder", error["where"])
        assert f"elete {index} and run" in said and "`ragsaver verify`" in said
    shutil.rmtree(index)
    assert as_json(project, "verify")["repaired"] == 1
    assert "voles" in run(project, "search", QUESTION).stdout
