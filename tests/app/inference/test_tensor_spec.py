from __future__ import annotations

from app.inference.tensor_spec import printable


def test_control_characters_of_tensor_names_are_replaced() -> None:
    assert printable("a\x1b[2J\r\nb") == "a�[2J��b"
    assert printable("conv1/Größe × 2") == "conv1/Größe × 2"


def test_long_tensor_names_are_truncated() -> None:
    assert printable("a" * 120) == "a" * 120
    assert printable("a" * 10_000) == "a" * 99 + "… (10,000 characters)"
