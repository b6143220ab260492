from __future__ import annotations

from app.planning.simulation import routing, serving, token_kernel
from app.planning.simulation.warming import compile_all


def test_what_a_plan_calls_is_compiled_then() -> None:
    compile_all()
    for kernel in (serving._serve, serving._settle, serving._fail, routing.advance_replica, token_kernel.play_tokens):
        assert kernel.signatures  # type: ignore[attr-defined]
