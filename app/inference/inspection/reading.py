"""A model file as onnx's own records, without the weights that lie in other files.

Which node reads what another made: checked, and told without regard to where subgraphs stand.
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
"""What onnx defines and what ONNX Runtime is built with; operators of any other domain are code from elsewhere."""


def read_model(path: Path) -> onnx.ModelProto:
    """Raises UsageError for bytes that are no ONNX model."""
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except MemoryError:
        raise
    except Exception as error:  # protobuf's own, which only the protocols may name
        nested = "its graphs are nested too deep" if "Depth" in str(error) else "it is something else, or was cut short"
        raise UsageError(f"{path.name} is not a model that ONNX can read: {nested}") from error
    if not model.HasField("graph") or not model.ir_version:
        raise UsageError(f"{path.name} is not an ONNX model: it holds no graph")
    if not _is_text(model):
        raise UsageError(f"{path.name} is not a model that ONNX can read: it has names that are no text")
    return model


def _is_text(message: Any) -> bool:
    """Whether all strings are; the format's second version hands on those that are not UTF-8 as bytes."""
    if isinstance(message, onnx.TensorProto):  # whose other fields are large, and would be copied
        return isinstance(message.name, str) and all(map(_is_text, message.external_data))
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            is_text = all(isinstance(one, str) for one in _several(value))
        else:
            is_text = field.type != field.TYPE_MESSAGE or all(map(_is_text, _several(value)))
        if not is_text:
            return False
    return True


def _several(value: Any) -> Any:
    """The values of a field, whether it holds one or many."""
    return [value] if isinstance(value, str | bytes) or hasattr(value, "ListFields") else value


def check_versions(model: onnx.ModelProto, name: str) -> None:
    """Raises UsageError for a model that is newer than the installed onnx, or says twice what it is."""
    if model.ir_version > onnx.IR_VERSION:
        raise UsageError(
            f"{name} has IR version {model.ir_version}; this version of onnx knows up to {onnx.IR_VERSION}",
            hint="Export the model again for an older one, or install a newer onnx.",
        )
    domains = [opset.domain for opset in model.opset_import]
    if len(domains) != len(set(domains)) or not domains:
        raise UsageError(f"{name} does not say once for each domain which operators it means")
    known = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in STANDARD_DOMAINS and not 1 <= opset.version <= known:
            raise UsageError(
                f"{name} needs opset {opset.version}; this version of onnx knows 1 to {known}",
                hint="Export the model again with an opset in that range, or install a newer onnx.",
            )


def check_domains(model: onnx.ModelProto, domains: set[str], name: str) -> None:
    """Raises UsageError where one of the `domains` its nodes are of needs code that is not ONNX Runtime's own."""
    own = {function.domain for function in model.functions}
    for domain in sorted(domains - _KNOWN_DOMAINS - own):
        raise UsageError(
            f"{name} needs operators of domain {printable(domain)}, which Sizewise never loads",
            hint="Export the model with standard operators only.",
        )


_READS_NO_NAME = ""
"""An optional input or output that is left out."""


class Step(msgspec.Struct, frozen=True):
    """A node of the main graph. `reads` holds what its subgraphs take from around them, too."""

    node: onnx.NodeProto
    reads: tuple[str, ...]
    makes: tuple[str, ...]


def input_names(graph: onnx.GraphProto) -> list[str]:
    """Those a caller feeds: old files list the initializers among them."""
    stored = _stored_names(graph)
    return [value.name for value in graph.input if value.name not in stored]


def steps_of(graph: onnx.GraphProto) -> list[Step]:
    """In the order of the file. Raises UsageError for what is no graph: values made twice or by nobody, cycles."""
    _check(graph, frozenset())
    return [Step(node, tuple(dict.fromkeys(_reads(node))), _makes(node)) for node in graph.node]


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Of the graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for subgraph in _subgraphs(node):
            yield from all_nodes(subgraph)


def _check(graph: onnx.GraphProto, around: Set[str]) -> None:
    stored = [*(tensor.name for tensor in graph.initializer), *(one.values.name for one in graph.sparse_initializer)]
    _check_once(stored, "stored")
    _check_once([value.name for value in graph.input], "an input")
    made_anywhere = [name for node in graph.node for name in _makes(node)]
    _check_once([*made_anywhere, *_stored_names(graph).union(value.name for value in graph.input)], "made")
    later = set(made_anywhere)
    known = {*around, *stored, *(value.name for value in graph.input)}
    for node in graph.node:
        if not node.op_type:
            raise UsageError("the model's graph is wrong: a node has no operator")
        for name in node.input:
            _check_known(name, known, later, f"node {printable(node.name or node.op_type)!r}")
        for subgraph in _subgraphs(node):
            _check(subgraph, known)
        known.update(_makes(node))
    for output in graph.output:
        _check_known(output.name, known, later, "the graph's output")


def _check_once(names: list[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(f"the model's graph is wrong: {printable(name)!r} is {what} twice")
        seen.add(name)


def _check_known(name: str, known: Set[str], later: Set[str], reader: str) -> None:
    if name in known or name == _READS_NO_NAME:
        return
    shown = printable(name)
    if name in later:
        raise UsageError(f"the model's graph is wrong: {reader} reads {shown!r} before it is made, or in a cycle")
    raise UsageError(f"the model's graph is wrong: {reader} reads {shown!r}, which nothing makes")


def _stored_names(graph: onnx.GraphProto) -> set[str]:
    return {tensor.name for tensor in graph.initializer} | {one.values.name for one in graph.sparse_initializer}


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from filter(None, node.input)
    for subgraph in _subgraphs(node):
        yield from _taken_from_around(subgraph)


def _taken_from_around(graph: onnx.GraphProto) -> Iterator[str]:
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
