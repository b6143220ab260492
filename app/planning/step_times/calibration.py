"""Correct predictions of a server by a few loads that were measured on it.

The logarithm of measured / predicted differs little along a curve of one server, far less than between servers. Before
any measurement, it has the standard deviation of the interval of each load. The errors of two loads of one server are
taken to be normal, with a correlation that falls with their distance in load; a measured load shifts the prediction of
the others and narrows their intervals (Gaussian process regression).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from app.planning.step_times.intervals import Z_LEVEL
from app.planning.step_times.positive_sum import Floats, Indices

COMMON_SHARE = 0.5
"""Share of the variance of log errors that all loads of a server have in common."""
NOISE_SHARE = 0.01
"""Share of the variance that differs between repeated measurements of one load."""
LOAD_LENGTH = 3.0
"""Distance of loads, in factors of two of the number of clients, over which the other errors lose their correlation."""


@dataclasses.dataclass(frozen=True)
class LogIntervals:
    """Normal distributions of the logarithms of times in s: means and standard deviations."""

    mean: Floats
    sigma: Floats

    @classmethod
    def from_bounds(cls, p10: Floats, p90: Floats) -> LogIntervals:
        low, high = np.log(p10), np.log(p90)
        return cls((low + high) / 2, (high - low) / (2 * Z_LEVEL))

    def compute_quantile(self, z: float) -> Floats:
        """Return the times that lie `z` standard deviations from the mean of the logarithm."""
        return np.asarray(np.exp(self.mean + z * self.sigma))


def condition(prior: LogIntervals, correlation: Floats, measured: Indices, measured_s: Floats) -> LogIntervals:
    """Return the distributions of all loads, given the measured times of some of them. `correlation` has the share of
    the variance that each two loads have in common."""
    shared = correlation * prior.sigma[:, None] * prior.sigma[None, :]
    noise = NOISE_SHARE * prior.sigma**2
    observed = shared[np.ix_(measured, measured)] + np.diag(noise[measured])
    gains = np.linalg.solve(observed, shared[measured]).T
    mean = prior.mean + gains @ (np.log(measured_s) - prior.mean[measured])
    variance = np.diag(shared) + noise - np.einsum("ij,ji->i", gains, shared[measured])
    return LogIntervals(mean, np.sqrt(np.maximum(variance, noise)))


def correlate_loads(load: Floats, other: Floats) -> Floats:
    """Return the share of the variance that two loads of a server have in common; loads are log2 of clients."""
    nearness = np.exp(-(((load - other) / LOAD_LENGTH) ** 2) / 2)
    return np.asarray(COMMON_SHARE + (1 - COMMON_SHARE - NOISE_SHARE) * nearness)
