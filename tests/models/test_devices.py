"""What runs where is decided by what is there, and what is asked for and missing is named with its remedy."""

import pytest
from pydantic import ValidationError

from ragsaver.errors import MissingExtra, SettingsError
from ragsaver.models.devices import batch_budget, onnx_devices, onnx_weights, torch_device
from ragsaver.settings import EmbeddingSettings, usable_cores

GPU_BUILD = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
CPU_BUILD = ["AzureExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("wanted", "available", "devices"),
    [
        ("auto", GPU_BUILD, ["cuda", "cpu"]),
        ("auto", CPU_BUILD, ["cpu"]),
        ("cpu", GPU_BUILD, ["cpu"]),
        ("cuda", GPU_BUILD, ["cuda"]),
    ],
)
def test_onnxruntime_takes_cuda_where_it_has_it_and_may(wanted, available, devices):
    assert onnx_devices(wanted, available) == devices


def test_cuda_asked_of_an_onnxruntime_without_it_names_the_package():
    with pytest.raises(MissingExtra, match=r"ragsaver\[gpu\]") as caught:
        onnx_devices("cuda", CPU_BUILD)
    assert "pip uninstall onnxruntime" in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "sees_gpu", "device"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_torch_takes_cuda_where_it_sees_a_gpu_and_may(wanted, sees_gpu, device):
    assert torch_device(wanted, built_with_cuda=True, sees_gpu=sees_gpu) == device


def test_torch_without_cuda_and_a_machine_without_a_gpu_are_told_apart():
    with pytest.raises(MissingExtra, match="built without CUDA.*pip install torch"):
        torch_device("cuda", built_with_cuda=False, sees_gpu=False)
    with pytest.raises(SettingsError, match="sees no GPU.*nvidia-smi"):
        torch_device("cuda", built_with_cuda=True, sees_gpu=False)


def test_a_batch_is_larger_on_cuda_unless_it_is_set():
    assert (batch_budget(0, "cpu", 1).tokens, batch_budget(0, "cuda").tokens) == (512, 65_536)
    assert batch_budget(512, "cuda").tokens == 512


def test_more_threads_take_a_larger_batch_and_lose_more_by_each_start():
    one, many = batch_budget(0, "cpu", 1), batch_budget(0, "cpu", 16)
    assert (many.tokens, many.run_tokens) == (4096, 16 * one.run_tokens)
    assert batch_budget(0, "cpu") == batch_budget(0, "cpu", usable_cores())
    assert batch_budget(2048, "cpu", 16) == many._replace(tokens=2048)


@pytest.mark.parametrize("refused", [-1, 1, 63, 262_145])
def test_a_batch_is_automatic_or_of_sensible_size(refused):
    with pytest.raises(ValidationError):
        EmbeddingSettings(batch_tokens=refused)
    assert EmbeddingSettings(batch_tokens=64).batch_tokens == 64


def test_float16_weights_are_run_on_cuda_or_when_asked_for(tmp_path):
    plain, half = tmp_path / "model.onnx", tmp_path / "model_float16.onnx"
    assert onnx_weights(tmp_path, "auto", "cuda") == plain
    half.touch()
    assert onnx_weights(tmp_path, "auto", "cuda") == half
    assert onnx_weights(tmp_path, "auto", "cpu") == plain
    assert onnx_weights(tmp_path, "float16", "cpu") == half
    assert onnx_weights(tmp_path, "float32", "cuda") == plain


def test_float16_asked_of_a_folder_without_it_names_the_command(tmp_path):
    with pytest.raises(SettingsError, match="python -m ragsaver.models.float16"):
        onnx_weights(tmp_path, "float16", "cuda")
