"""Read the costs of a decoder from its graph and its configuration, without its weights.

FLOPs of products with weights are counted node by node. An operator that reads a matrix of weights,
but has no rule here, makes the costs unknown: a mixture of experts, for example, reads only some of
its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import onnx

from app.inference.generation.decoder_files import SOURCE_DTYPE_KEY
from app.inference.generation.model_folder import GenerativeModel
from app.inference.inspection.costs import (
    Dataflow,
    ValueSizes,
    build_dataflow,
    count_multiply_adds,
    count_parameters,
    drop_weights,
    format_operator_name,
    infer_sizes,
)
from app.inference.inspection.metadata import read_checked_model, read_declared_shape
from app.inference.inspection.reading import Step, list_input_names, read_properties
from app.inference.inspection.tensors import compute_size_bytes, get_dtype_name
from app.records.generation import AttentionLayers, DecoderCosts

_WEIGHT_INPUTS = {
    "DynamicQuantizeMatMul": 1,
    "FusedMatMul": 1,
    "Gemm": 1,
    "MatMul": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "MatMulNBits": 1,
    "QLinearMatMul": 3,
}
"""Index of the input that is the matrix of weights, by operator."""
_INTEGER_PRODUCTS = frozenset({"DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul"})
_SCALES_INPUT = 2
_INT8_ACCURACY_LEVEL = 4
"""Value of the attribute `accuracy_level` of MatMulNBits that allows int8 activations."""
_LOOKUP_INPUTS = {
    "Gather": (0,),
    "GatherBlockQuantized": (0, 2, 3),
    "GroupQueryAttention": (7, 8),
    "PagedAttention": (8, 9),
    "com.microsoft.RotaryEmbedding": (2, 3),
    "RotaryEmbedding": (1, 2),
}
"""Indices of the inputs that are read by row, by operator: the embedding, and the cosines
and sines of the rotary positions."""
_ATTENTION_OPERATORS = frozenset({"Attention", "GroupQueryAttention", "MultiHeadAttention", "PagedAttention"})
_RECURRENT_OPERATORS = frozenset({"CausalConvWithState", "LinearAttention"})
_FLOAT16_TYPES = frozenset({"float16", "bfloat16"})
_CACHE_AXES = 4


class _Product(NamedTuple):
    """A product of activations with a matrix of weights. `dtype` is the data type of the weights,
    or of their scales."""

    step: Step
    flops_per_token: int
    dtype: str
    is_int8: bool


class _Logits(NamedTuple):
    name: str
    bytes: int
    has_all_positions: bool


def read_decoder_costs(model: GenerativeModel) -> DecoderCosts:
    """Read the costs of a decoder. Raises UsageError if the file is not a valid model.

    Shapes and data types that a malicious file declares are not checked against its weights, so
    call this function in a child process."""
    graph_model, _ = read_checked_model(Path(model.folder) / model.model_file)
    metadata = read_properties(graph_model)
    dataflow = build_dataflow(graph_model.graph)
    logits = _find_logits(graph_model.graph, model.vocabulary)
    cache_dtypes = _list_cache_dtypes(graph_model.graph)
    drop_weights(graph_model)
    sizes = infer_sizes(graph_model, {}, is_strict=False)
    tables = _find_tables(dataflow)
    products = [product for step in dataflow.steps if (product := _build_product(step, dataflow, sizes))]
    head = None if logits is None else _find_head(logits.name, dataflow, products)
    attention = _count_attention(dataflow, model.layers)
    head_flops = 0 if head is None else head.flops_per_token
    kv_bits = compute_size_bytes(cache_dtypes[0], (8,)) if len(cache_dtypes) == 1 else None
    return DecoderCosts(
        parameters=count_parameters(dataflow, sizes, metadata).count,
        weight_bytes_by_dtype=_sum_weight_bytes(dataflow.weights - tables, sizes),
        table_bytes=sum(sizes.compute_bytes(name) or 0 for name in tables),
        table_bytes_per_token=sum(_compute_row_bytes(name, sizes) for name in tables),
        product_flops_per_token=sum(product.flops_per_token for product in products) - head_flops,
        head_flops=head_flops,
        logits_bytes=0 if logits is None else logits.bytes,
        has_all_logits=logits is not None and logits.has_all_positions,
        attention=attention,
        attention_flops_per_layer=4 * model.heads * model.head_dim,
        kv_bytes_per_layer=2 * model.kv_heads * model.head_dim * (kv_bits or 0) // 8,
        float_type=_find_float_type(products),
        has_int8_products=2 * sum(product.flops_per_token for product in products if product.is_int8)
        > sum(product.flops_per_token for product in products),
        source_dtype=metadata.get(SOURCE_DTYPE_KEY),
        unknown_reason=_find_unknown_reason(dataflow, sizes, products, has_cache=kv_bits is not None, head=head),
    )


def _find_logits(graph: onnx.GraphProto, vocabulary: int) -> _Logits | None:
    """Return the output with one number per token of the vocabulary, of shape
    [batch, positions, vocabulary] or [batch, vocabulary]."""
    for value in graph.output:
        shape = read_declared_shape(value)
        if shape is not None and len(shape) in (2, 3) and shape[-1] == vocabulary:
            size_bytes = compute_size_bytes(value.type.tensor_type.elem_type, (vocabulary,))
            return _Logits(value.name, size_bytes or 0, len(shape) == 3 and shape[1] != 1)
    return None


def _list_cache_dtypes(graph: onnx.GraphProto) -> list[int]:
    """Return the distinct data types of the inputs with four axes, which are the KV cache."""
    fed_names = set(list_input_names(graph))
    dtypes = {
        value.type.tensor_type.elem_type: None
        for value in graph.input
        if value.name in fed_names and len(read_declared_shape(value) or ()) == _CACHE_AXES
    }
    return list(dtypes)


def _find_tables(dataflow: Dataflow) -> frozenset[str]:
    """Return the names of the weights that all operators read by row."""
    looked_up_names: set[str] = set()
    fully_read_names: set[str] = set(dataflow.outputs)
    for step in dataflow.steps:
        indices = _get_lookup_inputs(step.node)
        lookups = {name for index, name in enumerate(step.node.input) if index in indices}
        looked_up_names |= lookups
        fully_read_names |= set(step.reads) - lookups
    return dataflow.weights & looked_up_names - fully_read_names


def _get_lookup_inputs(node: onnx.NodeProto) -> tuple[int, ...]:
    return _LOOKUP_INPUTS.get(f"{node.domain}.{node.op_type}", _LOOKUP_INPUTS.get(node.op_type, ()))


def _sum_weight_bytes(names: frozenset[str], sizes: ValueSizes) -> dict[str, int]:
    bytes_by_dtype: Counter[str] = Counter()
    for name in names:
        bytes_by_dtype[get_dtype_name(sizes.get_dtype(name) or 0)] += sizes.compute_bytes(name) or 0
    return dict(bytes_by_dtype.most_common())


def _compute_row_bytes(name: str, sizes: ValueSizes) -> int:
    shape, dtype = sizes.get_shape(name), sizes.get_dtype(name)
    return 0 if not shape or dtype is None else compute_size_bytes(dtype, shape[1:]) or 0


def _build_product(step: Step, dataflow: Dataflow, sizes: ValueSizes) -> _Product | None:
    """Return the product of a step; `None` if the step is not a product with a matrix of weights
    of known shape."""
    node = step.node
    index = _WEIGHT_INPUTS.get(node.op_type)
    if index is None or len(node.input) <= index or not _is_matrix(node.input[index], dataflow, sizes):
        return None
    name = node.input[index]
    if node.op_type == "MatMulNBits":
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        scales_dtype = get_dtype_name(sizes.get_dtype(node.input[_SCALES_INPUT]) or 0)
        is_int8 = attributes.get("accuracy_level") == _INT8_ACCURACY_LEVEL
        return _Product(step, 2 * attributes.get("K", 0) * attributes.get("N", 0), scales_dtype, is_int8)
    shape = sizes.get_shape(name) or ()
    if len(shape) != 2:  # Each row of activations may use another matrix, as in a mixture of experts.
        return None
    dtype = get_dtype_name(sizes.get_dtype(name) or 0)
    return _Product(step, 2 * shape[0] * shape[1], dtype, node.op_type in _INTEGER_PRODUCTS)


def _is_matrix(name: str, dataflow: Dataflow, sizes: ValueSizes) -> bool:
    """Return True if a value is a constant with at least two axes longer than 1, or a constant of
    unknown shape."""
    if name not in dataflow.weights and name not in dataflow.dequantized_constants:
        return False
    shape = sizes.get_shape(name)
    return shape is None or sum(length > 1 for length in shape) >= 2


def _find_head(logits_name: str, dataflow: Dataflow, products: list[_Product]) -> _Product | None:
    """Return the output projection: the product from which the logits are computed by operators
    that read no other activation."""
    writers = {name: step for step in dataflow.steps for name in step.writes}
    products_by_output = {product.step.writes[0]: product for product in products}
    name = logits_name
    for _ in dataflow.steps:
        if name in products_by_output:
            return products_by_output[name]
        reads = [] if name not in writers else [*dataflow.iterate_read_activations(writers[name])]
        if name in writers and not reads:
            reads = [read for read in writers[name].reads if read not in dataflow.weights]  # A view.
        if len(reads) != 1:
            return None
        name = reads[0]
    return None


def _count_attention(dataflow: Dataflow, layers: int) -> tuple[AttentionLayers, ...]:
    """Return the layers by the window of their attention. Without a known attention operator, all
    layers of the configuration attend to all tokens."""
    windows = Counter(
        next(
            (attribute.i for attribute in step.node.attribute if attribute.name == "local_window_size"),
            -1,
        )
        for step in dataflow.steps
        if step.node.op_type in _ATTENTION_OPERATORS
    )
    if not windows:
        return (AttentionLayers(layers),)
    return tuple(AttentionLayers(count, window if window > 0 else None) for window, count in sorted(windows.items()))


def _find_float_type(products: list[_Product]) -> Literal["fp32", "fp16"]:
    flops_by_dtype: Counter[str] = Counter()
    for product in products:
        flops_by_dtype[product.dtype] += product.flops_per_token
    half_flops = sum(flops_by_dtype[dtype] for dtype in _FLOAT16_TYPES)
    return "fp16" if half_flops > flops_by_dtype["float32"] else "fp32"


def _find_unknown_reason(
    dataflow: Dataflow, sizes: ValueSizes, products: list[_Product], *, has_cache: bool, head: _Product | None
) -> str | None:
    operators = sorted(set(_iterate_unknown_operators(dataflow, sizes, products)))
    if operators:
        return f"the cost of {', '.join(operators)} is unknown"
    if not has_cache:
        return "the model has no inputs with four axes of one data type, so its KV cache is unknown"
    if head is None:
        return "the model has no product that computes its logits, so the cost of its output projection is unknown"
    return None


def _iterate_unknown_operators(dataflow: Dataflow, sizes: ValueSizes, products: list[_Product]) -> Iterator[str]:
    counted_outputs = {product.step.writes[0] for product in products}
    for step in dataflow.steps:
        node = step.node
        lookup_inputs = _get_lookup_inputs(node)
        lookups = {name for index, name in enumerate(node.input) if index in lookup_inputs}
        reads_matrix = any(_is_matrix(name, dataflow, sizes) for name in step.reads if name not in lookups)
        is_counted = bool(counted_outputs.intersection(step.writes)) or count_multiply_adds(node, lambda _: None) == 0
        if node.op_type in _RECURRENT_OPERATORS or (reads_matrix and not is_counted):
            yield format_operator_name(node.domain, node.op_type)
