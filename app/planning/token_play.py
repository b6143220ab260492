"""A measured stage of a language model, played by a token service: in an open loop or a closed one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.planning.moments import Play
from app.planning.service_times import lognormal_factors
from app.planning.simulation.closed_loop import closed_tokens
from app.planning.simulation.compiled import Ints
from app.planning.simulation.replica import token_latencies
from app.planning.stage_play import arrivals_of
from app.records.curves import Gaps
from app.records.metrics import PERCENTILES
from app.records.service import ServiceModel, TokenService

GAP = "between answers"
"""The time from one answer to the next, of the stage as a whole: what a closed loop tells beside latencies."""


class TokenLoad(msgspec.Struct, frozen=True):
    """A rate, or so many clients; and mean tokens. Prompts are alike; `output_sigma` is of the answers' lengths."""

    offered_per_s: float | None
    clients: int | None
    input_tokens: float
    output_tokens: float
    output_sigma: float = 0.0
    gaps: Gaps = "random"


class TokenPlay(msgspec.Struct, frozen=True):
    """Unit random numbers of a stage, drawn once: plays × requests; one row of lengths serves all plays."""

    clients: int | None
    arrivals_s: Floats
    normals: Floats
    inputs: Ints
    outputs: Ints

    @staticmethod
    def drawn(load: TokenLoad, requests: int, times: int, seed: np.random.SeedSequence) -> TokenPlay:
        rng = np.random.default_rng(seed)
        arrivals_s = arrivals_of(load.offered_per_s or 1.0, (times, requests), load.gaps, rng)
        factors = lognormal_factors(rng.standard_normal(requests), math.sqrt(math.expm1(load.output_sigma**2)))
        outputs = np.maximum(np.rint(load.output_tokens * factors / factors.mean()), 1).astype(np.int64)
        inputs = np.full(requests, max(1, round(load.input_tokens)), dtype=np.int64)
        clients = load.clients if load.offered_per_s is None else None
        return TokenPlay(clients, arrivals_s, rng.standard_normal((times, requests)), inputs, outputs)

    def played(self, service: ServiceModel, names: Sequence[str]) -> Play:
        """`names` are such as `ttft p95`, `itl mean` and GAP. An answer of one token counts for no time per token."""
        assert isinstance(service, TokenService)
        times = {time: np.empty_like(self.normals) for time in ("ttft", "latency")}
        ended_s = np.empty(len(self.normals))
        for row, normals in enumerate(self.normals):
            first_s, last_s, ended_s[row] = self._once(self.arrivals_s[row], normals, service)
            times["ttft"][row], times["latency"][row] = first_s, last_s
        gaps, several = np.maximum(self.outputs - 1, 1), self.outputs > 1
        decoding_s = (times["latency"] - times["ttft"])[:, several]
        times["tpot"] = decoding_s / gaps[several]
        itl_s = decoding_s.sum(axis=1) / gaps[several].sum()
        columns = [
            ended_s / self.normals.shape[1]
            if name == GAP
            else (itl_s if name == "itl mean" else _statistic(times[(pair := name.split())[0]], pair[1]))
            for name in names
        ]
        return Play(np.log(np.column_stack(columns)))

    def _once(self, arrivals_s: Floats, normals: Floats, service: TokenService) -> tuple[Floats, Floats, float]:
        """Times to the first and the last token, and when all was answered."""
        if self.clients is None:
            first_s, last_s = token_latencies(arrivals_s, self.inputs, self.outputs, normals, service)
            return first_s, last_s, float((arrivals_s + last_s).max())
        came_s, first_s, last_s = closed_tokens(self.clients, self.inputs, self.outputs, normals, service)
        since_s = came_s - service.outside_s
        return first_s - since_s, last_s - since_s, float(last_s.max())


def _statistic(times_s: Floats, aggregate: str) -> Floats:
    """Of each row; a percentile is the smallest value that so large a share does not exceed."""
    if aggregate == "mean":
        return np.asarray(times_s.mean(axis=1))
    rank = math.ceil(PERCENTILES[aggregate] * times_s.shape[1]) - 1
    return np.asarray(np.partition(times_s, rank, axis=1)[:, rank])
