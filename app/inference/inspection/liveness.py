"""How much memory the activations of one inference need at once."""

from __future__ import annotations

from collections.abc import Callable

from app.inference.inspection.dataflow import Dataflow, is_view


def peak_activation_bytes(flow: Dataflow, bytes_of: Callable[[str], int]) -> int:
    """The most that is held at once when the steps run in order and a value goes after its last reader.

    Inputs stay, since the caller holds them; outputs stay. No buffer is written in place, so a runtime may need less;
    what libraries take for themselves (contexts, work space, unused room) comes on top.
    """
    storage = _storage(flow)
    last_use = {storage.get(name, name): number for number, step in enumerate(flow.steps) for name in step.reads}
    held_to_the_end = {storage.get(name, name) for name in (*flow.inputs, *flow.outputs)}
    held = {name: bytes_of(name) for name in flow.inputs}
    now = peak = sum(held.values())
    leaving: dict[int, list[str]] = {}
    for number, step in enumerate(flow.steps):
        for name in flow.content_made(step):
            held[name] = bytes_of(name)
            now += held[name]
            if name not in held_to_the_end:
                leaving.setdefault(last_use.get(name, number), []).append(name)
        peak = max(peak, now)
        now -= sum(held[name] for name in leaving.pop(number, ()))
    return peak


def _storage(flow: Dataflow) -> dict[str, str]:
    """The value whose bytes each view shows."""
    storage: dict[str, str] = {}
    for step in flow.steps:
        if is_view(step):
            shown = storage.get(step.reads[0], step.reads[0])
            storage.update(dict.fromkeys(step.makes, shown))
    return storage
