"""Which node reads what another made: checked, and told without regard to where subgraphs stand."""

from __future__ import annotations

from collections.abc import Iterator, Set

import msgspec
import onnx

from app.errors import UsageError
from app.inference.printable import printable

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
