"""A fingerprint changes with everything that shapes a document's vector, and with nothing else."""

import pytest

from ragsaver.models import fingerprint as module
from ragsaver.models.fingerprint import fingerprint, folder_digest, torch_fingerprint
from ragsaver.models.registry import load_encoder
from ragsaver.settings import EmbeddingSettings

# Indexes in the field carry it: another one would refuse them.
OF_THE_DEFAULTS = "8922ca94ca9bb3f70949da862948e3f2"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    return tmp_path


def of(folder, **shaping):
    return fingerprint(folder / "model.onnx", folder / "tokenizer.json", **{"max_tokens": 256, **shaping})


def test_the_defaults_keep_the_fingerprint_that_indexes_carry():
    assert load_encoder(EmbeddingSettings()).fingerprint == OF_THE_DEFAULTS


def test_the_same_model_elsewhere_has_the_same_fingerprint(folder):
    before = of(folder)
    copy = folder / "copy"
    copy.mkdir()
    for name in ("model.onnx", "tokenizer.json"):
        (copy / name).write_bytes((folder / name).read_bytes())
    (copy / "README").write_text("nothing to do with vectors")
    assert of(copy) == before


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "model.onnx.data", "model.onnx_data"])
def test_another_file_content_changes_it(folder, name):
    before = of(folder)
    with (folder / name).open("ab") as file:
        file.write(b"x")
    assert of(folder) != before


def test_cut_prefix_and_pooling_change_it(folder, monkeypatch):
    seen = {of(folder), of(folder, max_tokens=128), of(folder, prefix="query: ")}
    monkeypatch.setattr(module, "POOLING", "max, v1")
    seen.add(of(folder))
    assert len(seen) == 4


@pytest.mark.parametrize(
    "setting",
    [{"threads": 1}, {"batch_tokens": 512}, {"device": "cpu"}, {"query_prefix": "query: "}],
    ids=str,
)
def test_what_leaves_documents_vectors_alone_leaves_it_alone(setting):
    assert load_encoder(EmbeddingSettings(**setting)).fingerprint == OF_THE_DEFAULTS


def test_the_prefix_of_documents_changes_it():
    assert load_encoder(EmbeddingSettings(prefix="passage: ")).fingerprint != OF_THE_DEFAULTS


def test_a_torch_model_is_told_by_source_precision_cut_and_prefix():
    seen = {
        torch_fingerprint("m@1", dtype="float32", max_tokens=256),
        torch_fingerprint("m@2", dtype="float32", max_tokens=256),
        torch_fingerprint("m@1", dtype="float16", max_tokens=256),
        torch_fingerprint("m@1", dtype="float32", max_tokens=128),
        torch_fingerprint("m@1", dtype="float32", max_tokens=256, prefix="passage: "),
    }
    assert len(seen) == 5


def test_a_folder_is_told_by_what_shapes_vectors(tmp_path):
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = folder_digest(tmp_path)
    (tmp_path / "README.md").write_text("nothing to do with vectors")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "config.json").write_text("another runtime's")
    assert folder_digest(tmp_path) == before
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    assert folder_digest(tmp_path) != before
