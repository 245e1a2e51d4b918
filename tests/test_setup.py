"""What `make` says on a machine that lacks something, and that the package carries what it needs."""

import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[1]


def make(python: Path | str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", "python-there", f"PYTHON={python}"], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("fails_on", "said"),
    [
        ("version_info", "is older than Python 3.11"),
        ("venv", "has no venv module. On Debian and Ubuntu: apt-get install python3-venv"),
    ],
)
def test_a_python_that_will_not_do_is_named_with_the_remedy(tmp_path: Path, fails_on: str, said: str):
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$2" in *{fails_on}*) exit 1;; esac\n')
    python.chmod(0o755)
    done = make(python)
    assert done.returncode != 0
    assert said in done.stderr


def test_no_python_at_all_is_said():
    done = make("")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer and found none" in done.stderr


def test_the_default_install_has_neither_torch_nor_onnxruntime():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^\w-]", line)[0] for line in project["dependencies"]}
    assert not names & {"torch", "onnxruntime", "onnxruntime-gpu", "sentence-transformers"}
    assert {"cpu", "gpu", "train", "eval", "dev"} <= set(project["optional-dependencies"])


def test_the_wheel_has_the_model_the_pipelines_and_the_licences(tmp_path: Path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "ragsaver/models/all-MiniLM-L6-v2-int8/model.onnx",
        "ragsaver/models/all-MiniLM-L6-v2-int8/tokenizer.json",
        "ragsaver/pipelines/query.yaml",
        "ragsaver/pipelines/search.yaml",
        "ragsaver/cli/templates/ragsaver.yaml",
        "ragsaver/py.typed",
    ):
        assert wanted in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert not any(name.startswith("tests/") for name in names)
