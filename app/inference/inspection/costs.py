"""Cost of an inference at a batch size, derived from the graph: FLOPs, memory traffic and memory.

- Dataflow: as in a runtime, constants are computed once, and all other values in each inference.
- Shapes: ONNX shape inference determines the shapes of all values from the input shapes.
- FLOPs: only the multiply-adds of matrix products, convolutions and recurrent layers are counted.
  Elementwise operators, pooling, normalization and reduction are omitted, because they amount to a
  few percent in typical networks.
- Memory: the peak memory of the activations of one inference is simulated."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
import onnx
from onnx import shape_inference

from app.errors import UsageError
from app.inference.inspection.packed_weights import count_packed_parameters
from app.inference.inspection.reading import STANDARD_DOMAINS, Step, build_steps, list_input_names
from app.inference.inspection.tensors import MAX_BYTES, compute_size_bytes, get_dtype_name, iterate_subgraph_tensors
from app.inference.tensor_spec import printable
from app.records.model import BatchCost, Growth, Parameters

_VIEW_OPERATORS = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that return their input unchanged or with another shape, so that a runtime copies no
data."""
_SHAPE_READERS = frozenset({"Shape", "Size"})
_LOOKUP_OPERATORS = frozenset({"Gather", "GatherElements", "GatherND"})
"""Operators that look up parts of a table, their first input. They read only as many bytes of the
table as they output."""
_RANDOM_OPERATORS = frozenset({"Bernoulli", "Multinomial"})


class Dataflow(msgspec.Struct, frozen=True):
    """Dataflow of a graph.

    `steps` are the nodes that run in each inference, in order. `weights` are the names of the
    constants that the steps read, which remain in memory between inferences.
    `dequantized_constants` are the names of dequantized constants, which kernels read in their
    quantized form."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    weights: frozenset[str]
    tables: frozenset[str]
    """Names of the weights that are only used as lookup tables and therefore never read as a
    whole."""
    dequantized_constants: frozenset[str]

    def iterate_read_activations(self, step: Step) -> Iterator[str]:
        """Yield the names of the activations whose bytes a step reads."""
        if not is_view(step) and step.node.op_type not in _SHAPE_READERS:
            yield from (
                name for name in step.reads if name not in self.weights and name not in self.dequantized_constants
            )

    def iterate_written_activations(self, step: Step) -> Iterator[str]:
        """Yield the names of the activations whose bytes a step writes."""
        if not is_view(step):
            yield from (name for name in step.writes if name not in self.dequantized_constants)


def build_dataflow(graph: onnx.GraphProto) -> Dataflow:
    """Build the dataflow of a graph. Raises UsageError for an invalid graph."""
    constants = {tensor.name for tensor in graph.initializer} | {
        sparse_tensor.values.name for sparse_tensor in graph.sparse_initializer
    }
    dequantized_constants: set[str] = set()
    steps: list[Step] = []
    for step in build_steps(graph):
        is_constant = constants.issuperset(step.reads)
        if is_constant and step.node.op_type == "DequantizeLinear":
            dequantized_constants.update(step.writes)
        elif is_constant and not _is_random(step.node):
            constants.update(step.writes)
            continue
        steps.append(step)
    outputs = tuple(value.name for value in graph.output)
    fully_read_names = {name for step in steps for name in step.reads[_is_lookup(step) :]}
    weights = {name for step in steps for name in step.reads}.union(outputs) & constants
    return Dataflow(
        inputs=tuple(list_input_names(graph)),
        outputs=outputs,
        steps=tuple(steps),
        weights=frozenset(weights),
        tables=frozenset(weights - fully_read_names),
        dequantized_constants=frozenset(dequantized_constants),
    )


def is_view(step: Step) -> bool:
    """Return True if the first output of a step has the same bytes as its first input, so that a
    runtime copies no data."""
    return (
        step.node.domain in STANDARD_DOMAINS
        and step.node.op_type in _VIEW_OPERATORS
        and bool(step.reads and step.writes)
    )


def _is_lookup(step: Step) -> bool:
    return step.node.domain in STANDARD_DOMAINS and step.node.op_type in _LOOKUP_OPERATORS


def _is_random(node: onnx.NodeProto) -> bool:
    return node.op_type.startswith("Random") or node.op_type in _RANDOM_OPERATORS


_MAX_CONSTANT_ELEMENTS = 1024
"""Maximum number of elements of a stored tensor whose values are preserved. Larger tensors are
weights, which no shape depends on."""


class ShapeMismatchError(UsageError):
    """Error that is raised if the shapes of the values in a model are inconsistent."""


class ValueSizes:
    """Shapes and data types of the values in the main graph, by name. Methods return `None` for a
    value whose shape or data type could not be inferred."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], dtypes: dict[str, int]) -> None:
        self._shapes = shapes
        self._dtypes = dtypes

    def get_shape(self, name: str) -> tuple[int, ...] | None:
        return self._shapes.get(name)

    def get_dtype(self, name: str) -> int | None:
        return self._dtypes.get(name)

    def count_elements(self, name: str) -> int | None:
        shape = self.get_shape(name)
        return None if shape is None else math.prod(shape)

    def compute_bytes(self, name: str) -> int | None:
        """Return the size of a value in bytes; `None` if unknown. Raises UsageError if the size
        exceeds 2^63 - 1 bytes."""
        shape, dtype = self.get_shape(name), self.get_dtype(name)
        return None if shape is None or dtype is None else compute_size_bytes(dtype, shape)


