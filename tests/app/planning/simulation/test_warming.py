from __future__ import annotations

from app.planning.simulation import arrivals, replica_kernels, serving, token_kernel
from app.planning.simulation.warming import compile_all


def test_what_a_plan_calls_is_compiled_then() -> None:
    compile_all()
    of_fleets = (arrivals._spend, serving._serve, serving._settle, serving._fail)
    of_replicas = (replica_kernels.play_requests, replica_kernels.play_batches, token_kernel.play_tokens)
    for kernel in (*of_fleets, *of_replicas):
        assert kernel.signatures  # type: ignore[attr-defined]
