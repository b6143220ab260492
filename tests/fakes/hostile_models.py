"""Models that attack their reader, none of them large on disk. Each maker writes into an empty folder.

`REFUSED` maps each maker to a pattern of the error message."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SECRET = b"root:x:0:0:secret:/root:/bin/sh\n" * 4
"""Content of a file outside the model's folder that must not be read: 128 bytes."""

Maker = Callable[[Path], Path]


def _model(folder: Path, graph: Any, **changes: Any) -> Path:
    opsets = changes.pop("opset_imports", [helper.make_opsetid("", 17)])
    model = helper.make_model(graph, opset_imports=opsets, **{"ir_version": 8, **changes})
    return _written(folder, model.SerializeToString())


def _written(folder: Path, content: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


def _value(name: str, shape: list[int | str], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _graph(nodes: list[Any], stored: Any = (), shape: list[int | str] | None = None) -> Any:
    shape = shape or ["batch", 32]
    return helper.make_graph(nodes, "g", [_value("x", shape)], [_value("y", shape)], list(stored))


def _adding(folder: Path, tensor: TensorProto) -> Path:
    return _model(folder, _graph([helper.make_node("Add", ["x", tensor.name], ["y"])], [tensor]))


def weights_at(folder: Path, location: str, length: int = 128, **entries: str) -> Path:
    """A model whose only weights, 32 floats, are in the file at `location`."""
    tensor = TensorProto(name="w", dims=[32], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": str(length), **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return _adding(folder, tensor)


def _outside(folder: Path) -> Path:
    secret = folder.parent / f"{folder.name}-secret"
    secret.write_bytes(SECRET)
    return secret


def in_the_parent_folder(folder: Path) -> Path:
    return weights_at(folder, f"../{_outside(folder).name}")


def down_and_up(folder: Path) -> Path:
    (folder / "sub").mkdir()
    return weights_at(folder, f"sub/../../{_outside(folder).name}")


def at_an_absolute_path(folder: Path) -> Path:
    return weights_at(folder, str(_outside(folder)))


def at_a_windows_path(folder: Path) -> Path:
    return weights_at(folder, "C:\\Windows\\win.ini")


def by_a_symbolic_link(folder: Path) -> Path:
    (folder / "w.bin").symlink_to(_outside(folder))
    return weights_at(folder, "w.bin")


def by_a_linked_folder(folder: Path) -> Path:
    (folder / "sub").symlink_to(folder.parent)
    return weights_at(folder, f"sub/{_outside(folder).name}")


def by_a_hard_link(folder: Path) -> Path:
    os.link(_outside(folder), folder / "w.bin")
    return weights_at(folder, "w.bin")


def in_a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "w.bin")
    return weights_at(folder, "w.bin")


def in_memory(folder: Path) -> Path:
    """The location that ONNX Runtime reads as an address in its own process."""
    return weights_at(folder, "*/_ORT_MEM_ADDR_/*", offset="4096")


def beyond_the_file(folder: Path) -> Path:
    (folder / "w.bin").write_bytes(bytes(128))
    return weights_at(folder, "w.bin", offset="64")


def of_another_length(folder: Path) -> Path:
    (folder / "w.bin").write_bytes(bytes(4096))
    return weights_at(folder, "w.bin", length=4096)


def at_a_negative_offset(folder: Path) -> Path:
    (folder / "w.bin").write_bytes(bytes(128))
    return weights_at(folder, "w.bin", offset="-64")


def hidden_in_a_branch(folder: Path) -> Path:
    """The file is named by a constant inside an If."""
    tensor = TensorProto(name="w", dims=[32], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=f"../{_outside(folder).name}")
    branch = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "b", [], [_value("c", [32])])
    always = numpy_helper.from_array(np.array(True), "always")
    node = helper.make_node("If", ["always"], ["y"], then_branch=branch, else_branch=branch)
    return _model(folder, _graph([node], [always]))


def a_terabyte_of_weights(folder: Path) -> Path:
    return _adding(folder, TensorProto(name="w", dims=[2**19, 2**19], data_type=TensorProto.FLOAT))


def overflowing_weights(folder: Path) -> Path:
    """2^64 elements: 0 in 64-bit arithmetic."""
    return _adding(folder, TensorProto(name="w", dims=[2**32, 2**32], data_type=TensorProto.FLOAT))


def negative_weights(folder: Path) -> Path:
    return _adding(folder, TensorProto(name="w", dims=[-4, -8], data_type=TensorProto.FLOAT))


def overflowing_input(folder: Path) -> Path:
    return _model(folder, _graph([helper.make_node("Relu", ["x"], ["y"])], shape=[2**40, 2**40]))


def endless_growth(folder: Path) -> Path:
    """Each of 58 nodes doubles the first axis. Its final length fits into 64 bits; the number of bytes does not."""
    names = ["x", *(f"v{i}" for i in range(57)), "y"]
    nodes = [helper.make_node("Concat", [a, a], [b], axis=0) for a, b in pairwise(names)]
    return _model(folder, _graph(nodes))


def a_crowd_of_nodes(folder: Path) -> Path:
    """200,000 empty nodes, in 400 kB."""
    empty_nodes = b"\x0a\x00" * 200_000
    content = _model(folder, _graph([helper.make_node("Relu", ["x"], ["y"])])).read_bytes()
    return _written(folder, content + _field(7, empty_nodes))


def nested(folder: Path, depth: int = 400) -> Path:
    """Nested If nodes, deeper than onnx's own helpers support."""
    graph = b""
    for _ in range(depth):
        branch = _field(1, b"then_branch") + _field(6, graph)
        graph = _field(1, _field(2, b"y") + _field(4, b"If") + _field(5, branch))
    content = _model(folder, _graph([helper.make_node("Relu", ["x"], ["y"])])).read_bytes()
    return _written(folder, content + _field(7, graph))


def _field(number: int, content: bytes) -> bytes:
    """A field in protobuf's wire format. Readers merge a message that occurs twice."""
    length, size = b"", len(content)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def laughing_functions(folder: Path) -> Path:
    """Thirty functions that each call the previous one twice: 2^30 nodes."""
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "f0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opset)]
    for i in range(1, 31):
        calls = [helper.make_node(f"f{i - 1}", [a], [b], domain="own") for a, b in (("a", "m"), ("m", "b"))]
        functions.append(helper.make_function("own", f"f{i}", ["a"], ["b"], calls, opset))
    graph = _graph([helper.make_node("f30", ["x"], ["y"], domain="own")])
    return _model(folder, graph, opset_imports=opset, functions=functions)


def a_function_of_itself(folder: Path) -> Path:
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    call = helper.make_node("f", ["a"], ["b"], domain="own")
    functions = [helper.make_function("own", "f", ["a"], ["b"], [call], opset)]
    graph = _graph([helper.make_node("f", ["x"], ["y"], domain="own")])
    return _model(folder, graph, opset_imports=opset, functions=functions)


def cut_short(folder: Path) -> Path:
    path = _adding(folder, numpy_helper.from_array(np.ones(32, np.float32), "w"))
    path.write_bytes(path.read_bytes()[:-30])
    return path


def no_protobuf(folder: Path) -> Path:
    return _written(folder, b"<!DOCTYPE html><title>404</title>")


def empty(folder: Path) -> Path:
    return _written(folder, b"")


def a_folder(folder: Path) -> Path:
    (folder / "model.onnx").mkdir()
    return folder / "model.onnx"


def no_graph(folder: Path) -> Path:
    return _written(folder, b"\x08\x08")


def a_cycle(folder: Path) -> Path:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    return _model(folder, _graph([*nodes, helper.make_node("Relu", ["b"], ["y"])]))


def made_twice(folder: Path) -> Path:
    return _model(folder, _graph([helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["y"])]))


