"""Read all metadata and costs of a model from its file. Also resolve the dynamic axes of the
model, with the lengths that the user set and the batch size."""

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
from app.inference.inspection.costs import (
    Dataflow,
    ShapeMismatchError,
    ValueSizes,
    build_dataflow,
    drop_weights,
    infer_sizes,
)
from app.inference.inspection.reading import (
    check_domains,
    check_versions,
    iterate_nodes,
    list_input_names,
    read_model,
    read_properties,
)
from app.inference.inspection.tensors import (
    check_stored_tensor,
    find_weight_files,
    get_dtype_name,
    iterate_stored_tensors,
)
from app.inference.tensor_spec import printable
from app.records.model import BatchCost, ExternalFile, ModelMetadata, ModelValue, OperatorCount, ShapeOverrides
from loadgen.regular_files import open_regular

Shape = tuple[int | str, ...]

_MAX_AXIS_LENGTH = 2**40


class InputShapes:
    """Shapes of the model inputs, in which dynamic axes are replaced by the lengths that the user
    set. A shape is `None` if its number of axes is unknown."""

    def __init__(self, graph: onnx.GraphProto, shape_overrides: ShapeOverrides) -> None:
        fed_input_names = set(list_input_names(graph))
        tensors = (
            value for value in graph.input if value.name in fed_input_names and value.type.HasField("tensor_type")
        )
        self.declared_shapes = {value.name: read_declared_shape(value) for value in tensors}
        self.axes = dict(shape_overrides.axes)
        _check_names(self.declared_shapes, shape_overrides)
        for name, lengths in shape_overrides.shapes.items():
            self._apply_lengths(name, lengths)
        self.shapes = {
            name: self._complete_shape(name, shape, shape_overrides) for name, shape in self.declared_shapes.items()
        }
        first_axes = {shape[0] for shape in self.shapes.values() if shape} - {
            axis for shape in self.shapes.values() for axis in (shape or ())[1:]
        }
        self.batch_axes = tuple(sorted(axis for axis in first_axes if isinstance(axis, str)))

    @property
    def fixed_batch(self) -> int | None:
        """Number of rows per inference if the batch size is fixed; `None` if the batch size is
        dynamic."""
        if self.batch_axes:
            return None
        batch = next((shape[0] for shape in self.shapes.values() if shape), 1)
        return batch if isinstance(batch, int) else None

    def format_missing_shapes(self) -> str | None:
        """Return a message about the input shapes or axis lengths that the user must set; `None` if
        none is missing."""
        for name, shape in self.shapes.items():
            if shape is None:
                return f"input {printable(name)} has no shape in the file; set it with --shape {printable(name)}=N,3,32"
        dynamic_axes = sorted({axis for shape in self.shapes.values() for axis in shape or () if isinstance(axis, str)})
        missing_axes = [printable(axis) for axis in dynamic_axes if axis not in self.batch_axes]
        if not missing_axes:
            return None
        options = " ".join(f"--axis {axis}=VALUE" for axis in missing_axes)
        return f"the model has dynamic axes {', '.join(missing_axes)}; set them with {options}"

    def resolve_at_batch(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each model input at a batch size, by input name. No shape may be
        missing."""
        return {
            name: tuple(axis if isinstance(axis, int) else batch for axis in shape or ())
            for name, shape in self.shapes.items()
        }

    def _apply_lengths(self, name: str, lengths: tuple[int | None, ...]) -> None:
        declared_shape = self.declared_shapes[name]
        if declared_shape is None:
            return
        if len(declared_shape) != len(lengths):
            raise UsageError(
                f"input {name} has {len(declared_shape)} axes, but {len(lengths)} lengths were specified",
                hint=f"Specify one length per axis of the declared shape {format_shape(declared_shape)}.",
            )
        for axis, length in zip(declared_shape, lengths, strict=True):
            if length is None:
                continue
            if (axis if isinstance(axis, int) else self.axes.setdefault(axis, length)) != length:
                description = f"axis {printable(str(axis))} of input {name}"
                raise UsageError(
                    f"{description} cannot be {length}: it conflicts with the model or another option",
                    hint=f"Use lengths that match the declared shape {format_shape(declared_shape)}.",
                )

    def _complete_shape(self, name: str, declared_shape: Shape | None, shape_overrides: ShapeOverrides) -> Shape | None:
        if declared_shape is None:
            lengths = shape_overrides.shapes.get(name)
            if lengths is None:
                return None
            return tuple(f"{name}.{index}" if length is None else length for index, length in enumerate(lengths))
        return tuple(self.axes.get(axis, axis) if isinstance(axis, str) else axis for axis in declared_shape)


def read_declared_shape(value: onnx.ValueInfoProto) -> Shape | None:
    """Return the shape of a value as declared in the file; `None` if the number of axes is unknown
    or the value is not a tensor. A dynamic axis is represented by its name or, if unnamed, by
    `NAME.INDEX`."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        axis.dim_value
        if axis.HasField("dim_value") and axis.dim_value >= 0
        else axis.dim_param or f"{value.name}.{index}"
        for index, axis in enumerate(value.type.tensor_type.shape.dim)
    )


