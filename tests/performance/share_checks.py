"""How often the check `late_sends` makes a stage INVALID, by its rule and by the point estimate alone.

Late sends are drawn from known shares, one by one or in bursts, as a stall of the machine delays all requests of a
moment. Up to the limit of 1 %, INVALID is a false alarm; above it, every other verdict is a miss.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

from app.analysis.validity import check_upper_limit, require_evidence

_LIMIT = 0.01
_COUNTS = (10, 30, 92, 300, 1_000, 10_000)
_SHARES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1)
_BURST = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.share_checks", description=__doc__)
    parser.add_argument("--stages", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=23)
    arguments = parser.parse_args()
    for burst in (1, _BURST):
        print(f"late sends in bursts of {burst}: % of stages INVALID by the rule (by the point estimate)")
        print("requests  " + "".join(f"{f'{100 * share:g} % late':>16}" for share in _SHARES))
        for count in _COUNTS:
            rng = np.random.default_rng([arguments.seed, burst, count])
            cells = [_format_cell(_draw(rng, count, share, burst, arguments.stages), count) for share in _SHARES]
            print(f"{count:>8,}  " + "".join(f"{cell:>16}" for cell in cells), flush=True)


def _draw(rng: np.random.Generator, count: int, share: float, burst: int, stages: int) -> npt.NDArray[np.int64]:
    """Numbers of late requests of stages with so many requests, of which a share is late in the long run."""
    late_counts = burst * rng.binomial(count // burst, share, stages)
    return np.asarray(late_counts, dtype=np.int64)


def _format_cell(late_counts: npt.NDArray[np.int64], count: int) -> str:
    values, stages = np.unique(late_counts, return_counts=True)
    is_invalid = np.array([_is_invalid(int(value), count) for value in values])
    by_rule = float(stages[is_invalid].sum() / stages.sum())
    by_estimate = float(stages[values / count > _LIMIT].sum() / stages.sum())
    return f"{100 * by_rule:.1f} ({100 * by_estimate:.1f})"


def _is_invalid(late_count: int, count: int) -> bool:
    check = check_upper_limit("late_sends", late_count / count, unit="share", warn=_LIMIT, invalid=_LIMIT, hint="")
    return require_evidence(check, late_count, count, _LIMIT).verdict == "INVALID"


if __name__ == "__main__":
    main()
