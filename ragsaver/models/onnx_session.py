"""One ONNX model opened on one device; on CUDA only its first output comes back to the host."""

import logging
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragsaver.errors import MissingExtra, RagSaverError, SettingsError
from ragsaver.models.devices import TOKENIZER, WEIGHTS, Device, Wanted, no_gpu, onnx_devices
from ragsaver.settings import usable_cores

_log = logging.getLogger(__name__)

# Without TF32, float32 on CUDA gives the vectors that it gives on a CPU, so both may share an index.
_PROVIDERS: dict[Device, list[Any]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"],
}


class OnnxSession:
    """`weights` on `device`. Its inputs and first output are those that `OnnxEncoder` describes.

    :param threads: CPU threads; 0 takes the cores that this process may use.
    :raises MissingExtra: if onnxruntime is not installed.
    :raises SettingsError: if the file is no model, or the device can't be used.
    """

    def __init__(self, weights: Path, device: Device, *, threads: int = 0) -> None:
        self.weights = weights
        self.device = device
        self._runtime = onnxruntime()
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        # by default its threads go on spinning for 50 ms after a run: as long as whatever else a question needs
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3
        if device == "cuda" and hasattr(self._runtime, "preload_dlls"):
            # finds CUDA's libraries where pip put them; it prints, and stdout belongs to the command's result
            with redirect_stdout(sys.stderr):
                self._runtime.preload_dlls()
        try:
            # its own fall-back to the CPU would print to stdout
            self._session = self._runtime.InferenceSession(
                str(weights), options, providers=_PROVIDERS[device], enable_fallback=0
            )
        except Exception as error:
            raise SettingsError(f"is no usable ONNX model: {error}", where=str(weights)) from error
        if device == "cuda" and "CUDAExecutionProvider" not in self._session.get_providers():
            raise no_gpu("onnxruntime can't load its CUDA libraries, or sees no GPU", "onnxruntime-gpu[cuda,cudnn]")
        output = self._session.get_outputs()[0]
        self._output = str(output.name)
        self._takes_types = any(node.name == "token_type_ids" for node in self._session.get_inputs())
        if not isinstance(output.shape[-1], int):
            raise SettingsError("has an output of no fixed width", where=str(weights))
        self.dim = output.shape[-1]
        self.pools = len(output.shape) == 2

    def run(
        self, ids: NDArray[np.int64], mask: NDArray[np.int64], kinds: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Token vectors (batch, tokens, dim), or (batch, dim) where the model pools by itself; float32.

        :param ids: (batch, tokens).
        :param mask: (batch, tokens), 1 where a token stands.
        :param kinds: (batch, tokens), which of two texts a token is of; None if there is one.
        """
        feed = {"input_ids": ids, "attention_mask": mask}
        if self._takes_types:
            feed["token_type_ids"] = np.zeros_like(ids) if kinds is None else kinds
        found = self._session.run([self._output], feed)[0] if self.device == "cpu" else self.run_bound(feed)
        return np.asarray(found, dtype=np.float32)

    def run_bound(self, feed: dict[str, NDArray[np.int64]]) -> NDArray[Any]:
        """The first output, by buffers on the device: nothing but inputs and this output crosses the bus."""
        binding = self._session.io_binding()
        for name, array in feed.items():
            value = self._runtime.OrtValue.ortvalue_from_numpy(array, self.device, 0)
            binding.bind_ortvalue_input(name, value)
        binding.bind_output(self._output, self.device, 0)
        self._session.run_with_iobinding(binding)
        return np.asarray(binding.copy_outputs_to_cpu()[0])


def require_model(folder: Path, remedy: str) -> None:
    """:raises SettingsError: if the folder lacks weights or tokenizer; `remedy` says what to set."""
    for name in (WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            raise SettingsError(f"holds no {name}", where=str(folder), remedy=remedy)


def open_on_best(wanted: Wanted, weights: Callable[[Device], Path], *, threads: int = 0) -> OnnxSession:
    """A session on the best of the devices that work; with `auto` the CPU takes the place of a GPU that does not.

    :param weights: the file for a device.
    """
    *better, last = onnx_devices(wanted, onnxruntime().get_available_providers())
    for device in better:
        try:
            return OnnxSession(weights(device), device, threads=threads)
        except RagSaverError as error:
            _log.warning("the model runs on the %s, since %s can't be used: %s", last, device, error)
    return OnnxSession(weights(last), last, threads=threads)


def onnxruntime() -> Any:
    """The package, in its CPU or its CUDA build.

    :raises MissingExtra: if neither is installed.
    """
    try:
        return import_module("onnxruntime")
    except ImportError:
        raise MissingExtra(
            "onnxruntime is not installed",
            remedy='Install it with `pip install "ragsaver[cpu]"`, or `"ragsaver[gpu]"` on a machine with CUDA',
        ) from None
