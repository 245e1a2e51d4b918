"""On which device does a model run, with which weights, and how much of it at once?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ragsaver.errors import MissingExtra, SettingsError
from ragsaver.settings import usable_cores

Device = Literal["cpu", "cuda"]
Wanted = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "float16"]

WEIGHTS = "model.onnx"
TOKENIZER = "tokenizer.json"
FLOAT16_WEIGHTS = "model_float16.onnx"


class Budget(NamedTuple):
    """What one run of a model is given.

    :ivar tokens: padded ones, at most.
    :ivar run_tokens: how many more it would have embedded in the time that starting a run takes.
    """

    tokens: int
    run_tokens: int


# Measured with MiniLM (docs/benchmarks.md, "Batches"). A core's cache is soon full, and a run starts in the time of a
# few tokens for each core; a GPU idles below some ten thousand tokens, and starts as slowly with few.
_CPU_TOKENS_A_CORE, _CPU_LEAST_TOKENS, _CPU_RUN_TOKENS_A_CORE = 256, 512, 16
_CUDA = Budget(65_536, 32_768)


def onnx_devices(wanted: Wanted, available: Sequence[str]) -> list[Device]:
    """Devices to try, best first; CUDA and the CPU only, since others would give other vectors.

    :param available: onnxruntime's execution providers.
    :raises MissingExtra: if CUDA is asked for and onnxruntime was built without it.
    """
    has_cuda = "CUDAExecutionProvider" in available
    if wanted == "cuda" and not has_cuda:
        raise MissingExtra(
            "this onnxruntime has no CUDA",
            where="embedding.device",
            remedy='Replace it: `pip uninstall onnxruntime`, then `pip install "ragsaver[gpu]"`; '
            "or set `embedding.device` to `auto` or `cpu`",
        )
    if wanted == "cuda":
        return ["cuda"]
    return ["cuda", "cpu"] if wanted == "auto" and has_cuda else ["cpu"]


def torch_device(wanted: Wanted, *, built_with_cuda: bool, sees_gpu: bool) -> Device:
    """The device that torch is to use.

    :raises MissingExtra: if CUDA is asked for and torch was built without it.
    :raises SettingsError: if CUDA is asked for and torch sees no GPU.
    """
    if wanted == "cuda" and not built_with_cuda:
        raise MissingExtra(
            "this torch was built without CUDA",
            where="embedding.device",
            remedy="Install a torch package with CUDA (`pip install torch` on Linux, else see pytorch.org), "
            "or set `embedding.device` to `auto` or `cpu`",
        )
    if wanted == "cuda" and not sees_gpu:
        raise no_gpu("torch sees no GPU", "torch")
    return "cuda" if wanted != "cpu" and sees_gpu else "cpu"


def no_gpu(problem: str, package: str) -> SettingsError:
    """CUDA is asked for, the package has it, and no GPU can be used.

    :param package: as pip is asked for it with CUDA's libraries.
    """
    return SettingsError(
        problem,
        where="embedding.device",
        remedy=f"Check that `nvidia-smi` lists a GPU whose driver is new enough, install `{package}` again, "
        "or set `embedding.device` to `auto` or `cpu`",
    )


def batch_budget(batch_tokens: int, device: Device, threads: int = 0) -> Budget:
    """What a batch may hold, and what beginning another one costs.

    :param batch_tokens: padded tokens in one batch; 0 stands for what suits the device.
    :param threads: of the CPU; 0 stands for the cores that this process may use.
    """
    if device == "cuda":
        suits = _CUDA
    else:
        cores = threads or usable_cores()
        suits = Budget(max(cores * _CPU_TOKENS_A_CORE, _CPU_LEAST_TOKENS), cores * _CPU_RUN_TOKENS_A_CORE)
    return suits._replace(tokens=batch_tokens) if batch_tokens else suits


def onnx_weights(folder: Path, precision: Precision, device: Device) -> Path:
    """The file that `folder` is run from: `model.onnx` as it is, or its float16 twin.

    :raises SettingsError: if float16 is asked for and there is no such file.
    """
    half = folder / FLOAT16_WEIGHTS
    if precision == "float16" and not half.is_file():
        raise SettingsError(
            f"holds no {FLOAT16_WEIGHTS}",
            where=str(folder),
            remedy=f"Make it with `python -m ragsaver.models.float16 {folder}`, or set `embedding.precision` to `auto`",
        )
    if precision == "float16" or (precision == "auto" and device == "cuda" and half.is_file()):
        return half
    return folder / WEIGHTS