def drop_weights(model: onnx.ModelProto) -> None:
    """Replace large stored tensors by their data types and shapes, because later steps copy the
    model several times. Also remove the declared shapes of intermediate values and outputs, which
    are not trusted."""
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) > _MAX_CONSTANT_ELEMENTS:  # `ByteSize` would copy the tensor.
            stub = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
            tensor.CopyFrom(stub)
    # The shapes that a file declares for intermediate values are not trusted.
    del model.graph.value_info[:]
    for output in model.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")


def infer_sizes(
    model: onnx.ModelProto, input_shapes: dict[str, tuple[int, ...]], *, is_strict: bool = True
) -> ValueSizes:
    """Infer the sizes of all values of a model for the given input shapes. The input shapes are
    written to `model`.

    If shapes are inconsistent, ShapeMismatchError is raised if `is_strict`; otherwise, the affected
    sizes are unknown."""
    for value in model.graph.input:
        if value.name in input_shapes and value.type.HasField("tensor_type"):
            shape = value.type.tensor_type.shape
            shape.ClearField("dim")
            shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=length) for length in input_shapes[value.name])
    try:
        inferred_graph = shape_inference.infer_shapes(model, strict_mode=is_strict, data_prop=True).graph
    except MemoryError:
        raise
    except Exception as error:  # onnx raises its own errors and built-in exceptions.
        first_line = printable((str(error).strip() or type(error).__name__).splitlines()[0])
        raise ShapeMismatchError(
            f"the shapes in the model are inconsistent: {first_line}",
            hint="Check the input shapes, or export the model again.",
        ) from error
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, int] = {}
    for value in (*inferred_graph.value_info, *inferred_graph.output, *inferred_graph.input):
        if not value.type.HasField("tensor_type"):
            continue
        tensor = value.type.tensor_type
        dtypes[value.name] = tensor.elem_type
        if tensor.HasField("shape") and all(
            dim.HasField("dim_value") and dim.dim_value >= 0 for dim in tensor.shape.dim
        ):
            shapes[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
    for weight in inferred_graph.initializer:
        shapes[weight.name], dtypes[weight.name] = tuple(weight.dims), weight.data_type
    return ValueSizes(shapes, dtypes)


GetShape = Callable[[str], tuple[int, ...] | None]


def count_multiply_adds(node: onnx.NodeProto, get_shape: GetShape) -> int | None:
    """Return the number of multiply-adds of a node; 0 for operators without multiply-adds, `None`
    if a shape is unknown or no rule covers the operator."""
    if (
        node.domain not in STANDARD_DOMAINS
        or node.op_type in _OPERATORS_WITHOUT_RULE
        or not onnx.defs.has(node.op_type)
    ):
        return None
    rule = _RULES.get(node.op_type)
    if rule is None:
        return 0
    try:
        return rule(node, [get_shape(name) if name else None for name in (*node.input, node.output[0])])
    except (IndexError, ValueError):  # A shape is unknown or lacks the axes that the rule needs.
        return None


Shapes = list[tuple[int, ...] | None]
Rule = Callable[[onnx.NodeProto, Shapes], int]
"""Function that computes the number of multiply-adds of a node. Its arguments are the node, and a
list of the shapes of the node's inputs and of its first output."""


def _build_convolution_rule(weight_index: int) -> Rule:
    """Return the rule for convolutions: each output element needs one multiply-add per weight of
    its channel. `weight_index` is the index of the weight input, of shape [out, in/groups, ...]."""
    return lambda _, shapes: math.prod(_require_shape(shapes[-1])) * math.prod(_require_shape(shapes[weight_index])[1:])


def _count_transposed_convolution(_: onnx.NodeProto, shapes: Shapes) -> int:
    """Return the multiply-adds of a transposed convolution: each input element needs one
    multiply-add per weight of its channel. Weights have the shape [in, out/groups, ...]."""
    return math.prod(_require_shape(shapes[0])) * math.prod(_require_shape(shapes[1])[1:])


def _count_matmul(_: onnx.NodeProto, shapes: Shapes) -> int:
    return math.prod(_require_shape(shapes[-1])) * _require_shape(shapes[0])[-1]


def _count_gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    is_transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(_require_shape(shapes[-1])) * _require_shape(shapes[0])[0 if is_transposed else 1]


def _count_recurrent(_: onnx.NodeProto, shapes: Shapes) -> int:
    """Return the multiply-adds of a recurrent layer: each row uses all input weights and all
    recurrent weights once per time step."""
    time_steps, rows, _features = _require_shape(shapes[0])
    return time_steps * rows * (math.prod(_require_shape(shapes[1])) + math.prod(_require_shape(shapes[2])))


def _count_einsum(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Return the multiply-adds of an einsum of two operands without ellipsis: one per combination
    of the values of all indices."""
    equation = "".join(attribute.s.decode() for attribute in node.attribute if attribute.name == "equation")
    first_indices, second_indices = equation.replace(" ", "").partition("->")[0].split(",")
    lengths = dict(zip(first_indices, _require_shape(shapes[0]), strict=True)) | dict(
        zip(second_indices, _require_shape(shapes[1]), strict=True)
    )
    return math.prod(lengths.values())


def _require_shape(shape: tuple[int, ...] | None) -> tuple[int, ...]:
    if shape is None:
        raise ValueError
    return shape


_RULES: dict[str, Rule] = {
    "Conv": _build_convolution_rule(1),
    "ConvInteger": _build_convolution_rule(1),
    "QLinearConv": _build_convolution_rule(3),
    "ConvTranspose": _count_transposed_convolution,
    "Gemm": _count_gemm,
    "MatMul": _count_matmul,
    "MatMulInteger": _count_matmul,
    "QLinearMatMul": _count_matmul,
    "Einsum": _count_einsum,
    "LSTM": _count_recurrent,
    "GRU": _count_recurrent,
    "RNN": _count_recurrent,
}
_OPERATORS_WITHOUT_RULE = frozenset(
    {"Attention", "CausalConvWithState", "DFT", "DeformConv", "Det", "LinearAttention", "STFT"}
    | {"If", "Loop", "Scan", "SequenceMap"}
)


def compute_peak_activation_bytes(dataflow: Dataflow, get_bytes: Callable[[str], int]) -> int:
    """Return the peak memory of the activations of one inference in bytes.

    The steps run in order, and each value is freed after its last use. Inputs and outputs are never
    freed, because the caller holds them. No buffer is reused in place, so a runtime may need less
    memory. Memory allocated by libraries (contexts, workspaces, unused memory) is not included."""
    owners_by_view = _map_views(dataflow)
    last_use_by_name = {
        owners_by_view.get(name, name): index for index, step in enumerate(dataflow.steps) for name in step.reads
    }
    permanent_names = {owners_by_view.get(name, name) for name in (*dataflow.inputs, *dataflow.outputs)}
    bytes_by_name = {name: get_bytes(name) for name in dataflow.inputs}
    current_bytes = peak_bytes = sum(bytes_by_name.values())
    freed_names_by_step: dict[int, list[str]] = {}
    for index, step in enumerate(dataflow.steps):
        for name in dataflow.iterate_written_activations(step):
            bytes_by_name[name] = get_bytes(name)
            current_bytes += bytes_by_name[name]
            if name not in permanent_names:
                freed_names_by_step.setdefault(last_use_by_name.get(name, index), []).append(name)
        peak_bytes = max(peak_bytes, current_bytes)
        current_bytes -= sum(bytes_by_name[name] for name in freed_names_by_step.pop(index, ()))
    return peak_bytes


def _map_views(dataflow: Dataflow) -> dict[str, str]:
    """Return a mapping from the name of each view to the name of the value that owns its bytes."""
    owners_by_view: dict[str, str] = {}
    for step in dataflow.steps:
        if is_view(step):
            owner = owners_by_view.get(step.reads[0], step.reads[0])
            owners_by_view.update(dict.fromkeys(step.writes, owner))
    return owners_by_view


class OperatorFlops(msgspec.Struct, frozen=True):
    """FLOPs of each operator of a graph. `unknown_node_counts` contains, by operator, the number of
    nodes whose FLOPs are unknown."""

    flops: Counter[str]
    unknown_node_counts: Counter[str]


def format_operator_name(domain: str, op_type: str) -> str:
    """Return the display name of an operator, prefixed by its domain unless the domain is the ONNX
    standard domain."""
    return printable(op_type if domain in ("", "ai.onnx") else f"{domain}.{op_type}")


def compute_operator_flops(dataflow: Dataflow, sizes: ValueSizes) -> OperatorFlops:
    """Return the FLOPs of a graph by operator, and the number of nodes whose FLOPs are unknown."""
    flops: Counter[str] = Counter()
    unknown_node_counts: Counter[str] = Counter()
    for step in dataflow.steps:
        name = format_operator_name(step.node.domain, step.node.op_type)
        multiply_adds = count_multiply_adds(step.node, sizes.get_shape)
        if multiply_adds is None:
            unknown_node_counts[name] += 1
        else:
            flops[name] += 2 * multiply_adds
    return OperatorFlops(flops, unknown_node_counts)


def compute_batch_cost(dataflow: Dataflow, sizes: ValueSizes, batch: int) -> BatchCost:
    """Compute the cost of an inference at a batch size. Values of unknown size are not included in
    the bytes. Raises UsageError if the FLOPs or bytes exceed 2^63 - 1."""

    def sum_bytes(names: Iterable[str]) -> int:
        return sum(sizes.compute_bytes(name) or 0 for name in names)

    flops = compute_operator_flops(dataflow, sizes).flops.total()
    weight_bytes, weight_bytes_read = (
        count_parameters(dataflow, sizes).bytes,
        sum_bytes(dataflow.weights - dataflow.tables),
    )
    activation_bytes = sum(
        sum_bytes({*dataflow.iterate_read_activations(step)}) + sum_bytes(dataflow.iterate_written_activations(step))
        for step in dataflow.steps
    )
    table_bytes_read = sum(
        sum_bytes(step.writes) for step in dataflow.steps if not dataflow.tables.isdisjoint(step.reads)
    )
    moved_bytes = weight_bytes_read + table_bytes_read + activation_bytes
    inputs_and_outputs = (name for name in {*dataflow.inputs, *dataflow.outputs} if name not in dataflow.weights)
    memory_bytes = weight_bytes + compute_peak_activation_bytes(dataflow, lambda name: sizes.compute_bytes(name) or 0)
    if max(flops, moved_bytes, memory_bytes) > MAX_BYTES:
        raise UsageError(
            f"the FLOPs or bytes of an inference at batch size {batch} exceed 2^63 - 1", hint="Check the input shapes."
        )
    return BatchCost(
        batch=batch,
        flops=flops,
        moved_bytes=moved_bytes,
        min_bytes=weight_bytes_read + sum_bytes(inputs_and_outputs),
        memory_bytes=memory_bytes,
        flops_per_byte=flops / moved_bytes if moved_bytes else None,
    )


def count_unknown_values(dataflow: Dataflow, sizes: ValueSizes) -> int:
    """Return the number of activations whose size is unknown."""
    written_names = (name for step in dataflow.steps for name in dataflow.iterate_written_activations(step))
    return sum(sizes.compute_bytes(name) is None for name in (*dataflow.inputs, *written_names))


_INDEX_TYPES = frozenset({onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL})
_INTEGER_BIAS_INPUTS = {"DequantizeLinear": 0, "QGemm": 6, "QLinearConv": 8}
"""Index of the input that may be a bias stored as int32, by operator."""


TIED_EMBEDDING_KEY = "sizewise.tied_embedding"
"""Key in the metadata of a graph whose matrix of logits repeats the token embedding. The value is the
name of the embedding, whose parameters must be counted once."""


def count_parameters(dataflow: Dataflow, sizes: ValueSizes, metadata: Mapping[str, str] | None = None) -> Parameters:
    """Return the number of parameters and bytes of the weights of a graph. Constants of formulas,
    such as a scale, a shape or an index, are no parameters, and those of a token embedding that the
    graph repeats are counted once. `metadata` is that of the graph, without which it repeats none."""
    bytes_by_dtype: Counter[str] = Counter()
    count = 0
    packed_counts = count_packed_parameters(dataflow.steps, sizes.compute_bytes)
    biases = {
        step.node.input[index]
        for step in dataflow.steps
        if (index := _INTEGER_BIAS_INPUTS.get(step.node.op_type, len(step.node.input))) < len(step.node.input)
    }
    for name in dataflow.weights:
        packed_count = packed_counts.get(name)
        if packed_count is not None:
            count += packed_count
        elif name in biases or not _is_formula_constant(sizes.get_dtype(name), sizes.get_shape(name)):
            count += sizes.count_elements(name) or 0
        bytes_by_dtype[get_dtype_name(sizes.get_dtype(name) or 0)] += sizes.compute_bytes(name) or 0
    for tensor in (tensor for step in dataflow.steps for tensor in iterate_subgraph_tensors(step.node)):
        if not _is_formula_constant(tensor.data_type, tensor.dims):
            count += math.prod(tensor.dims)
        bytes_by_dtype[get_dtype_name(tensor.data_type)] += (
            compute_size_bytes(tensor.data_type, tuple(tensor.dims)) or 0
        )
    tied_embedding = (metadata or {}).get(TIED_EMBEDDING_KEY, "")
    if tied_embedding in dataflow.weights:
        count -= sizes.count_elements(tied_embedding) or 0
    return Parameters(count, bytes_by_dtype.total(), dict(bytes_by_dtype.most_common()))


def _is_formula_constant(dtype: int | None, shape: Sequence[int] | None) -> bool:
    """Return whether a constant is a single number without an axis, or has a type of shapes, indexes
    and conditions."""
    return dtype in _INDEX_TYPES or (shape is not None and not len(shape))


def fit_growth(points: Sequence[tuple[int, int]]) -> Growth | None:
    """Return the line through all (batch, value) points; `None` if there are fewer than two points
    or they are not collinear."""
    if len(points) < 2:
        return None
    (first_batch, first_value), (second_batch, second_value) = points[:2]
    slope, remainder = divmod(second_value - first_value, second_batch - first_batch)
    intercept = first_value - slope * first_batch
    if remainder or any(value != intercept + slope * batch for batch, value in points):
        return None
    return Growth(intercept, slope)
