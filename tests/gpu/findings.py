"""Findings of the tests about this GPU, as a table for docs/gpu.md."""

from __future__ import annotations

from app.records.result import Gpu


class Findings:
    """Findings that tests add; n/a is a finding, too."""

    def __init__(self, card: Gpu) -> None:
        self._card = card
        self._rows: list[tuple[str, str]] = []

    def add(self, name: str, value: str | None) -> None:
        self._rows.append((name, value or "n/a"))

    def markdown(self) -> str:
        card = self._card
        memory = "" if card.memory_gib is None else f", {card.memory_gib:.0f} GiB"
        head = f"## {card.name}{memory}, driver {card.driver or 'n/a'}, CUDA {card.cuda_driver or 'n/a'}"
        rows = [f"| {name} | {value} |" for name, value in self._rows]
        return "\n".join([head, "", "| what | seen |", "|---|---|", *rows, ""])
