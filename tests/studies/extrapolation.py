"""How far carried ratios are from published ones: python -m tests.studies.extrapolation prints the tables of the docs.

Pairs are ordered and of the same round, model, scenario, runtime and precision. A pair and its reverse have the same
error, and pairs that share a card are not independent. Where one card holds the model and the other has to cut it, the
pair stands apart.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.planning.hardware.extrapolation import RateKind, Ratio, estimate_ratio
from app.planning.hardware.rates import Unavailable, get_peak_ops_per_s
from app.planning.language_models.memory import compute_usable_bytes
from app.profiles.mlperf_results import MlperfResult, load_mlperf_results
from app.profiles.pricing.catalog import load_catalog
from app.records.dtypes import BYTES_PER_VALUE
from app.records.offers import Accelerator, Workload

SATURATED = frozenset(("resnet50", "retinanet", "bert-99", "3d-unet-99", "rnnt", "stable-diffusion-xl"))
PARAMETERS = {
    "gptj-99": 6.05e9, "llama2-70b-99": 68.98e9, "llama3.1-8b": 8.03e9, "llama3.1-405b": 405.9e9,
    "mixtral-8x7b": 46.7e9, "whisper": 1.55e9,
}  # fmt: skip
Z80, Z95 = 1.281552, 1.959964
Array = NDArray[np.float64]


class Pair(NamedTuple):
    """Logs of ratios, the second card over the first: measured, peak, bandwidth, power."""

    here: str
    there: str
    model: str
    work: Workload
    objective: RateKind
    cut: bool
    same_architecture: bool
    measured: float
    peak: float
    bandwidth: float
    power: float
    ratio: Ratio


def pairs(taken_for: Workload | None = None) -> list[Pair]:
    """All pairs of results, each extrapolated as its own kind of work, or as `taken_for`."""
    cards = load_catalog().accelerators
    comparable = defaultdict(list)
    for result in load_mlperf_results(cards):
        comparable[result.round, result.model, result.scenario, result.runtime, result.dtype].append(result)
    all_pairs = []
    for (_, model, scenario, _, dtype), results in comparable.items():
        work: Workload = "saturated" if model in SATURATED else "batched-decode"
        objective: RateKind = "slo" if scenario == "server" else "throughput"
        for first, second in itertools.permutations(results, 2):
            here, there = cards[first.accelerator_key], cards[second.accelerator_key]
            ratio = estimate_ratio(here, there, taken_for or work, dtype, objective)
            if isinstance(ratio, Unavailable):
                raise AssertionError(ratio.reason)
            measured = math.log(_compute_rate_each(second) / _compute_rate_each(first))
            cut = _fits(model, here, dtype) != _fits(model, there, dtype)
            same = here.architecture == there.architecture
            logs = _logs(here, there, dtype)
            all_pairs.append(Pair(here.key, there.key, model, work, objective, cut, same, measured, *logs, ratio))
    return all_pairs


def _fits(model: str, card: Accelerator, dtype: str) -> bool:
    usable = compute_usable_bytes(card)
    return isinstance(usable, float) and PARAMETERS.get(model, 0) * BYTES_PER_VALUE[dtype] < 0.9 * usable


def _compute_rate_each(result: MlperfResult) -> float:
    """Samples/s of one accelerator."""
    return result.samples_per_s / result.accelerator_count


def _logs(here: Accelerator, there: Accelerator, dtype: str) -> tuple[float, float, float]:
    first, second = get_peak_ops_per_s(here, dtype), get_peak_ops_per_s(there, dtype)
    if isinstance(first, Unavailable) or isinstance(second, Unavailable):
        raise AssertionError(f"{here.key} and {there.key} have no {dtype} peak")
    bandwidth = (there.memory_bandwidth_gb_s or 0) / (here.memory_bandwidth_gb_s or 1)
    return math.log(second / first), math.log(bandwidth), math.log((there.tdp_w or 0) / (here.tdp_w or 1))


def errors(group: Iterable[Pair]) -> Array:
    """Logarithms of the measured over the extrapolated ratio."""
    return np.array([pair.measured - math.log(pair.ratio.factor) for pair in group])


def coverage(group: list[Pair], z: float) -> float:
    """The share of pairs inside the interval of z sigmas that their ratios state."""
    return float(np.mean([abs(pair.measured - math.log(pair.ratio.factor)) <= z * pair.ratio.sigma for pair in group]))


def compute_bracket_share(group: list[Pair]) -> float:
    return float(np.mean([pair.ratio.low <= math.exp(pair.measured) <= pair.ratio.high for pair in group]))


def left_out(group: list[Pair]) -> tuple[Array, Array]:
    """Errors on the pairs of each card, from weights fitted without it; and the mean of those weights."""
    table = np.array([(pair.measured, pair.peak, pair.bandwidth, pair.power) for pair in group])
    missed, fitted = [], []
    for card in sorted({pair.here for pair in group}):
        of_card = np.array([card in (pair.here, pair.there) for pair in group])
        weights = np.linalg.lstsq(table[~of_card, 1:], table[~of_card, 0], rcond=None)[0]
        missed.append(table[of_card, 0] - table[of_card, 1:] @ weights)
        fitted.append(weights)
    return np.concatenate(missed), np.mean(fitted, axis=0)


def left_out_coverage(group: list[Pair], share: float) -> float:
    """Coverage on each card's pairs of the interval that holds `share` of the other cards' errors."""
    inside = []
    for card in sorted({pair.here for pair in group}):
        of_card = np.array([card in (pair.here, pair.there) for pair in group])
        sizes = np.abs(errors(group))
        inside.append(sizes[of_card] <= np.quantile(sizes[~of_card], share))
    return float(np.mean(np.concatenate(inside)))


PREDICTORS: dict[str, Callable[[Pair], float]] = {
    "peak": lambda pair: pair.peak,
    "bandwidth": lambda pair: pair.bandwidth,
    "power": lambda pair: pair.power,
    "√(peak × bandwidth)": lambda pair: (pair.peak + pair.bandwidth) / 2,
    "√(peak × power)": lambda pair: (pair.peak + pair.power) / 2,
    "√(bandwidth × power)": lambda pair: (pair.bandwidth + pair.power) / 2,
    "peak^¼ bandwidth^½ power^¼": lambda pair: (pair.peak + 2 * pair.bandwidth + pair.power) / 4,
    "peak^0.6 bandwidth^0.2 power^0.2": lambda pair: 0.6 * pair.peak + 0.2 * pair.bandwidth + 0.2 * pair.power,
}


def group_by_class(all_pairs: list[Pair]) -> dict[str, list[Pair]]:
    grouped: dict[str, list[Pair]] = {}
    for pair in all_pairs:
        if not pair.cut:
            objective = "inside a latency limit" if pair.objective == "slo" else "throughput"
            name = f"{pair.work}, {objective}, {'same' if pair.same_architecture else 'another'} architecture"
            grouped.setdefault(name, []).append(pair)
    return dict(sorted(grouped.items(), reverse=True))


def _row(name: str, missed: Array) -> str:
    sizes = np.abs(missed)
    shares = (float(np.expm1(np.quantile(sizes, share))) for share in (0.5, 0.9, 1.0))
    return f"| {name} | {' | '.join(f'{share:.0%}' for share in shares)} | {np.sqrt(np.mean(missed**2)):.3f} |"


def main() -> None:
    all_pairs = pairs()
    print(f"{len(all_pairs)} ordered pairs, {len({pair.here for pair in all_pairs})} cards\n")
    for name, group in group_by_class(all_pairs).items():
        print(f"{name}: {len(group)} pairs of {len({pair.here for pair in group})} cards\n")
        print("| predictor | median error | p90 | max | log rms |\n|---|---|---|---|---|")
        for title, predict in PREDICTORS.items():
            print(_row(title, np.array([pair.measured - predict(pair) for pair in group])))
        missed, weights = left_out(group)
        print(_row(f"re-fitted without the card: {', '.join(f'{weight:.2f}' for weight in weights)}", missed))
        print(_row("**what is used**", errors(group)), end="\n\n")
    print("| pairs | number | sigma | 80 % covers | 95 % covers | left out: 80 % | 95 % | bracket |\n|" + "---|" * 8)
    for name, group in group_by_class(all_pairs).items():
        learnt = f"{left_out_coverage(group, 0.8):.0%} | {left_out_coverage(group, 0.95):.0%}"
        _print_coverage(name, group, f"{group[0].ratio.sigma:.2f}", learnt)
    _print_coverage("all of these", [pair for pair in all_pairs if not pair.cut])
    _print_coverage("the same, each as unknown work", [pair for pair in pairs("unknown") if not pair.cut])
    _print_coverage("cut on one card only", [pair for pair in all_pairs if pair.cut])


def _print_coverage(name: str, group: list[Pair], sigma: str = "", left_out: str = " | ") -> None:
    shares = (
        f"{coverage(group, Z80):.0%} | {coverage(group, Z95):.0%} | {left_out} | {compute_bracket_share(group):.0%}"
    )
    print(f"| {name} | {len(group)} | {sigma} | {shares} |")


if __name__ == "__main__":
    main()