def format_shape(shape: Shape | None) -> str:
    """Format a shape for messages, such as `batch × 3 × 224`."""
    return "n/a" if shape is None else " × ".join(printable(str(axis)) for axis in shape) or "a single number"


def _check_names(declared_shapes: dict[str, Shape | None], shape_overrides: ShapeOverrides) -> None:
    lengths = [
        *shape_overrides.axes.values(),
        *(length for shape in shape_overrides.shapes.values() for length in shape if length is not None),
    ]
    invalid_length = next((length for length in lengths if not 1 <= length <= _MAX_AXIS_LENGTH), None)
    if invalid_length is not None:
        raise UsageError(
            f"the length of an axis must be between 1 and {_MAX_AXIS_LENGTH} (got {invalid_length})",
            hint="Use a positive integer.",
        )
    for name in shape_overrides.shapes:
        if name not in declared_shapes:
            input_names = ", ".join(map(printable, declared_shapes)) or "none"
            raise UsageError(f"the model has no input {name!r}", hint=f"The inputs of the model are: {input_names}.")
    dynamic_axes = {axis for shape in declared_shapes.values() for axis in shape or () if isinstance(axis, str)}
    for axis in shape_overrides.axes:
        if axis not in dynamic_axes:
            axis_names = ", ".join(sorted(map(printable, dynamic_axes))) or "none"
            raise UsageError(
                f"the model has no dynamic axis {axis!r}", hint=f"The dynamic axes of the model are: {axis_names}."
            )


BATCHES = (1, 2, 4, 8, 16, 32, 64)


class _InferredCosts(msgspec.Struct, frozen=True):
    """Inferred sizes and costs of a model.

    `sizes` are the sizes of all values at the smallest batch size. If input shapes are missing,
    only the sizes that do not depend on these shapes are known, and `missing_reason` states which
    shapes are missing."""

    sizes: ValueSizes
    costs: tuple[BatchCost, ...]
    missing_reason: str | None


def read_model_metadata(path: Path, shape_overrides: ShapeOverrides) -> ModelMetadata:
    """Read the metadata and costs of a model file. Raises UsageError if the file is not a valid
    model or is not safe to open."""
    model, external_files = read_checked_model(path)
    dataflow = build_dataflow(model.graph)
    inputs, outputs = tuple(_build_inputs(model.graph)), tuple(_build_value(value) for value in model.graph.output)
    drop_weights(model)
    input_shapes = InputShapes(model.graph, shape_overrides)
    inferred_costs = _infer_costs(model, dataflow, input_shapes)
    operator_flops = costs.compute_operator_flops(dataflow, inferred_costs.sizes)
    batch_costs = inferred_costs.costs
    return ModelMetadata(
        file=path.name,
        size_bytes=path.stat().st_size,
        sha256=_read_sha256(path),
        ir_version=model.ir_version,
        opsets={printable(opset.domain) or "ai.onnx": opset.version for opset in model.opset_import},
        producer=printable(f"{model.producer_name} {model.producer_version}".strip()) or None,
        inputs=inputs,
        outputs=outputs,
        parameters=costs.count_parameters(dataflow, inferred_costs.sizes, read_properties(model)),
        external_files=external_files,
        nodes=sum(1 for _ in iterate_nodes(model.graph)),
        operators=tuple(_count_operators(model.graph, operator_flops if batch_costs else None)),
        batch_axes=tuple(map(printable, input_shapes.batch_axes)),
        axes={printable(axis): length for axis, length in input_shapes.axes.items()},
        costs=batch_costs,
        cost_reason=inferred_costs.missing_reason,
        flops_growth=costs.fit_growth([(cost.batch, cost.flops) for cost in batch_costs]),
        moved_growth=costs.fit_growth([(cost.batch, cost.moved_bytes) for cost in batch_costs]),
        memory_growth=costs.fit_growth([(cost.batch, cost.memory_bytes) for cost in batch_costs]),
        counted_operators=tuple(sorted(name for name, count in operator_flops.flops.items() if count))
        if batch_costs
        else (),
        unknown_operators=tuple(sorted(operator_flops.unknown_node_counts)) if batch_costs else (),
        unknown_nodes=operator_flops.unknown_node_counts.total() if batch_costs else 0,
        unknown_values=costs.count_unknown_values(dataflow, inferred_costs.sizes) if batch_costs else 0,
    )


