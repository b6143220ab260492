"""Prepare the source model of a conversion: embed its weights, inline its functions, and reject
quantized models."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
from onnx import external_data_helper, inliner

from app.errors import UsageError
from app.inference.inspection.reading import STANDARD_DOMAINS, check_versions, iterate_nodes, read_model
from app.inference.inspection.tensors import find_weight_files

INTEGER_OPERATORS = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "ConvInteger",
        "DynamicQuantizeLSTM",
        "QAttention",
        "QGemm",
        "QEmbedLayerNormalization",
        "MatMulNBits",
        "MatMulBnb4",
    }
)
"""Operators of quantized models, in addition to all operators whose name starts with QLinear."""

_IR_VERSION = 8
"""Minimum IR version of the converted model, which all supported runtimes can open. From version 4,
stored weights need not be inputs. From version 7, opset 13 is available."""


def load_source_model(path: Path) -> onnx.ModelProto:
    """Load a model with embedded weights and inlined functions. Weights are removed from the graph
    inputs, so that callers cannot override them. Raises UsageError if the file is not a model or is
    already quantized."""
    model = read_model(path)
    check_versions(model, path.name)
    find_weight_files(model, path)
    external_data_helper.load_external_data_for_model(model, str(path.parent))
    if model.functions:
        model = inliner.inline_local_functions(model)
    quantized_counts = count_integer_nodes(model)
    if quantized_counts:
        name, count = quantized_counts.most_common(1)[0]
        raise UsageError(f"the model is already quantized ({count} {name})", hint="Use precision as-is.")
    weight_names = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weight_names]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, _IR_VERSION)
    return model


def count_integer_nodes(model: onnx.ModelProto) -> Counter[str]:
    """Return the number of nodes that quantize values or process quantized values, by operator."""
    names = (node.op_type for node in iterate_nodes(model.graph))
    return Counter(name for name in names if name in INTEGER_OPERATORS or name.startswith("QLinear"))


def get_standard_opset(model: onnx.ModelProto) -> int:
    """Return the opset version of the ONNX standard operators; 0 if the model declares none."""
    return max((opset.version for opset in model.opset_import if opset.domain in STANDARD_DOMAINS), default=0)
