"""Weights for a GPU: half as wide, operators fused, and the pooling inside, so that only vectors leave the device.

`python -m ragsaver.models.float16 FOLDER` writes `model_float16.onnx` beside `model.onnx`. Needs the extra `train`.
"""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from ragsaver.errors import MissingExtra, RagSaverError, SettingsError
from ragsaver.models.devices import FLOAT16_WEIGHTS, WEIGHTS
from ragsaver.models.fusing import fused

VECTORS = "sentence_vectors"
# from this version of the operators on, axes are an input of ReduceSum
_MIN_OPSET = 13
_QUANTIZED = ("DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul", "DequantizeLinear")


def main() -> None:
    """Convert the model of one folder."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path, help="holds model.onnx in float32")
    try:
        print(write_float16(arguments.parse_args().folder))
    except RagSaverError as error:
        raise SystemExit(str(error)) from None


def write_float16(folder: Path) -> Path:
    """Write `model_float16.onnx`: float16 weights, whose output is the mean of the token vectors (batch, dim) float32.

    :returns: the file.
    :raises MissingExtra: if onnx or onnxruntime is not installed.
    :raises SettingsError: if the folder holds no float32 model with token vectors as its first output.
    """
    source = folder / WEIGHTS
    if not source.is_file():
        raise SettingsError(f"holds no {WEIGHTS}", where=str(folder))
    try:
        onnx = import_module("onnx")
        float16 = import_module("onnxruntime.transformers.float16")
    except ImportError as error:
        raise MissingExtra(
            f"{error.name} is not installed", remedy='Install it with `pip install "ragsaver[cpu,train]"`'
        ) from None
    model = onnx.load(str(source))
    _check(onnx, model, source)
    half = float16.convert_float_to_float16(fused(model), keep_io_types=False)
    _pool(onnx, half)
    target = folder / FLOAT16_WEIGHTS
    onnx.save(half, str(target))
    return target


def _check(onnx: Any, model: Any, source: Path) -> None:
    def refuse(problem: str) -> SettingsError:
        return SettingsError(problem, where=str(source), remedy="Export the model in float32 anew")

    if any(node.op_type in _QUANTIZED for node in model.graph.node):
        raise refuse("is quantised: its weights can't be made float16")
    output = model.graph.output[0].type.tensor_type
    if output.elem_type != onnx.TensorProto.FLOAT or len(output.shape.dim) != 3:
        raise refuse("has a first output that is not (batch, tokens, dim) in float32")
    if max(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")) < _MIN_OPSET:
        raise refuse(f"has operators older than version {_MIN_OPSET}")


def _pool(onnx: Any, model: Any) -> None:
    """Put the mean over the mask behind the token vectors; sums are taken in float32."""
    make, graph = onnx.helper, model.graph
    tokens = graph.output[0].name
    dim = graph.output[0].type.tensor_type.shape.dim[2].dim_value
    numbers = onnx.numpy_helper.from_array
    numpy = import_module("numpy")
    graph.initializer.extend(
        [
            numbers(numpy.array([1], numpy.int64), "pool_axis"),
            numbers(numpy.array(1e-9, numpy.float32), "pool_least"),
        ]
    )
    wide = onnx.TensorProto.FLOAT
    graph.node.extend(
        [
            make.make_node("Cast", [tokens], ["pool_tokens"], to=wide),
            make.make_node("Cast", ["attention_mask"], ["pool_mask"], to=wide),
            make.make_node("ReduceSum", ["pool_mask", "pool_axis"], ["pool_count"], keepdims=1),
            make.make_node("Max", ["pool_count", "pool_least"], ["pool_divisor"]),
            make.make_node("Div", ["pool_mask", "pool_divisor"], ["pool_share"]),
            # (batch, 1, tokens) x (batch, tokens, dim): no product as large as the token vectors is kept
            make.make_node("Unsqueeze", ["pool_share", "pool_axis"], ["pool_row"]),
            make.make_node("MatMul", ["pool_row", "pool_tokens"], ["pool_mean"]),
            make.make_node("Squeeze", ["pool_mean", "pool_axis"], [VECTORS]),
        ]
    )
    del graph.output[:]
    graph.output.append(make.make_tensor_value_info(VECTORS, wide, ["batch", dim]))


if __name__ == "__main__":
    main()