def read_checked_model(path: Path) -> tuple[onnx.ModelProto, tuple[ExternalFile, ...]]:
    """Read a model file, check it, and inline its functions. Return the model and its external
    files. Raises UsageError if the file is not a valid model or is not safe to open."""
    model = read_model(path)
    external_files = _check_file(model, path)
    return (_inline_functions(model) if model.functions else model), external_files


def _check_file(model: onnx.ModelProto, path: Path) -> tuple[ExternalFile, ...]:
    check_versions(model, path.name)
    domains = {node.domain for node in iterate_nodes(model.graph)}
    domains.update(node.domain for function in model.functions for node in function.node)
    check_domains(model, domains, path.name)
    for tensor in iterate_stored_tensors(model):
        check_stored_tensor(tensor)
    return find_weight_files(model, path)


def _inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return inliner.inline_local_functions(model)
    except MemoryError:
        raise
    except Exception as error:  # onnx raises its own errors and those of the standard library.
        raise UsageError(
            f"the model's functions are invalid: {printable(str(error))}",
            hint="Export the model again without functions.",
        ) from error


def _infer_costs(model: onnx.ModelProto, dataflow: Dataflow, input_shapes: InputShapes) -> _InferredCosts:
    missing_reason = input_shapes.format_missing_shapes()
    if missing_reason is None:
        try:
            return _compute_costs(model, dataflow, input_shapes)
        except ShapeMismatchError as error:
            missing_reason = str(error)
    return _InferredCosts(infer_sizes(model, {}, is_strict=False), (), missing_reason)


def _compute_costs(model: onnx.ModelProto, dataflow: Dataflow, input_shapes: InputShapes) -> _InferredCosts:
    batches = BATCHES if input_shapes.fixed_batch is None else (input_shapes.fixed_batch,)
    first_sizes = infer_sizes(model, input_shapes.resolve_at_batch(batches[0]))
    remaining_costs = (
        costs.compute_batch_cost(dataflow, infer_sizes(model, input_shapes.resolve_at_batch(batch)), batch)
        for batch in batches[1:]
    )
    return _InferredCosts(
        first_sizes, (costs.compute_batch_cost(dataflow, first_sizes, batches[0]), *remaining_costs), None
    )


def _build_inputs(graph: onnx.GraphProto) -> Iterator[ModelValue]:
    fed_input_names = set(list_input_names(graph))
    return (_build_value(value) for value in graph.input if value.name in fed_input_names)


def _build_value(value: onnx.ValueInfoProto) -> ModelValue:
    kind = value.type.WhichOneof("value") or "unknown"
    shape = read_declared_shape(value)
    return ModelValue(
        printable(value.name),
        get_dtype_name(value.type.tensor_type.elem_type) if kind == "tensor_type" else kind.removesuffix("_type"),
        None if shape is None else tuple(dim if isinstance(dim, int) else printable(dim) for dim in shape),
    )


def _count_operators(graph: onnx.GraphProto, operator_flops: costs.OperatorFlops | None) -> Iterator[OperatorCount]:
    counts = Counter(costs.format_operator_name(node.domain, node.op_type) for node in iterate_nodes(graph))
    for name, count in counts.most_common():
        is_known = operator_flops is not None and not operator_flops.unknown_node_counts[name]
        yield OperatorCount(
            name, count, operator_flops.flops[name] if operator_flops is not None and is_known else None
        )


def _read_sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
