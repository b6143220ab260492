"""Read a model file as protobuf messages, without external weights. Also build and validate the
list of steps of the main graph, including the values that subgraphs use."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import msgspec
import onnx

from app.errors import UsageError
from app.inference.tensor_spec import printable
from loadgen.regular_files import open_regular

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_SUPPORTED_DOMAINS = STANDARD_DOMAINS | {
    "ai.onnx.ml",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
}
"""Operator domains defined by ONNX or built into ONNX Runtime. Operators of other domains need
third-party code."""
_EXPORT_HINT = "Export the model again."


def read_model(path: Path) -> onnx.ModelProto:
    """Read a model file. Raises UsageError if the file is not an ONNX model."""
    try:
        with open_regular(path) as file:
            model = onnx.load_model_from_string(file.read())
    except MemoryError:
        raise
    except Exception as error:  # A protobuf error; its module must not be imported here.
        reason = (
            "the graphs are nested too deeply"
            if "Depth" in str(error)
            else "the file has another format or is truncated"
        )
        raise UsageError(f"{path.name} is not a valid ONNX model: {reason}", hint=_EXPORT_HINT) from error
    if not model.HasField("graph") or not model.ir_version:
        raise UsageError(f"{path.name} is not a valid ONNX model: it has no graph", hint=_EXPORT_HINT)
    if not _has_valid_strings(model):
        raise UsageError(
            f"{path.name} is not a valid ONNX model: it has names that are not valid UTF-8", hint=_EXPORT_HINT
        )
    return model


def _has_valid_strings(message: Any) -> bool:
    """Return True if all strings of a protobuf message are valid UTF-8. proto2 returns invalid
    strings as bytes."""
    if isinstance(message, onnx.TensorProto):  # The remaining fields are large and would be copied.
        return isinstance(message.name, str) and all(map(_has_valid_strings, message.external_data))
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            is_valid = all(isinstance(item, str) for item in _as_sequence(value))
        else:
            is_valid = field.type != field.TYPE_MESSAGE or all(map(_has_valid_strings, _as_sequence(value)))
        if not is_valid:
            return False
    return True


def _as_sequence(value: Any) -> Any:
    """Return the value of a protobuf field as a sequence, even if the field is not repeated."""
    return [value] if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value


def check_versions(model: onnx.ModelProto, name: str) -> None:
    """Raise UsageError if a model needs a newer version of the `onnx` package than installed, or
    has duplicate opset declarations."""
    if model.ir_version > onnx.IR_VERSION:
        raise UsageError(
            f"{name} has IR version {model.ir_version}, but the installed onnx supports up to {onnx.IR_VERSION}",
            hint="Export the model with an older IR version, or install a newer onnx.",
        )
    domains = [opset.domain for opset in model.opset_import]
    if len(domains) != len(set(domains)) or not domains:
        raise UsageError(f"{name} does not declare exactly one opset per operator domain", hint=_EXPORT_HINT)
    max_opset = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in STANDARD_DOMAINS and not 1 <= opset.version <= max_opset:
            raise UsageError(
                f"{name} needs opset {opset.version}, but the installed onnx supports 1 to {max_opset}",
                hint="Export the model with an opset in that range, or install a newer onnx.",
            )


def check_domains(model: onnx.ModelProto, domains: set[str], name: str) -> None:
    """Raise UsageError if a node of the model uses an operator domain that needs third-party
    code."""
    function_domains = {function.domain for function in model.functions}
    for domain in sorted(domains - _SUPPORTED_DOMAINS - function_domains):
        raise UsageError(
            f"{name} needs operators of domain {printable(domain)}, which Sizewise does not load",
            hint="Export the model with standard operators only.",
        )


_OMITTED_NAME = ""
"""Name that marks an optional input or output as omitted."""


class Step(msgspec.Struct, frozen=True):
    """A node of the main graph. `reads` includes the values of the main graph that the node's
    subgraphs use."""

    node: onnx.NodeProto
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def read_properties(model: onnx.ModelProto) -> dict[str, str]:
    """Return the metadata of a model as printable strings, such as what its exporter states about it."""
    return {entry.key: printable(entry.value) for entry in model.metadata_props}


def list_input_names(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the inputs that a caller must feed. Initializers are excluded, which old
    files also list as inputs."""
    stored_names = _get_stored_names(graph)
    return [value.name for value in graph.input if value.name not in stored_names]


