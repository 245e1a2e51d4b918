"""Attention as one operator: the dozen small ones that an export writes keep a GPU busy with copies.

onnxruntime's own search knows how some exporters wrote attention, and finds none in what today's transformers
export. Here it is found from the softmax outwards, whatever stands between, and the result is held against the model
as it was.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST_ERROR = 1e-3
_TEXTS, _TOKENS = 3, 12

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Projection:
    """A dense layer behind queries, keys or values: weights (hidden, hidden) and bias (hidden)."""

    root: str
    weights: NDArray[Any]
    bias: NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Attention:
    """What of the graph one operator can stand for: from the projections' root to what `last` gives out."""

    last: Any
    sides: list[_Projection]
    heads: int


def fused(model: Any) -> Any:
    """The model (an ONNX ModelProto in float32) with fewer and larger operators, `Attention` among them.

    It then reads texts that are padded on the right only. Where it would give other vectors, the model comes back
    as it was.
    """
    optimizer = import_module("onnxruntime.transformers.optimizer")
    options = import_module("onnxruntime.transformers.fusion_options").FusionOptions("bert")
    options.enable_embed_layer_norm = False  # it takes int32 only, and is a small part of the time
    copy = import_module("onnx").ModelProto()
    copy.CopyFrom(model)
    graph = optimizer.optimize_by_fusion(copy, model_type="bert", optimization_options=options)
    _replace(graph, list(_attentions(graph)))
    error = _difference(model, graph.model)
    if error < _LARGEST_ERROR:
        return graph.model
    _log.warning("the model stays as it was exported: fused, its token vectors differ by %.3g", error)
    return model


def _attentions(graph: Any) -> Iterator[_Attention]:
    makers, users = graph.output_name_to_node(), graph.input_name_to_nodes()
    for softmax in graph.get_nodes_by_op_type("Softmax"):
        scores = graph.find_first_parent_by_type(softmax, "MatMul", makers)
        context = graph.find_first_child_by_type(softmax, "MatMul", users)
        last = context and graph.find_first_child_by_type(context, "Reshape", users)
        if scores is None or last is None:
            continue
        sides = [_projection(graph, makers.get(name), makers) for name in (*scores.input, context.input[1])]
        found = [side for side in sides if side]
        width = _head_width(graph, makers.get(context.input[1]), makers)
        if width and len(found) == len(sides) and len({side.root for side in found}) == 1:
            yield _Attention(last, found, len(found[-1].bias) // width)


def _projection(graph: Any, node: Any, makers: Any) -> _Projection | None:
    """The dense layer nearest above `node`."""
    add = node and graph.find_first_parent_by_type(node, "Add", makers)
    if not add:
        return None
    bias, dense = graph.get_constant_input(add)[1], graph.match_parent(add, "MatMul", None, makers)
    weights = dense and graph.get_constant_value(dense.input[1])
    if bias is None or weights is None or weights.ndim != 2:
        return None
    return _Projection(dense.input[0], weights, bias)


def _head_width(graph: Any, node: Any, makers: Any) -> int:
    """How wide the heads are into which the values above `node` are cut: the last side of the shape; 0 if unknown."""
    reshape = node and graph.find_first_parent_by_type(node, "Reshape", makers)
    if not reshape:
        return 0
    shape = graph.get_constant_value(reshape.input[1])
    if shape is None:
        sides = makers[reshape.input[1]]
        shape = graph.get_constant_value(sides.input[-1]) if sides.op_type == "Concat" else None
    return 0 if shape is None else max(0, int(np.ravel(shape)[-1]))


def _replace(graph: Any, attentions: list[_Attention]) -> None:
    if not attentions:
        return
    onnx = import_module("onnx")
    make, numbers = onnx.helper, onnx.numpy_helper.from_array
    graph.add_initializer(numbers(np.array([1], np.int64), "lengths_axis"))
    added = [
        make.make_node("ReduceSum", ["attention_mask", "lengths_axis"], ["lengths_wide"], keepdims=0),
        make.make_node("Cast", ["lengths_wide"], ["lengths"], to=onnx.TensorProto.INT32),
    ]
    for number, attention in enumerate(attentions):
        weights, bias = f"attention_{number}_weights", f"attention_{number}_bias"
        graph.add_initializer(numbers(np.concatenate([side.weights for side in attention.sides], axis=1), weights))
        graph.add_initializer(numbers(np.concatenate([side.bias for side in attention.sides]), bias))
        output = attention.last.output[0]
        attention.last.output[0] = f"{output}_apart"
        inputs = [attention.sides[0].root, weights, bias, "lengths"]
        added.append(make.make_node("Attention", inputs, [output], domain="com.microsoft", num_heads=attention.heads))
    graph.model.graph.node.extend(added)
    graph.prune_graph()
    graph.topological_sort()
    if all(opset.domain != "com.microsoft" for opset in graph.model.opset_import):
        graph.model.opset_import.append(make.make_opsetid("com.microsoft", 1))


def _difference(one: Any, other: Any) -> float:
    """The largest difference of two models' token vectors on the same random texts, padding left out."""
    chance = np.random.default_rng(7)
    lengths = np.linspace(1, _TOKENS, _TEXTS).astype(int)
    mask = (np.arange(_TOKENS) < lengths[:, None]).astype(np.int64)
    feed = {
        "input_ids": chance.integers(1, 20, (_TEXTS, _TOKENS)) * mask,
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(mask),
    }
    try:
        first, second = (_token_vectors(model, feed) for model in (one, other))
    except Exception as error:
        _log.warning("the fused model can't be run: %s", error)
        return float("inf")
    return float(np.abs(first - second)[mask == 1].max())


def _token_vectors(model: Any, feed: dict[str, NDArray[np.int64]]) -> NDArray[Any]:
    session = import_module("onnxruntime").InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    taken = {node.name for node in session.get_inputs()}
    return np.asarray(session.run(None, {name: values for name, values in feed.items() if name in taken})[0])
