"""Reads a model file as onnx records, without weights in other files.

Also determines which node reads the output of which, including subgraphs, and checks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import msgspec
import onnx

from app.errors import UsageError
from app.inference.tensor_spec import printable

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
_KNOWN_DOMAINS = STANDARD_DOMAINS | {
    "ai.onnx.ml",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
}
"""Domains that onnx defines or ONNX Runtime is built with; operators of any other domain need third-party code."""


def read_model(path: Path) -> onnx.ModelProto:
    """Read a model file. Raises UsageError if it is not an ONNX model."""
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except MemoryError:
        raise
    except Exception as error:  # A protobuf error, whose module only the protocols may import.
        nested = (
            "its graphs are nested too deeply"
            if "Depth" in str(error)
            else "it is another kind of file or is truncated"
        )
        raise UsageError(f"{path.name} is not a valid ONNX model: {nested}") from error
    if not model.HasField("graph") or not model.ir_version:
        raise UsageError(f"{path.name} is not a valid ONNX model: it has no graph")
    if not _is_text(model):
        raise UsageError(f"{path.name} is not a valid ONNX model: it has names that are not text")
    return model


def _is_text(message: Any) -> bool:
    """Return whether all strings of a message are text.

    proto2 returns strings that are not UTF-8 as bytes.
    """
    if isinstance(message, onnx.TensorProto):  # The other fields are large and would be copied.
        return isinstance(message.name, str) and all(map(_is_text, message.external_data))
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            is_text = all(isinstance(item, str) for item in _as_sequence(value))
        else:
            is_text = field.type != field.TYPE_MESSAGE or all(map(_is_text, _as_sequence(value)))
        if not is_text:
            return False
    return True


def _as_sequence(value: Any) -> Any:
    """Return the values of a field as a sequence, whether it is repeated or not."""
    return [value] if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value


def check_versions(model: onnx.ModelProto, name: str) -> None:
    """Raise UsageError for a model newer than the installed onnx, or with duplicate opset declarations."""
    if model.ir_version > onnx.IR_VERSION:
        raise UsageError(
            f"{name} has IR version {model.ir_version}, but the installed onnx supports up to {onnx.IR_VERSION}",
            hint="Export the model with an older IR version, or install a newer onnx.",
        )
    domains = [opset.domain for opset in model.opset_import]
    if len(domains) != len(set(domains)) or not domains:
        raise UsageError(f"{name} does not declare exactly one opset per operator domain")
    max_opset = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in STANDARD_DOMAINS and not 1 <= opset.version <= max_opset:
            raise UsageError(
                f"{name} needs opset {opset.version}, but the installed onnx supports 1 to {max_opset}",
                hint="Export the model with an opset in that range, or install a newer onnx.",
            )


def check_domains(model: onnx.ModelProto, domains: set[str], name: str) -> None:
    """Raise UsageError if a domain of the model's nodes needs code that is not part of ONNX Runtime."""
    own = {function.domain for function in model.functions}
    for domain in sorted(domains - _KNOWN_DOMAINS - own):
        raise UsageError(
            f"{name} needs operators of domain {printable(domain)}, which Sizewise does not load",
            hint="Export the model with standard operators only.",
        )


_OMITTED_NAME = ""
"""Name of an optional input or output that is omitted."""


class Step(msgspec.Struct, frozen=True):
    """A node of the main graph. `reads` includes the outer values that its subgraphs use."""

    node: onnx.NodeProto
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def input_names(graph: onnx.GraphProto) -> list[str]:
    """Return the inputs that a caller must feed. Old files list the initializers among the inputs."""
    stored = _stored_names(graph)
    return [value.name for value in graph.input if value.name not in stored]


def build_steps(graph: onnx.GraphProto) -> list[Step]:
    """Return the steps in the order of the file.

    Raises UsageError for an invalid graph: duplicate or missing values, or cycles.
    """
    _check(graph, frozenset())
    return [Step(node, tuple(dict.fromkeys(_reads(node))), _makes(node)) for node in graph.node]


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of the graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for subgraph in _subgraphs(node):
            yield from all_nodes(subgraph)


def _check(graph: onnx.GraphProto, outer_names: Set[str]) -> None:
    stored = [
        *(tensor.name for tensor in graph.initializer),
        *(sparse.values.name for sparse in graph.sparse_initializer),
    ]
    _check_once(stored, "stored")
    _check_once([value.name for value in graph.input], "an input")
    all_outputs = [name for node in graph.node for name in _makes(node)]
    _check_once([*all_outputs, *_stored_names(graph).union(value.name for value in graph.input)], "made")
    defined_later = set(all_outputs)
    defined = {*outer_names, *stored, *(value.name for value in graph.input)}
    for node in graph.node:
        if not node.op_type:
            raise UsageError("the model's graph is invalid: a node has no operator")
        for name in node.input:
            _check_known(name, defined, defined_later, f"node {printable(node.name or node.op_type)!r}")
        for subgraph in _subgraphs(node):
            _check(subgraph, defined)
        defined.update(_makes(node))
    for output in graph.output:
        _check_known(output.name, defined, defined_later, "the graph's output")


def _check_once(names: list[str], role: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(f"the model's graph is invalid: {printable(name)!r} is {role} twice")
        seen.add(name)


def _check_known(name: str, defined: Set[str], defined_later: Set[str], reader: str) -> None:
    if name in defined or name == _OMITTED_NAME:
        return
    display_name = printable(name)
    if name in defined_later:
        raise UsageError(
            f"the model's graph is invalid: {reader} reads {display_name!r} before it is computed, or in a cycle"
        )
    raise UsageError(f"the model's graph is invalid: {reader} reads {display_name!r}, which no node computes")


def _stored_names(graph: onnx.GraphProto) -> set[str]:
    return {tensor.name for tensor in graph.initializer} | {sparse.values.name for sparse in graph.sparse_initializer}


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from filter(None, node.input)
    for subgraph in _subgraphs(node):
        yield from _outer_reads(subgraph)


def _outer_reads(graph: onnx.GraphProto) -> Iterator[str]:
    own = _stored_names(graph).union(value.name for value in graph.input)
    own.update(name for node in graph.node for name in _makes(node))
    for node in graph.node:
        yield from (name for name in _reads(node) if name not in own)
    yield from (value.name for value in graph.output if value.name not in own)


def _makes(node: onnx.NodeProto) -> tuple[str, ...]:
    return tuple(filter(None, node.output))


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
