"""Products of bits and vectors, by onnxruntime in whole numbers: a tenth of the time that single precision takes.

The graph is one operator, `MatMulInteger`, written out here as bytes of ONNX (onnx/onnx.proto, IR version 8).
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragsaver.models.onnx_session import onnxruntime

_UINT8, _INT8, _INT32 = 2, 3, 6  # TensorProto.DataType


def products(bits: NDArray[np.uint8], vectors: NDArray[np.int8]) -> NDArray[np.int32]:
    """(len(bits), len(vectors)) of each row of bits and each vector.

    :param bits: (rows, dim), each 0 or 1.
    :param vectors: (vectors, dim).
    :raises MissingExtra: if onnxruntime is not installed.
    """
    (found,) = _session().run(None, {"bits": bits, "vectors": np.ascontiguousarray(vectors.T)})
    return np.asarray(found)


@cache
def _session() -> Any:
    """One thread: for so little, waking others takes longer."""
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(_model(), options, providers=["CPUExecutionProvider"])


def _model() -> bytes:
    node = _text(1, "bits") + _text(1, "vectors") + _text(2, "products") + _text(4, "MatMulInteger")
    graph = (
        _field(1, node)
        + _text(2, "products of bits")
        + _field(11, _value("bits", _UINT8, "rows", "dim"))
        + _field(11, _value("vectors", _INT8, "dim", "vectors"))
        + _field(12, _value("products", _INT32, "rows", "vectors"))
    )
    opset = _text(1, "") + _number(2, 13)
    return _number(1, 8) + _field(7, graph) + _field(8, opset)


def _value(name: str, kind: int, *dims: str) -> bytes:
    """A ValueInfoProto of a tensor."""
    shape = b"".join(_field(1, _text(2, dim)) for dim in dims)
    return _text(1, name) + _field(2, _field(1, _number(1, kind) + _field(2, shape)))


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
