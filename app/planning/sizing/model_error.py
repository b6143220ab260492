"""Distribution of the errors of service models, in standard deviations of the log of a rate.

It is Student's t distribution with 4 degrees of freedom, scaled so that its P10 and P90 are those of
the standard normal distribution. Errors have heavier tails than the normal distribution: of plans
whose probability would be over 99 % by it, about 95 % meet their SLO.
"""

from __future__ import annotations

import math

Z80 = 1.281552
"""Half the width of the interval from P10 to P90, in standard deviations."""
DEGREES_OF_FREEDOM = 4.0
"""A low number, so that measurements can overrule a model."""
SCALE = Z80 / 1.533206
"""Scale of the t distribution; with a scale of 1, its P90 is 1.533206."""


def compute_cumulative_probability(z: float) -> float:
    """Return the probability that an error is at most `z` standard deviations, by the closed form of
    the t distribution with 4 degrees of freedom."""
    x = z / SCALE
    share = x * x / (4 + x * x)
    return 0.5 + math.copysign(math.sqrt(share) * (3 - share) / 4, x)


def compute_quantile(probability: float) -> float:
    """Return the error, in standard deviations, that is not exceeded with `probability`, which is
    between 0 and 1 (Shaw, Sampling Student's T distribution, Journal of Computational Finance 9(4),
    2006)."""
    root = 2 * math.sqrt(probability * (1 - probability))
    x = 2 * math.sqrt(max(0.0, math.cos(math.acos(root) / 3) / root - 1))
    return math.copysign(x, probability - 0.5) * SCALE
