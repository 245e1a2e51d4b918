"""A fingerprint changes with everything that shapes a vector, and with nothing else."""

import pytest

from ragsaver.models import fingerprint as module
from ragsaver.models.fingerprint import fingerprint
from ragsaver.models.registry import load_encoder
from ragsaver.settings import EmbeddingSettings


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    return tmp_path


def test_the_same_model_elsewhere_has_the_same_fingerprint(folder):
    before = fingerprint(folder, max_tokens=256)
    copy = folder / "copy"
    copy.mkdir()
    for name in ("model.onnx", "tokenizer.json"):
        (copy / name).write_bytes((folder / name).read_bytes())
    (copy / "README").write_text("nothing to do with vectors")
    assert fingerprint(copy, max_tokens=256) == before


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_another_file_content_changes_it(folder, name):
    before = fingerprint(folder, max_tokens=256)
    (folder / name).write_bytes((folder / name).read_bytes() + b"x")
    assert fingerprint(folder, max_tokens=256) != before


def test_cut_prefix_and_pooling_change_it(folder, monkeypatch):
    seen = {
        fingerprint(folder, max_tokens=256),
        fingerprint(folder, max_tokens=128),
        fingerprint(folder, max_tokens=256, prefix="query: "),
    }
    monkeypatch.setattr(module, "POOLING", "max, v1")
    seen.add(fingerprint(folder, max_tokens=256))
    assert len(seen) == 4


def test_threads_and_batch_size_do_not():
    one = load_encoder(EmbeddingSettings(threads=1, batch_tokens=512))
    assert one.fingerprint == load_encoder(EmbeddingSettings()).fingerprint
