"""Cost per hour, month, inference and token.

Unit costs are reported at three rates: at saturation, as in vendors' quotes; at the max rate within
the SLO; and at the mean rate of the traffic, which gives the cost that the user pays.
"""

from __future__ import annotations

import msgspec

HOURS_PER_YEAR = 8760
SECONDS_PER_HOUR = 3600
THOUSAND, MILLION = 1e3, 1e6


class UnitCost(msgspec.Struct, frozen=True):
    """Cost of a unit in USD at three rates: at saturation, within the SLO, and at the mean rate. A
    cost is `None` if its rate is unknown or 0."""

    at_saturation: float | None
    at_slo: float | None
    at_mean: float | None

    def scale(self, factor: float) -> UnitCost:
        return UnitCost(
            *(None if usd is None else usd * factor for usd in (self.at_saturation, self.at_slo, self.at_mean))
        )


class Rates(msgspec.Struct, frozen=True):
    """Request rates: rates of one instance at saturation and within the SLO, and the mean rate of
    the entire traffic."""

    saturation_per_s: float | None
    slo_per_s: float | None
    mean_per_s: float | None


class TokenWork(msgspec.Struct, frozen=True):
    """Mean engine time per request, split into prefill and decode.

    `prefill_s` is the prefill time of the prompt. Each output token takes `step_s` / `batch`, its
    share of a step that decodes `batch` sequences.
    """

    input_tokens: float
    output_tokens: float
    prefill_s: float
    step_s: float
    batch: float
    cached_share: float | None = None
    """Share of the input tokens that a prefix cache serves; `None` if unknown."""

    @property
    def input_share(self) -> float:
        """Share of the engine time per request that is spent on the prefill of the prompt."""
        decode_s = self.output_tokens * self.step_s / self.batch
        engine_s = self.prefill_s + decode_s
        return self.prefill_s / engine_s if engine_s > 0 else 0.0


class TokenCosts(msgspec.Struct, frozen=True):
    """Cost in USD per 1M input tokens, output tokens, and all tokens; `None` if there are no tokens
    of the kind.

    The costs of all input and output tokens of a request sum to the cost of the request. So do the
    costs of uncached input, cached input and output tokens, if the cached share is known.
    """

    per_1m_input: UnitCost | None
    per_1m_output: UnitCost | None
    per_1m_all: UnitCost | None
    per_1m_uncached_input: UnitCost | None = None
    per_1m_cached_input: UnitCost | None = None


def compute_request_cost(usd_per_hour_each: float, fleet_usd_per_hour: float, rates: Rates) -> UnitCost:
    """Return the cost in USD per request. The costs at saturation and within the SLO are for one
    instance; the cost at the mean rate is for the fleet.
    """
    return UnitCost(
        _compute_usd_per_request(usd_per_hour_each, rates.saturation_per_s),
        _compute_usd_per_request(usd_per_hour_each, rates.slo_per_s),
        _compute_usd_per_request(fleet_usd_per_hour, rates.mean_per_s),
    )


def compute_cost_per_1k_inferences(usd_per_hour_each: float, fleet_usd_per_hour: float, rates: Rates) -> UnitCost:
    return compute_request_cost(usd_per_hour_each, fleet_usd_per_hour, rates).scale(THOUSAND)


def compute_token_costs(request_cost: UnitCost, work: TokenWork) -> TokenCosts:
    """Split the cost of a request between input and output tokens, in proportion to the engine time
    spent on each.

    Cached input tokens have no prefill, so the time of the prefill is that of the uncached input
    tokens, and the cost of cached ones is 0. Their keys and values are read during decode, which is
    the time of the output tokens.
    """
    shares = [work.input_share, 1 - work.input_share, 1.0]
    counts = [work.input_tokens, work.output_tokens, work.input_tokens + work.output_tokens]
    if work.cached_share is not None:
        shares += [work.input_share, 0.0]
        counts += [work.input_tokens * (1 - work.cached_share), work.input_tokens * work.cached_share]
    return TokenCosts(
        *(
            request_cost.scale(share * MILLION / tokens) if tokens > 0 else None
            for share, tokens in zip(shares, counts, strict=True)
        )
    )


def compute_effective_spot_usd_per_hour(
    spot_usd_per_hour: float, interruptions_per_hour: float, cold_start_s: float, lost_work_s: float = 0.0
) -> float:
    """Return the effective price of a spot instance in USD per hour of service, including the cost
    of starting a replacement after each interruption.
    """
    return spot_usd_per_hour * (1 + interruptions_per_hour * (cold_start_s + lost_work_s) / SECONDS_PER_HOUR)


def _compute_usd_per_request(usd_per_hour: float, rate_per_s: float | None) -> float | None:
    return None if rate_per_s is None or rate_per_s <= 0 else usd_per_hour / (rate_per_s * SECONDS_PER_HOUR)