def made_by_nobody(folder: Path) -> Path:
    return _model(folder, _graph([helper.make_node("Add", ["x", "nowhere"], ["y"])]))


def foreign_operators(folder: Path) -> Path:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("evil.example", 1)]
    return _model(folder, _graph([helper.make_node("Run", ["x"], ["y"], domain="evil.example")]), opset_imports=opsets)


def opset_of_tomorrow(folder: Path) -> Path:
    graph = _graph([helper.make_node("Relu", ["x"], ["y"])])
    return _model(folder, graph, opset_imports=[helper.make_opsetid("", 2**40)])


def format_of_tomorrow(folder: Path) -> Path:
    return _model(folder, _graph([helper.make_node("Relu", ["x"], ["y"])]), ir_version=2**40)


def shapes_at_odds(folder: Path) -> Path:
    """Not refused: everything except the conflicting shapes is reported."""
    weights = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    return _model(folder, _graph([helper.make_node("MatMul", ["x", "w"], ["y"])], [weights]))


def escapes_in_names(folder: Path) -> Path:
    """A name that clears the screen of a terminal that prints it unescaped."""
    return _model(folder, _graph([helper.make_node("Add", ["x", "\x1b[2Jgone"], ["y"])]))


def names_that_are_no_text(folder: Path) -> Path:
    path = _model(folder, _graph([helper.make_node("Relu", ["x"], ["y"], name="AAAA")]))
    path.write_bytes(path.read_bytes().replace(b"AAAA", b"\xff\xfe\xff\xfe"))
    return path


