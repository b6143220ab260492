"""How many equal steps of continuous batching fit a time, compiled; each is `growth_s` longer than the one before."""

from __future__ import annotations

import math

from app.planning.simulation.compiled import inlined


@inlined
def steps_last_s(steps: int, a_step_s: float, growth_s: float) -> float:
    return steps * a_step_s + growth_s * (steps * (steps - 1) // 2)


@inlined
def whole_steps(wait_s: float, a_step_s: float, growth_s: float, most: int) -> int:
    """The most steps, up to `most`, that end within `wait_s`."""
    if steps_last_s(most, a_step_s, growth_s) <= wait_s:
        return most
    if growth_s > 0:
        half_s = a_step_s - growth_s / 2
        about = (math.sqrt(half_s * half_s + 2 * growth_s * max(wait_s, 0.0)) - half_s) / growth_s
    else:
        about = max(wait_s, 0.0) / a_step_s
    steps = min(int(about), most)
    while steps > 0 and steps_last_s(steps, a_step_s, growth_s) > wait_s:
        steps -= 1
    while steps < most and steps_last_s(steps + 1, a_step_s, growth_s) <= wait_s:
        steps += 1
    return steps


@inlined
def steps_until(wait_s: float, a_step_s: float, growth_s: float, most: int) -> int:
    """The fewest steps, at least 1 and at most `most`, that last `wait_s`."""
    steps = whole_steps(wait_s, a_step_s, growth_s, most)
    if steps < most and (steps == 0 or steps_last_s(steps, a_step_s, growth_s) < wait_s):
        steps += 1
    return steps
