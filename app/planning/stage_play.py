"""A measured stage played by a service model: the same rate and number of requests, several times over."""

from __future__ import annotations

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.moments import Play
from app.planning.simulation.replica import batch_latencies, request_latencies
from app.records.curves import Gaps
from app.records.service import BatchService, RequestService, ServiceModel


def arrivals_of(offered_per_s: float, shape: tuple[int, int], gaps: Gaps, rng: np.random.Generator) -> Floats:
    """Plays × requests. Gaps are random unless they are known to be even."""
    if gaps == "even":
        return np.broadcast_to(np.arange(1, shape[1] + 1) / offered_per_s, shape).copy()
    return np.asarray(np.cumsum(rng.exponential(1 / offered_per_s, shape), axis=1))


class StagePlay(msgspec.Struct, frozen=True):
    """Unit random numbers of a stage, drawn once: plays × requests. The first `lead_in` requests of each play fill the
    queue and are not counted."""

    arrivals_s: Floats
    normals: Floats
    lead_in: int = 0

    @staticmethod
    def drawn(
        offered_per_s: float,
        requests: int,
        times: int,
        seed: np.random.SeedSequence,
        gaps: Gaps = "random",
        lead_in: int = 0,
    ) -> StagePlay:
        rng, shape = np.random.default_rng(seed), (times, lead_in + requests)
        arrivals_s = arrivals_of(offered_per_s, shape, gaps, rng)
        return StagePlay(arrivals_s, rng.standard_normal(shape), lead_in)

    def played(self, service: ServiceModel, quantiles: Floats) -> Play:
        """Percentiles by the smallest value that so large a share does not exceed."""
        plays, requests = self.arrivals_s.shape
        arrivals_s, normals = self.arrivals_s.ravel(), self.normals.ravel()
        starts = np.arange(plays, dtype=np.int64) * requests
        match service:
            case RequestService():
                latencies = request_latencies(arrivals_s, normals, service, starts)
            case BatchService():
                latencies = batch_latencies(arrivals_s, normals, service, starts)
            case _:
                raise TypeError("a language model's stages are played by tokens")
        latencies = latencies.reshape(plays, requests)[:, self.lead_in :]
        ranks = np.ceil(quantiles * latencies.shape[1]).astype(int) - 1
        latencies.partition(ranks, axis=1)
        return Play(np.log(latencies[:, ranks]))