def at_a_path_that_is_no_text(folder: Path) -> Path:
    (folder / "AAAA").write_bytes(bytes(128))
    path = weights_at(folder, "AAAA")
    path.write_bytes(path.read_bytes().replace(b"AAAA", b"\xff\xfe\xff\xfe"))
    return path


OUTSIDE: dict[Maker, str] = {
    in_the_parent_folder: "outside the model's folder",
    down_and_up: "outside the model's folder",
    at_an_absolute_path: "an absolute path",
    at_a_windows_path: "an absolute path",
    by_a_symbolic_link: "a symbolic link to a file outside the model's folder",
    by_a_linked_folder: "a symbolic link to a file outside the model's folder",
    by_a_hard_link: "several hard links",
    in_a_pipe: "not a regular file",
    in_memory: "cannot be read",
    beyond_the_file: "extends beyond the end of w.bin",
    of_another_length: "declares 128 bytes, but its file entry has 4096",
    at_a_negative_offset: "has an invalid offset '-64' for its file",
    hidden_in_a_branch: "outside the model's folder",
    at_a_path_that_is_no_text: "names that are not valid UTF-8",
}
"""Models with weights at locations that must not be read."""

REFUSED: dict[Maker, str] = {
    **OUTSIDE,
    a_terabyte_of_weights: "declares 1099511627776 bytes but contains fewer",
    overflowing_weights: "too large",
    negative_weights: "an axis of negative length",
    overflowing_input: "too large",
    endless_growth: "too large",
    a_crowd_of_nodes: "a node has no operator",
    nested: "nested too deep",
    laughing_functions: "used more CPU time than expected from the size of the file",
    a_function_of_itself: "functions are invalid",
    cut_short: "the file has another format or is truncated",
    no_protobuf: "not a valid ONNX model",
    empty: "is empty",
    a_folder: "is not a file",
    no_graph: "it has no graph",
    a_cycle: "before it is computed, or in a cycle",
    made_twice: "'y' is computed twice",
    made_by_nobody: "'nowhere', which no node computes",
    foreign_operators: "needs operators of domain evil.example, which Sizewise does not load",
    opset_of_tomorrow: "needs opset 1099511627776",
    format_of_tomorrow: "has IR version 1099511627776",
    names_that_are_no_text: "names that are not valid UTF-8",
    escapes_in_names: "'�\\[2Jgone', which no node computes",
}