def build_steps(graph: onnx.GraphProto) -> list[Step]:
    """Return one step per node of the graph, in file order. Raises UsageError for an invalid graph
    (duplicate or missing values, cycles)."""
    _check_graph(graph, frozenset())
    return [
        Step(node, tuple(dict.fromkeys(_iterate_node_inputs(node))), _get_node_outputs(node)) for node in graph.node
    ]


def iterate_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and its subgraphs."""
    for node in graph.node:
        yield node
        for subgraph in _iterate_subgraphs(node):
            yield from iterate_nodes(subgraph)


def _check_graph(graph: onnx.GraphProto, outer_names: Set[str]) -> None:
    stored_names = [
        *(tensor.name for tensor in graph.initializer),
        *(sparse_tensor.values.name for sparse_tensor in graph.sparse_initializer),
    ]
    _require_unique(stored_names, "stored")
    _require_unique([value.name for value in graph.input], "an input")
    all_output_names = [name for node in graph.node for name in _get_node_outputs(node)]
    _require_unique(
        [*all_output_names, *_get_stored_names(graph).union(value.name for value in graph.input)], "computed"
    )
    later_names = set(all_output_names)
    defined_names = {*outer_names, *stored_names, *(value.name for value in graph.input)}
    for node in graph.node:
        if not node.op_type:
            raise UsageError("the model's graph is invalid: a node has no operator", hint=_EXPORT_HINT)
        for name in node.input:
            _require_defined(name, defined_names, later_names, f"node {printable(node.name or node.op_type)!r}")
        for subgraph in _iterate_subgraphs(node):
            _check_graph(subgraph, defined_names)
        defined_names.update(_get_node_outputs(node))
    for output in graph.output:
        _require_defined(output.name, defined_names, later_names, "the graph's output")


def _require_unique(names: list[str], role: str) -> None:
    unique_names: set[str] = set()
    for name in names:
        if name in unique_names:
            raise UsageError(f"the model's graph is invalid: {printable(name)!r} is {role} twice", hint=_EXPORT_HINT)
        unique_names.add(name)


def _require_defined(name: str, defined_names: Set[str], later_names: Set[str], reader: str) -> None:
    if name in defined_names or name == _OMITTED_NAME:
        return
    display_name = printable(name)
    if name in later_names:
        raise UsageError(
            f"the model's graph is invalid: {reader} reads {display_name!r} before it is computed, or in a cycle",
            hint=_EXPORT_HINT,
        )
    raise UsageError(
        f"the model's graph is invalid: {reader} reads {display_name!r}, which no node computes", hint=_EXPORT_HINT
    )


def _get_stored_names(graph: onnx.GraphProto) -> set[str]:
    return {tensor.name for tensor in graph.initializer} | {
        sparse_tensor.values.name for sparse_tensor in graph.sparse_initializer
    }


def _iterate_node_inputs(node: onnx.NodeProto) -> Iterator[str]:
    yield from filter(None, node.input)
    for subgraph in _iterate_subgraphs(node):
        yield from _find_outer_reads(subgraph)


def _find_outer_reads(graph: onnx.GraphProto) -> Iterator[str]:
    own_names = _get_stored_names(graph).union(value.name for value in graph.input)
    own_names.update(name for node in graph.node for name in _get_node_outputs(node))
    for node in graph.node:
        yield from (name for name in _iterate_node_inputs(node) if name not in own_names)
    yield from (value.name for value in graph.output if value.name not in own_names)


def _get_node_outputs(node: onnx.NodeProto) -> tuple[str, ...]:
    return tuple(filter(None, node.output))


def _iterate_subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
