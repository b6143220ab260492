from __future__ import annotations

from typing import Any

import pytest
from onnx import helper

from app.inference.inspection.multiply_adds import multiply_adds

Shapes = dict[str, tuple[int, ...]]


@pytest.mark.parametrize(
    ("operator", "shapes", "attributes", "expected"),
    [
        ("Conv", {"a": (1, 3, 8, 8), "b": (16, 3, 3, 3), "y": (1, 16, 6, 6)}, {}, 16 * 36 * 27),
        ("Conv", {"a": (2, 8, 8, 8), "b": (8, 1, 3, 3), "y": (2, 8, 8, 8)}, {"group": 8}, 2 * 8 * 64 * 9),
        ("ConvTranspose", {"a": (1, 4, 5, 5), "b": (4, 2, 3, 3), "y": (1, 2, 7, 7)}, {}, 100 * 18),
        ("Gemm", {"a": (7, 5), "b": (5, 3), "y": (7, 3)}, {}, 7 * 5 * 3),
        ("Gemm", {"a": (5, 7), "b": (5, 3), "y": (7, 3)}, {"transA": 1}, 7 * 5 * 3),
        ("MatMul", {"a": (2, 4, 6, 8), "b": (8, 3), "y": (2, 4, 6, 3)}, {}, 2 * 4 * 6 * 8 * 3),
        ("MatMul", {"a": (8,), "b": (8,), "y": ()}, {}, 8),
        ("Einsum", {"a": (2, 3, 4), "b": (2, 4, 5), "y": (2, 3, 5)}, {"equation": "bij,bjk->bik"}, 2 * 3 * 4 * 5),
        ("LSTM", {"a": (10, 2, 6), "b": (1, 20, 6), "c": (1, 20, 5), "y": (10, 1, 2, 5)}, {}, 20 * (120 + 100)),
        ("Relu", {"a": (9, 9), "y": (9, 9)}, {}, 0),
    ],
)
def test_by_hand(operator: str, shapes: Shapes, attributes: dict[str, Any], expected: int) -> None:
    inputs = [name for name in shapes if name != "y"]
    assert multiply_adds(helper.make_node(operator, inputs, ["y"], **attributes), shapes.get) == expected


def test_quantised_weights_stand_elsewhere_among_the_inputs() -> None:
    inputs = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
    shapes: Shapes = {"x": (1, 3, 8, 8), "w": (16, 3, 3, 3), "y": (1, 16, 6, 6)}
    assert multiply_adds(helper.make_node("QLinearConv", inputs, ["y"]), shapes.get) == 16 * 36 * 27
    shapes = {"x": (4, 6), "w": (6, 2), "y": (4, 2)}
    assert multiply_adds(helper.make_node("QLinearMatMul", inputs, ["y"]), shapes.get) == 4 * 6 * 2


@pytest.mark.parametrize(
    ("operator", "domain", "shapes"),
    [
        ("MatMul", "", {"a": (4, 4)}),
        ("Gemm", "", {"a": (4,), "b": (4,), "y": (4, 4)}),
        ("Einsum", "", {"a": (4, 4), "b": (4, 4), "y": (4, 4)}),
        ("Loop", "", {"a": (), "b": (), "y": ()}),
        ("NoSuchOperator", "", {"a": (1,), "b": (1,), "y": (1,)}),
        ("MatMul", "com.microsoft", {"a": (4, 4), "b": (4, 4), "y": (4, 4)}),
    ],
)
def test_what_no_rule_tells_is_none(operator: str, domain: str, shapes: Shapes) -> None:
    assert multiply_adds(helper.make_node(operator, ["a", "b"], ["y"], domain=domain), shapes.get) is None
