"""float16 weights: near the float32 vectors, pooled inside the model, refused where they can't be made."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from ragsaver.errors import SettingsError
from ragsaver.models.float16 import write_float16
from ragsaver.models.fusing import fused
from ragsaver.models.onnx_encoder import OnnxEncoder
from ragsaver.models.onnx_session import OnnxSession
from ragsaver.models.options import EncoderOptions
from ragsaver.models.registry import bundled_folder

pytestmark = pytest.mark.train

TEXTS = ["a cab", "the quick brown fox", "", "z " * 100]


@pytest.fixture
def folder(exported, tmp_path):
    for name in ("model.onnx", "tokenizer.json"):
        shutil.copy(exported[1] / name, tmp_path)
    done = subprocess.run([sys.executable, "-m", "ragsaver.models.float16", str(tmp_path)], capture_output=True)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_vectors_stay_near_and_the_fingerprint_changes(folder):
    half, full = (
        OnnxEncoder(folder, EncoderOptions(device="cpu", precision="float16")),
        OnnxEncoder(folder, EncoderOptions(device="cpu")),
    )
    assert half.dim == full.dim == 32
    assert ((half.encode(TEXTS) * full.encode(TEXTS)).sum(axis=1) > 0.999).all()
    np.testing.assert_allclose(np.linalg.norm(half.encode(TEXTS), axis=1), 1, atol=1e-5)
    assert half.fingerprint != full.fingerprint == OnnxEncoder(folder, EncoderOptions(precision="float32")).fingerprint


def test_only_vectors_leave_the_model(folder):
    session = OnnxSession(folder / "model_float16.onnx", "cpu", threads=1)
    assert session.pools
    ids = np.ones((3, 7), dtype=np.int64)
    assert session.run(ids, np.ones_like(ids)).shape == (3, 32)


def test_attention_is_one_operator(folder):
    import onnx

    kinds = [node.op_type for node in onnx.load(folder / "model_float16.onnx").graph.node]
    assert kinds.count("Attention") == 2
    assert "Softmax" not in kinds


def test_a_model_that_fused_would_give_other_vectors_stays_as_it_was(folder, caplog):
    import onnx

    model = onnx.load(folder / "model.onnx")
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1000), "sharpness"))
    sharper = onnx.helper.make_node("Mul", [softmax.input[0], "sharpness"], ["sharper"])
    model.graph.node.insert(list(model.graph.node).index(softmax), sharper)
    softmax.input[0] = "sharper"
    onnx.checker.check_model(model)
    assert fused(model) is model
    assert "stays as it was exported" in caplog.text


def test_padding_does_not_count(folder):
    encoder = OnnxEncoder(folder, EncoderOptions(device="cpu", precision="float16"))
    np.testing.assert_allclose(encoder.encode(TEXTS)[0], encoder.encode(TEXTS[:1])[0], atol=2e-3)


def test_a_machine_whose_cuda_does_not_work_runs_and_is_told_by_the_plain_weights(folder, monkeypatch):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert OnnxEncoder(folder).fingerprint == OnnxEncoder(folder, EncoderOptions(device="cpu")).fingerprint


def test_a_quantised_model_is_refused(tmp_path):
    shutil.copy(bundled_folder() / "model.onnx", tmp_path)
    with pytest.raises(SettingsError, match="is quantised"):
        write_float16(tmp_path)


def test_a_model_that_is_float16_already_is_refused(folder):
    (folder / "model_float16.onnx").replace(folder / "model.onnx")
    with pytest.raises(SettingsError, match="first output that is not"):
        write_float16(folder)
