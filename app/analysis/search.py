"""Search for the max rate within the SLO: choose the next rate to test from the results so far.

Stages at several rates that passed or failed determine the posterior probability of the endpoint's
capacity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from app.analysis.columns import Floats
from app.analysis.number_format import format_number

GRID_STEP = 0.0025
"""Relative distance between neighboring rates of the grid."""
LOGISTIC_SPREAD = 0.02
_LAPSE_RATE = 0.02
_GRID_MARGIN_FACTOR = 2.0
_BISECTION_COUNT = 14


class CapacityPosterior:
    """Posterior distribution of the capacity, which is the rate at which a stage passes with
    probability 0.5.

    The probability that a stage passes is logistic in ln(capacity / rate), with a lapse rate of
    2 %: at any rate, the less probable outcome occurs in at least 1 % of the stages. The prior is
    uniform on a log scale. This is Bayesian estimation of a psychometric function (Watson and
    Pelli, QUEST, Perception & Psychophysics 33, 1983; lapses: Wichmann and Hill, ibid. 63, 2001).

    `spread` is the scale of the logistic function, or a prior over several scales. Stages of 30 s with
    queues near saturation have spreads of 0.01 to 0.02. The default of 0.02 is the upper end of this
    range. A smaller spread would give a random failure too much weight; a larger spread only
    requires more stages."""

    def __init__(
        self, trials: Sequence[tuple[float, bool]], spread: float | Mapping[float, float] = LOGISTIC_SPREAD
    ) -> None:
        """Compute the posterior distribution. `trials` contains pairs (rate, whether the stage
        passed), with at least one pass and one failure. `spread` is the scale of the logistic
        function, or the prior probability of each possible scale."""
        probability_by_spread = {spread: 1.0} if isinstance(spread, float) else spread
        self._spreads: Floats = np.array(list(probability_by_spread))[:, np.newaxis]
        passed_rates = [rate for rate, has_passed in trials if has_passed]
        failed_rates = [rate for rate, has_passed in trials if not has_passed]
        lowest_rate, highest_rate = (
            min([*failed_rates, max(passed_rates)]) / _GRID_MARGIN_FACTOR,
            max([*passed_rates, min(failed_rates)]) * _GRID_MARGIN_FACTOR,
        )
        self._log_capacities: Floats = np.arange(math.log(lowest_rate), math.log(highest_rate) + GRID_STEP, GRID_STEP)
        log_prior = np.log(list(probability_by_spread.values()))[:, np.newaxis]
        log_posterior = log_prior + compute_log_likelihood(self._log_capacities, trials, self._spreads)
        weights = np.exp(log_posterior - log_posterior.max())
        self._weights: Floats = weights / weights.sum()
        """Posterior probability of each spread (rows) with each capacity (columns)."""

    def compute_quantile(self, q: float) -> float:
        index = int(np.searchsorted(np.cumsum(self._weights.sum(axis=0)), q))
        return math.exp(self._log_capacities[min(index, self._log_capacities.size - 1)])

    def compute_pass_probability(self, rate_per_s: float, stage_count: int) -> float:
        """Compute the posterior probability that `stage_count` stages at the given rate all
        pass."""
        return float(np.sum(self._weights * self._compute_pass_probabilities(rate_per_s) ** stage_count))

    def find_highest_rate(self, stage_count: int, probability: float) -> float:
        """Find the highest rate at which `stage_count` stages all pass with at least the given
        posterior probability."""
        log_low, log_high = float(self._log_capacities[0]), float(self._log_capacities[-1])
        for _ in range(_BISECTION_COUNT):
            log_middle = (log_low + log_high) / 2
            if self.compute_pass_probability(math.exp(log_middle), stage_count) >= probability:
                log_low = log_middle
            else:
                log_high = log_middle
        return math.exp(log_low)

    def _compute_pass_probabilities(self, rate_per_s: float) -> Floats:
        """Compute the probability that one stage at the given rate passes, for each spread (rows) and
        each capacity of the grid (columns)."""
        return _compute_pass_probability(self._log_capacities, rate_per_s, self._spreads)


def compute_log_likelihood(
    log_capacities: Floats, trials: Sequence[tuple[float, bool]], spread: float | Floats = LOGISTIC_SPREAD
) -> Floats:
    """Compute the log likelihood of the trials for each capacity. `log_capacities` contains
    logarithms of capacities; `spread` is the scale of the logistic function in ln rate, or a column
    of scales. The result has a row for each scale."""
    log_likelihood = np.zeros(np.broadcast_shapes(log_capacities.shape, np.shape(spread)))
    for rate, has_passed in trials:
        probability = _compute_pass_probability(log_capacities, rate, spread)
        log_likelihood += np.log(probability if has_passed else 1 - probability)
    return log_likelihood


def _compute_pass_probability(log_capacities: Floats, rate_per_s: float, spread: float | Floats) -> Floats:
    distance = np.clip((log_capacities - math.log(rate_per_s)) / spread, -50, 50)
    return np.asarray(_LAPSE_RATE / 2 + (1 - _LAPSE_RATE) / (1 + np.exp(-distance)))


_MAX_HALVINGS = 6
_WIDE_LOG_RANGE = 0.16
_STEP_SHARE_OF_MEDIAN = 0.99
_SUFFICIENT_SHARE_OF_MEDIAN = 0.98
_STEP_PROBABILITIES = (0.45, 0.65, 0.8, 0.9)
"""Probabilities that all steps at a rate must have to pass, from the first attempts to the last."""
_EXPECTED_FAILED_STEPS = 1
"""Number of failed steps after which the required probability rises with each further one."""
_NEAR_GENERATOR_RATIO = 1.05
_GENERATOR_SHARE = 0.8
"""Maximum share of the lowest rate that the generator could not send at which steps are run if its
limit varies or time is short. The result is a lower bound of the endpoint's max rate, and closer to
the limit, the generator may fail to send one of the steps."""
_RESERVED_ATTEMPTS = 3
"""Number of attempts to confirm a rate for which a search with a time limit reserves probes, once the
generator could not send a rate."""


_SPREAD_PRIOR = {LOGISTIC_SPREAD: 0.95, 0.06: 0.04, 0.18: 0.01}
"""Prior probability of each spread. The stages of a server whose service times vary widely, or in
which requests meet pauses, differ much more than stages near saturation usually do."""


class Probe(msgspec.Struct, frozen=True):
    """Stage to run next. `repeat` is the number of the step among the steps at the same rate, from
    1."""

    kind: Literal["probe", "step"]
    rate_per_s: float
    repeat: int = 1


class SearchOutcome(msgspec.Struct, frozen=True):
    """Outcome of a rate search. `max_rate_per_s` is the highest rate that met the SLO in all its
    repeats; if it is `None`, `reason` states why.

    `bracket` contains the highest rate that passed and the lowest higher rate that failed; each is
    `None` if there is no such rate. `unsendable_per_s` is the lowest rate that the generator could
    not send; `None` if it sent all tested rates."""

    max_rate_per_s: float | None
    reason: str | None
    bracket: tuple[float | None, float | None]
    probe_count: int
    unsendable_per_s: float | None = None

    @property
    def is_lower_bound(self) -> bool:
        """True if a max rate was found, but no higher rate that the load generator can send failed."""
        return self.max_rate_per_s is not None and (self.is_generator_limited or self.bracket[1] is None)

    @property
    def is_generator_limited(self) -> bool:
        """True if the load generator, not the endpoint, limited the search: the generator could not
        send a rate, and the endpoint failed neither below that rate nor just above the max rate."""
        (sustained_rate, failed_rate), unsendable_rate = self.bracket, self.unsendable_per_s
        if unsendable_rate is None or failed_rate is None:
            return unsendable_rate is not None
        return failed_rate >= unsendable_rate and (
            sustained_rate is None or failed_rate > sustained_rate * _NEAR_GENERATOR_RATIO
        )


class RateSearch:
    """Search for the max rate within the SLO.

    The rate is doubled from the start rate (or halved if the start rate fails) until one rate
    passed and one failed. From then on, every stage updates the posterior of the capacity
    (`CapacityPosterior`). The median of the posterior is probed until the capacity is known to a
    few percent; then steps are run at rates slightly below the median.

    All repeats of a rate must pass; a rate that failed once is not repeated as a step. If the rate
    that passed is well below the capacity, steps are run at a higher rate if the budget permits. A
    rate that the generator cannot send provides no information about the endpoint, so the search
    continues at lower rates.

    A search that found a max rate ends with one more stage at the first rate that passed, if a probe
    remains. It shows whether the endpoint became slower or faster during the search, and does not
    change the outcome."""

    def __init__(self, start_per_s: float, repeats: int, max_probes: int = 25) -> None:
        self._start_per_s, self._repeats = start_per_s, repeats
        self._max_probes = self._allowed_probes = max_probes
        self._trials: list[tuple[float, bool]] = []
        self._unsendable_rates: list[float] = []
        self._undecided_rates: list[float] = []
        self._step_rate: float | None = None
        self._step_count = 0
        self._failed_step_count = 0
        self._max_rate: float | None = None
        self._next_probe: Probe | None = None
        self._is_returning = False
        self._return_count = 0
        self._choose_next_probe()

    @property
    def remaining_probes(self) -> int:
        """Maximum number of probes that can still be run."""
        return self._allowed_probes - self._probe_count

    @property
    def is_shortened(self) -> bool:
        """True if `limit_probes` has reduced the number of probes."""
        return self._allowed_probes < self._max_probes

    def next_probe(self) -> Probe | None:
        """Return the stage to run next; `None` if the search has finished. The stage does not
        change until its result is recorded."""
        return self._next_probe

    @property
    def is_exploring(self) -> bool:
        """True until a rate has passed or failed, or could not be sent."""
        return not self._trials and not self._unsendable_rates

    def limit_probes(self, max_probes: int | None) -> None:
        """Set the number of further probes; `None` for as many as the search may run. The number
        can change the result of `next_probe`."""
        further_probes = self._max_probes if max_probes is None else self._probe_count + max_probes
        self._allowed_probes = min(self._max_probes, further_probes)
        self._choose_next_probe()

    def record_result(self, probe: Probe, has_passed: bool) -> None:
        """Record whether the stage of `probe` passed. `probe` must come from `next_probe`."""
        if self._is_returning:
            self._finish_return()
            return
        self._trials.append((probe.rate_per_s, has_passed))
        if probe.kind == "step":
            self._step_count += 1
            if has_passed and self._step_count == self._repeats:
                self._max_rate = probe.rate_per_s
            self._failed_step_count += not has_passed
            if not has_passed or self._step_count == self._repeats:
                self._step_rate = None
        self._choose_next_probe()

    def record_unsendable_rate(self, probe: Probe) -> None:
        """Record that the load generator could not send the rate of `probe`, which must come from
        `next_probe`."""
        if self._is_returning:
            self._finish_return()
            return
        self._unsendable_rates.append(probe.rate_per_s)
        self._step_rate = None
        self._choose_next_probe()

    def record_undecided(self, probe: Probe) -> None:
        """Record that the stage of `probe`, which must come from `next_probe`, had too few responses
        for the percentiles of the SLO, and missed no other objective. It provides no evidence. The
        search continues at twice the rate, at which responses are collected faster."""
        if self._is_returning:
            self._finish_return()
            return
        self._undecided_rates.append(probe.rate_per_s)
        self._step_rate = None
        self._choose_next_probe()

    def get_outcome(self) -> SearchOutcome:
        """Return the current outcome, even if the search has not finished."""
        sustained_rate = self._max_rate or self._sustained_rate
        higher_failed_rates = (rate for rate in self._failed_rates if sustained_rate is None or rate > sustained_rate)
        unsendable_rate = min(self._unsendable_rates, default=None)
        reason = None if self._max_rate else self._format_reason()
        return SearchOutcome(
            self._max_rate,
            reason,
            (sustained_rate, min(higher_failed_rates, default=None)),
            self._probe_count,
            unsendable_rate,
        )

    @property
    def _failed_rates(self) -> list[float]:
        return [rate for rate, has_passed in self._trials if not has_passed]

    @property
    def _passed_rates(self) -> list[float]:
        return [rate for rate, has_passed in self._trials if has_passed]

    @property
    def _is_bracketed(self) -> bool:
        """True if a rate passed and a higher rate failed. A failure at or below the highest rate
        that passed is treated as random."""
        return bool(self._passed_rates) and max(self._failed_rates, default=0.0) > max(self._passed_rates)

    @property
    def _sustained_rate(self) -> float | None:
        """Highest rate that passed, below all rates that the generator could not send; `None` if
        there is no such rate."""
        unsendable_rate = min(self._unsendable_rates, default=math.inf)
        return max((rate for rate in self._passed_rates if rate < unsendable_rate), default=None)

    @property
    def _probe_count(self) -> int:
        stage_count = len(self._trials) + len(self._unsendable_rates) + len(self._undecided_rates)
        return stage_count + self._return_count

    def _choose_next_probe(self) -> None:
        if self._step_rate is None:
            self._next_probe = self._choose_probe()
            if self._next_probe is not None and self._next_probe.kind == "step":
                self._step_rate, self._step_count = self._next_probe.rate_per_s, 0
        else:
            self._next_probe = Probe("step", self._step_rate, self._step_count + 1)
        needed_probes = self._repeats - self._step_count if self._step_rate is not None else 1
        if self.remaining_probes < needed_probes:
            self._next_probe = self._step_rate = None
        self._is_returning = self._next_probe is None and self._max_rate is not None and self.remaining_probes >= 1
        if self._is_returning:
            self._next_probe = Probe("probe", self._passed_rates[0], repeat=2)

    def _finish_return(self) -> None:
        """End the search after the stage that returns to the first rate that passed, whatever its
        result."""
        self._is_returning, self._return_count, self._next_probe = False, 1, None

    def _choose_probe(self) -> Probe | None:
        """Return the next probe or step, or None at the end of the search. Rates are doubled until one fails or the
        generator cannot send more."""
        if self._is_bracketed:
            return self._choose_probe_near_capacity(CapacityPosterior(self._trials, _SPREAD_PRIOR))
        unsendable_rate, sustained_rate = min(self._unsendable_rates, default=math.inf), self._sustained_rate
        if self._max_rate is not None:
            return None
        if sustained_rate is None:
            return self._choose_lower_probe()
        is_short_of_time = self.is_shortened and self.remaining_probes <= _RESERVED_ATTEMPTS * self._repeats
        if self._has_varying_generator_limit or (is_short_of_time and self._unsendable_rates):
            step_rate = min(sustained_rate, unsendable_rate * _GENERATOR_SHARE)
            return Probe("step", self._find_nearest_allowed_rate(step_rate))
        if self.remaining_probes <= self._repeats or unsendable_rate / sustained_rate <= _NEAR_GENERATOR_RATIO:
            return Probe("step", self._find_nearest_allowed_rate(sustained_rate))
        return Probe("probe", min(sustained_rate * 2, math.sqrt(sustained_rate * unsendable_rate)))

    @property
    def _has_varying_generator_limit(self) -> bool:
        """True if the generator once sent a rate and once failed to send the same or a lower rate."""
        return max(self._passed_rates, default=0.0) >= min(self._unsendable_rates, default=math.inf)

    def _choose_lower_probe(self) -> Probe | None:
        """Return the next stage while no rate has passed. If no more than the steps that confirm a
        rate remain, they are run at once, because a probe would leave too few of them."""
        kind: Literal["probe", "step"] = "step" if self.remaining_probes <= self._repeats else "probe"
        lowest_rate = min([*self._failed_rates, *self._unsendable_rates], default=None)
        if lowest_rate is None:
            return Probe(kind, 2 * max(self._undecided_rates) if self._undecided_rates else self._start_per_s)
        has_reached_min_rate = lowest_rate <= self._start_per_s / 2**_MAX_HALVINGS
        return None if has_reached_min_rate else Probe(kind, lowest_rate / 2)

    def _choose_probe_near_capacity(self, posterior: CapacityPosterior) -> Probe | None:
        """Return the next probe or step between a passed and a failed rate, or None if the rate that passed its steps
        is close enough to the median of the posterior. Probes at the median narrow the posterior before the steps."""
        median = posterior.compute_quantile(0.5)
        if self._max_rate is not None:
            higher_rate = self._find_nearest_allowed_rate(median * _STEP_SHARE_OF_MEDIAN)
            is_max_rate_sufficient = (
                self._max_rate >= median * _SUFFICIENT_SHARE_OF_MEDIAN
                or higher_rate <= self._max_rate * (1 + GRID_STEP)
            )
            return None if is_max_rate_sufficient else Probe("step", higher_rate)
        is_posterior_wide = (
            math.log(posterior.compute_quantile(0.9) / posterior.compute_quantile(0.1)) > _WIDE_LOG_RANGE
        )
        if is_posterior_wide and self.remaining_probes > 2 * self._repeats:
            return self._choose_sendable_probe(median)
        if (rate_to_retry := self._rate_to_retry) is not None:
            return Probe("probe", rate_to_retry)
        probable_rate = posterior.find_highest_rate(self._repeats, self._required_probability)
        return Probe("step", self._find_nearest_allowed_rate(min(probable_rate, median * _STEP_SHARE_OF_MEDIAN)))

    @property
    def _rate_to_retry(self) -> float | None:
        """Rate that failed, if the posterior depends on this single failure and the remaining
        probes allow a retry; otherwise `None`."""
        failed_rates = self._failed_rates
        is_single_failure = len(failed_rates) == 1 and (failed_rates[0], True) not in self._trials
        return failed_rates[0] if is_single_failure and self.remaining_probes > 2 * self._repeats else None

    @property
    def _required_probability(self) -> float:
        """Required posterior probability that all repeats pass. The fewer attempts remain, and the
        more steps have failed, the higher the required probability."""
        remaining_attempts = (
            2 if self.remaining_probes >= 2 * self._repeats else 1 if self.remaining_probes > self._repeats else 0
        )
        level = max(2 - remaining_attempts, self._failed_step_count - _EXPECTED_FAILED_STEPS)
        return _STEP_PROBABILITIES[min(level, len(_STEP_PROBABILITIES) - 1)]

    def _find_nearest_allowed_rate(self, rate_per_s: float) -> float:
        """Return the given rate if it never failed and the generator can send it; otherwise the
        next lower rate that meets both conditions."""
        rate_per_s = min([rate_per_s, *(rate / (1 + GRID_STEP) for rate in self._unsendable_rates)])
        while rate_per_s in self._failed_rates:
            rate_per_s /= 1 + GRID_STEP
        return rate_per_s

    def _choose_sendable_probe(self, rate_per_s: float) -> Probe:
        """Return a probe at the given rate. If the generator cannot send that rate, return a probe
        at the geometric mean of the highest rate that passed and the lowest rate that the generator
        could not send."""
        unsendable_rate = min(self._unsendable_rates, default=math.inf)
        if rate_per_s < unsendable_rate:
            return Probe("probe", rate_per_s)
        return Probe("probe", math.sqrt(unsendable_rate * (self._sustained_rate or unsendable_rate / 2)))

    def _format_reason(self) -> str:
        if self._next_probe is not None:
            return "the search was stopped early"
        if self._unsendable_rates and not self._failed_rates:
            prefix = "" if self._passed_rates else "even "
            return f"the load generator could not send {prefix}{format_number(min(self._unsendable_rates))} req/s"
        if self._failed_rates and not self._passed_rates:
            decided_text = "decided" if self._undecided_rates else "tested"
            return f"even the lowest {decided_text} rate of {format_number(min(self._failed_rates))} req/s failed"
        steps_text = "1 step" if self._repeats == 1 else f"{self._repeats} steps"
        probes_text = "1 probe" if self._allowed_probes == 1 else f"{self._allowed_probes} probes"
        return f"no rate was confirmed by {steps_text} within {probes_text}"
