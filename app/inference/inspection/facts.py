"""All that is told of one model, from its file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import onnx
from onnx import inliner

from app.errors import UsageError
from app.inference.inspection import costs
from app.inference.inspection.dataflow import Dataflow, dataflow_of
from app.inference.inspection.open_axes import InputShapes, declared_shape
from app.inference.inspection.reading import check_domains, check_versions, read_model
from app.inference.inspection.structure import all_nodes, input_names
from app.inference.inspection.tensors import check_stored, dtype_name, stored_tensors
from app.inference.inspection.value_sizes import ShapesDisagreeError, ValueSizes, drop_weights, infer_sizes
from app.inference.inspection.weight_files import weight_files
from app.inference.printable import printable
from app.records.model import BatchCost, ExternalFile, GivenShapes, ModelFacts, ModelValue, OperatorCount

BATCHES = (1, 2, 4, 8, 16, 32, 64)


class _Inferred(msgspec.Struct, frozen=True):
    """`sizes` are those of the smallest batch; where shapes are missing, of what does not depend on them."""

    sizes: ValueSizes
    costs: tuple[BatchCost, ...]
    missing: str | None


def facts_of(path: Path, given: GivenShapes) -> ModelFacts:
    """Raises UsageError for a file that is no model, and for one that a careful runtime would not open."""
    model = read_model(path)
    files = _checked(model, path)
    if model.functions:
        model = _inlined(model)
    flow = dataflow_of(model.graph)
    inputs, outputs = tuple(_inputs(model.graph)), tuple(_value(value) for value in model.graph.output)
    drop_weights(model)
    shapes = InputShapes(model.graph, given)
    inferred = _inferred(model, flow, shapes)
    flops = costs.operator_flops(flow, inferred.sizes)
    told = inferred.costs
    return ModelFacts(
        file=path.name,
        size_bytes=path.stat().st_size,
        sha256=_sha256(path),
        ir_version=model.ir_version,
        opsets={printable(opset.domain) or "ai.onnx": opset.version for opset in model.opset_import},
        producer=printable(f"{model.producer_name} {model.producer_version}".strip()) or None,
        inputs=inputs,
        outputs=outputs,
        parameters=costs.parameters_of(flow, inferred.sizes),
        external_files=files,
        nodes=sum(1 for _ in all_nodes(model.graph)),
        operators=tuple(_operators(model.graph, flops if told else None)),
        batch_axes=tuple(map(printable, shapes.batch_axes)),
        axes={printable(axis): length for axis, length in shapes.axes.items()},
        costs=told,
        cost_reason=inferred.missing,
        flops_growth=costs.growth([(cost.batch, cost.flops) for cost in told]),
        moved_growth=costs.growth([(cost.batch, cost.moved_bytes) for cost in told]),
        memory_growth=costs.growth([(cost.batch, cost.memory_bytes) for cost in told]),
        counted_operators=tuple(sorted(name for name, count in flops.flops.items() if count)) if told else (),
        unknown_operators=tuple(sorted(flops.unknown)) if told else (),
        unknown_nodes=flops.unknown.total() if told else 0,
        unknown_values=costs.unknown_values(flow, inferred.sizes) if told else 0,
    )


def _checked(model: onnx.ModelProto, path: Path) -> tuple[ExternalFile, ...]:
    check_versions(model, path.name)
    domains = {node.domain for node in all_nodes(model.graph)}
    domains.update(node.domain for function in model.functions for node in function.node)
    check_domains(model, domains, path.name)
    for tensor in stored_tensors(model):
        check_stored(tensor)
    return weight_files(model, path)


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return inliner.inline_local_functions(model)
    except MemoryError:
        raise
    except Exception as error:  # onnx raises its own and the standard library's alike
        raise UsageError(f"the model's functions are wrong: {printable(str(error))}") from error


def _inferred(model: onnx.ModelProto, flow: Dataflow, shapes: InputShapes) -> _Inferred:
    missing = shapes.missing()
    if missing is None:
        try:
            return _costed(model, flow, shapes)
        except ShapesDisagreeError as error:
            missing = str(error)
    return _Inferred(infer_sizes(model, {}, is_strict=False), (), missing)


def _costed(model: onnx.ModelProto, flow: Dataflow, shapes: InputShapes) -> _Inferred:
    batches = BATCHES if shapes.fixed_batch is None else (shapes.fixed_batch,)
    first = infer_sizes(model, shapes.at(batches[0]))
    rest = (costs.batch_cost(flow, infer_sizes(model, shapes.at(batch)), batch) for batch in batches[1:])
    return _Inferred(first, (costs.batch_cost(flow, first, batches[0]), *rest), None)


def _inputs(graph: onnx.GraphProto) -> Iterator[ModelValue]:
    fed = set(input_names(graph))
    return (_value(value) for value in graph.input if value.name in fed)


def _value(value: onnx.ValueInfoProto) -> ModelValue:
    kind = value.type.WhichOneof("value") or "unknown"
    shape = declared_shape(value)
    return ModelValue(
        printable(value.name),
        dtype_name(value.type.tensor_type.elem_type) if kind == "tensor_type" else kind.removesuffix("_type"),
        None if shape is None else tuple(axis if isinstance(axis, int) else printable(axis) for axis in shape),
    )


def _operators(graph: onnx.GraphProto, flops: costs.OperatorFlops | None) -> Iterator[OperatorCount]:
    counts = Counter(costs.operator_name(node.domain, node.op_type) for node in all_nodes(graph))
    for name, count in counts.most_common():
        is_known = flops is not None and not flops.unknown[name]
        yield OperatorCount(name, count, flops.flops[name] if flops is not None and is_known else None)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
