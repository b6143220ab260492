"""What an hour, a month, an inference and a token cost.

A unit's cost is told three ways, since each answers another question: at saturation (what a vendor would quote), at
the rate the SLO allows, and at the mean of this traffic, which is what is paid.
"""

from __future__ import annotations

import msgspec

from app.planning.sizing import HOURS_A_MONTH

HOURS_A_YEAR = 8760
SECONDS_AN_HOUR = 3600
THOUSAND, MILLION = 1e3, 1e6


class Bill(msgspec.Struct, frozen=True):
    usd_per_hour: float
    usd_per_month: float
    usd_per_year: float


class UnitCost(msgspec.Struct, frozen=True):
    """USD for so many units; None where the rate is not known or 0."""

    at_saturation: float | None
    at_slo: float | None
    at_mean: float | None

    def times(self, factor: float) -> UnitCost:
        return UnitCost(
            *(None if usd is None else usd * factor for usd in (self.at_saturation, self.at_slo, self.at_mean))
        )


class Rates(msgspec.Struct, frozen=True):
    """Requests a second: of one instance at saturation and inside the SLO, and of the whole traffic in the mean."""

    saturation_per_s: float | None
    slo_per_s: float | None
    mean_per_s: float | None


class TokenWork(msgspec.Struct, frozen=True):
    """What one request keeps the engine busy with, in the mean: `prefill_s` for its prompt, and for every output token
    its share, step_s / batch, of a step that decodes `batch` sequences."""

    input_tokens: float
    output_tokens: float
    prefill_s: float
    step_s: float
    batch: float

    @property
    def input_share(self) -> float:
        """Of the engine's time, not of the tokens: a prompt's tokens are read together, an answer's one by one."""
        decode_s = self.output_tokens * self.step_s / self.batch
        busy_s = self.prefill_s + decode_s
        return self.prefill_s / busy_s if busy_s > 0 else 0.0


class TokenCosts(msgspec.Struct, frozen=True):
    """USD per 1M tokens; None where there are none. Input and output, each times its tokens, sum to what all cost."""

    per_1m_input: UnitCost | None
    per_1m_output: UnitCost | None
    per_1m_all: UnitCost | None


def bill(usd_per_hour: float) -> Bill:
    return Bill(usd_per_hour, usd_per_hour * HOURS_A_MONTH, usd_per_hour * HOURS_A_YEAR)


def request_cost(usd_per_hour_each: float, fleet_usd_per_hour: float, rates: Rates) -> UnitCost:
    """USD per request: of one full instance, of one at the SLO's rate, and of the whole fleet at the traffic's mean."""
    return UnitCost(
        _per_request(usd_per_hour_each, rates.saturation_per_s),
        _per_request(usd_per_hour_each, rates.slo_per_s),
        _per_request(fleet_usd_per_hour, rates.mean_per_s),
    )


def per_1k_inferences(usd_per_hour_each: float, fleet_usd_per_hour: float, rates: Rates) -> UnitCost:
    return request_cost(usd_per_hour_each, fleet_usd_per_hour, rates).times(THOUSAND)


def token_costs(per_request: UnitCost, work: TokenWork) -> TokenCosts:
    """A request's cost over its tokens, input and output by the engine's time for them."""
    shares = (work.input_share, 1 - work.input_share, 1.0)
    counts = (work.input_tokens, work.output_tokens, work.input_tokens + work.output_tokens)
    return TokenCosts(
        *(
            per_request.times(share * MILLION / tokens) if tokens > 0 else None
            for share, tokens in zip(shares, counts, strict=True)
        )
    )


def effective_spot_usd_per_hour(
    spot_usd_per_hour: float, interruptions_per_hour: float, cold_start_s: float, lost_work_s: float = 0.0
) -> float:
    """The price of an hour that serves: every interruption is paid for again while its successor starts."""
    return spot_usd_per_hour * (1 + interruptions_per_hour * (cold_start_s + lost_work_s) / SECONDS_AN_HOUR)


def _per_request(usd_per_hour: float, per_s: float | None) -> float | None:
    return None if per_s is None or per_s <= 0 else usd_per_hour / (per_s * SECONDS_AN_HOUR)
