"""Whether the P(SLO met) and the intervals that plans state are true, over servers that nobody has drawn before.

    python -m tests.studies.stated_probability --seeds-from COMMIT --state study.jsonl

Seeds derive from the hash of a commit, so that they are fixed only when the code is. Three kinds of truths: `law`, the
hundred of `tests.studies.laws`, outside the families that the product fits; `token`, servers with continuous batching;
`known`, services of the families that the product fits. Each is measured by the product's search, fitted and planned;
its own event simulation then finds whether the planned fleet meets the SLO at the peak, how many replicas are needed,
and what latencies at held-out rates are.

Each truth is one line of the state file, so that a study that was stopped continues where it ended. All are in the
table: a plan that could not be made counts as "not known", and an SLO that no fleet meets as not met. Exit code 1 where
a bound fails, 2 where the commit is unknown.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import msgspec
import numpy as np
from scipy import stats

from tests.studies.laws import LAWS
from tests.studies.measuring import HeldOut, check_held_out_rates, evaluate_plan, measure, plan, read_statement
from tests.studies.request_services import RequestTruth, draw_known_truth, draw_law_truth
from tests.studies.token_truths import TOKEN_TRUTHS, TokenTruth, draw_token_truth

Kind = Literal["law", "token", "known"]
KINDS: tuple[Kind, ...] = get_args(Kind)
KNOWN_TRUTHS = 60
BANDS = ((0.0, 0.5), (0.5, 0.9), (0.9, 0.95), (0.95, 0.99), (0.99, 1.0))
"""Of the stated P; the upper end belongs to the next band, except 1."""
CONFIDENT = 0.9
MAX_UNKNOWN_SHARE, MIN_CONFIDENT_SHARE, COVERAGE = 0.25, 0.5, (0.70, 0.90)
_DRAW: dict[Kind, Callable[[int, int], RequestTruth | TokenTruth]] = {
    "law": draw_law_truth,
    "token": draw_token_truth,
    "known": draw_known_truth,
}


class Outcome(msgspec.Struct, frozen=True):
    """The statements about a truth, and their true values. `stated` is None if the capacity is "not known"."""

    commit: str
    kind: Kind
    number: int
    name: str
    router: str = ""
    slo: str = ""
    stated: float | None = None
    reason: str = ""
    """Why nothing is stated, as an ID of the plan, or "no rate" where no rate met the SLO in the measurement."""
    error: str = ""
    """The exception that the product raised, and where."""
    planned: int | None = None
    needed: int | None = None
    """0 where no fleet meets the SLO."""
    is_met: bool | None = None
    held_out: tuple[HeldOut, ...] = ()
    seconds: float = 0.0

    @property
    def key(self) -> tuple[Kind, int]:
        return self.kind, self.number


def resolve_commit(name: str) -> str | None:
    done = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parent,
    )  # fmt: skip
    return done.stdout.strip() or None


def derive_seed(commit: str, kind: Kind) -> int:
    return int(hashlib.sha256(f"{commit} {kind}".encode()).hexdigest()[:8], 16)


def check(commit: str, kind: Kind, number: int) -> Outcome:
    started = time.monotonic()
    seed = derive_seed(commit, kind)
    truth: RequestTruth | TokenTruth = _DRAW[kind](number, seed)
    name = truth.name if isinstance(truth, TokenTruth) else truth.service.name
    outcome = Outcome(commit, kind, number, name, truth.router, " and ".join(truth.slo))
    try:
        outcome = _state(outcome, truth, seed)
    except Exception as error:
        outcome = msgspec.structs.replace(outcome, error=_describe(error))
    if outcome.planned is not None:
        evaluation = evaluate_plan(truth, outcome.planned)
        outcome = msgspec.structs.replace(outcome, needed=evaluation.needed, is_met=evaluation.is_met)
    return msgspec.structs.replace(outcome, seconds=round(time.monotonic() - started, 1))


def _state(outcome: Outcome, truth: RequestTruth | TokenTruth, seed: int) -> Outcome:
    """Return the outcome with what the product states."""
    target = measure(truth, [seed, outcome.number, 5])
    if target is None:
        return msgspec.structs.replace(outcome, reason="no rate")
    statement = read_statement(plan(truth, target))
    return msgspec.structs.replace(
        outcome, stated=statement.probability, reason=statement.reason, planned=statement.instances,
        held_out=tuple(check_held_out_rates(truth, target)),
    )  # fmt: skip


def _describe(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    return f"{type(error).__name__}: {error}{place}"


# --- state ------------------------------------------------------------------------------------------------------------


def read_state(state: Path, commit: str) -> dict[tuple[Kind, int], Outcome]:
    """Return the outcomes of this commit; a line that was cut off is left out."""
    outcome_by_key = {}
    for line in state.read_bytes().splitlines() if state.exists() else []:
        try:
            outcome = msgspec.json.decode(line, type=Outcome)
        except msgspec.DecodeError:
            continue
        if outcome.commit == commit:
            outcome_by_key[outcome.key] = outcome
    return outcome_by_key


def check_all(commit: str, truths: Sequence[tuple[Kind, int]], processes: int) -> Iterator[Outcome]:
    if processes == 1:
        yield from (check(commit, kind, number) for kind, number in truths)
        return
    with ProcessPoolExecutor(processes) as pool:
        futures = [pool.submit(check, commit, kind, number) for kind, number in truths]
        yield from (future.result() for future in as_completed(futures))


# --- bounds and tables ------------------------------------------------------------------------------------------------


class Bound(NamedTuple):
    name: str
    shown: str
    required_text: str
    is_met: bool


def list_bounds(outcomes: Sequence[Outcome]) -> list[Bound]:
    """Return the bounds. A share is compared by its exact 95 % binomial interval; nothing to compare is a failure only
    where something has to be stated."""
    bounds = []
    for kind in KINDS:
        if of_kind := [one for one in outcomes if one.kind == kind]:
            bounds.append(_compare_stated(f"{kind}: met where P is stated", of_kind))
            bounds.append(_compare_coverage(kind, of_kind))
    for low, high in BANDS:
        if in_band := [one for one in outcomes if is_in_band(one.stated, low, high)]:
            bounds.append(_compare_stated(f"all: met where {_band(low, high)} is stated", in_band))
    if known := [one for one in outcomes if one.kind != "law"]:
        unknown = sum(one.stated is None for one in known)
        confident = sum(one.stated is not None and one.stated >= CONFIDENT for one in known)
        most, least = MAX_UNKNOWN_SHARE * len(known), MIN_CONFIDENT_SHARE * len(known)
        bounds += [
            Bound("known families: not known", show_share(unknown, len(known)), "at most 25 %", unknown <= most),
            Bound("known families: P ≥ 0.9", show_share(confident, len(known)), "at least 50 %", confident >= least),
        ]
    failed = [one for one in outcomes if one.error]
    listed = "".join(f"; {one.kind} {one.number}: {one.error}" for one in failed)
    return [*bounds, Bound("errors of the product", f"{len(failed)}{listed}", "none", not failed)]


def is_in_band(stated: float | None, low: float, high: float) -> bool:
    return stated is not None and (low <= stated < high or stated == high == 1.0)


def _band(low: float, high: float) -> str:
    return f"P {low:g} to {high:g}"


def _compare_stated(name: str, outcomes: Sequence[Outcome]) -> Bound:
    stated = [one for one in outcomes if one.stated is not None]
    if not stated:
        return Bound(name, "nowhere", "as stated", is_met=True)
    mean = float(np.mean([one.stated for one in stated]))
    met = sum(bool(one.is_met) for one in stated)
    interval = stats.binomtest(met, len(stated)).proportion_ci(0.95)
    return Bound(name, show_share(met, len(stated)), f"{100 * mean:.1f} %", bool(interval.low <= mean <= interval.high))


def _compare_coverage(kind: Kind, outcomes: Sequence[Outcome]) -> Bound:
    """Latencies of one truth are not independent: the interval of the share is a bootstrap over truths."""
    counts = np.array([[sum(one.is_inside for one in each.held_out), len(each.held_out)] for each in outcomes])
    name, required_text = f"{kind}: stated 80 % intervals cover", "70 to 90 %"
    if not counts[:, 1].sum():
        return Bound(name, "none stated", required_text, is_met=False)
    drawn = counts[np.random.default_rng(1).integers(0, len(counts), (2000, len(counts)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / np.maximum(1, drawn[:, 1]), (0.025, 0.975))
    inside, of = counts.sum(axis=0)
    shown = f"{inside} of {of}: {100 * inside / of:.0f} % ({100 * low:.0f}–{100 * high:.0f})"
    return Bound(name, shown, required_text, bool(high >= COVERAGE[0] and low <= COVERAGE[1]))


def show_share(hits: int, of: int) -> str:
    interval = stats.binomtest(hits, of).proportion_ci(0.95)
    return f"{hits} of {of}: {100 * hits / of:.0f} % ({100 * interval.low:.0f}–{100 * interval.high:.0f})"


def list_tables(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "| bound | found | wanted | kept |"
    yield "|---|---|---|---|"
    for bound in list_bounds(outcomes):
        yield f"| {bound.name} | {bound.shown} | {bound.required_text} | {'yes' if bound.is_met else 'NO'} |"
    yield ""
    yield "| stated P | " + " | ".join(f"{kind}: truths, met" for kind in KINDS) + " | all | mean stated |"
    yield "|" + "---|" * (len(KINDS) + 3)
    for low, high in BANDS:
        yield _row(_band(low, high), [one for one in outcomes if is_in_band(one.stated, low, high)])
    unstated = [one for one in outcomes if one.stated is None]
    for why in sorted({one.reason or "error" for one in unstated}):
        yield _row(f"not known: {why}", [one for one in unstated if (one.reason or "error") == why])
    yield _row("all truths", outcomes)
    yield ""
    yield "| held-out rate | " + " | ".join(f"{kind}: inside" for kind in KINDS) + " |"
    yield "|" + "---|" * (len(KINDS) + 1)
    every = [(one.kind, each) for one in outcomes for each in one.held_out]
    for share in sorted({each.share for _, each in every}):
        cells = (_show_inside([each for of, each in every if of == kind and each.share == share]) for kind in KINDS)
        yield f"| {100 * share:.0f} % of the max rate | {' | '.join(cells)} |"
    yield ""
    yield from _list_laws([one for one in outcomes if one.kind == "law"])
    yield f"\nSeconds per truth: {_show_seconds(outcomes)}"


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    cells = [_show_met([one for one in outcomes if one.kind == kind]) for kind in KINDS]
    stated = [one.stated for one in outcomes if one.stated is not None]
    mean = f"{100 * float(np.mean(stated)):.1f} %" if stated else ""
    return f"| {name} | {' | '.join(cells)} | {_show_met(outcomes)} | {mean} |"


def _show_met(outcomes: Sequence[Outcome]) -> str:
    planned = [one for one in outcomes if one.is_met is not None]
    if not planned:
        return str(len(outcomes)) if outcomes else ""
    others = len(outcomes) - len(planned)
    return show_share(sum(bool(one.is_met) for one in planned), len(planned)) + (f" + {others}" if others else "")


def _show_inside(checks: Sequence[HeldOut]) -> str:
    return show_share(sum(one.is_inside for one in checks), len(checks)) if checks else ""


def _list_laws(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "| law | router | stated P | planned | needed | met | intervals that cover |"
    yield "|---|---|---|---|---|---|---|"
    for one in outcomes:
        stated = f"{one.stated:.3f}" if one.stated is not None else f"not known ({one.reason or one.error})"
        needed = "" if one.needed is None else one.needed or "none meets"
        met = {True: "yes", False: "NO", None: ""}[one.is_met]
        inside = f"{sum(each.is_inside for each in one.held_out)} of {len(one.held_out)}" if one.held_out else ""
        planned = "" if one.planned is None else one.planned
        yield f"| {one.number} {one.name} | {one.router} | {stated} | {planned} | {needed} | {met} | {inside} |"


def _show_seconds(outcomes: Sequence[Outcome]) -> str:
    shown = []
    for kind in KINDS:
        seconds = [one.seconds for one in outcomes if one.kind == kind]
        if seconds:
            shown.append(f"{kind} {np.mean(seconds):.0f} (at most {max(seconds):.0f})")
    return ", ".join(shown)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.studies.stated_probability",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--seeds-from", required=True, metavar="COMMIT", help="commit whose hash the seeds derive from")
    parser.add_argument("--state", type=Path, required=True, metavar="FILE", help="outcomes so far, one a line")
    parser.add_argument("--laws", type=int, default=LAWS, metavar="N", help=f"number of laws (default: {LAWS})")
    parser.add_argument("--tokens", type=int, default=TOKEN_TRUTHS, metavar="N", help="number of token truths")
    parser.add_argument("--known", type=int, default=KNOWN_TRUTHS, metavar="N", help="number of known families' truths")
    parser.add_argument("--every", type=int, default=1, metavar="K", help="only each K-th truth, to try the study")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    options = parser.parse_args(arguments)
    commit = resolve_commit(options.seeds_from)
    if commit is None:
        print(f"{options.seeds_from} is not a commit of this repository.", file=sys.stderr)
        return 2
    numbers: dict[Kind, int] = {"law": options.laws, "token": options.tokens, "known": options.known}
    truths = [(kind, number) for kind in KINDS for number in range(0, numbers[kind], options.every)]
    known = read_state(options.state, commit)
    missing = [truth for truth in truths if truth not in known]
    with options.state.open("ab") as file:
        for outcome in check_all(commit, missing, options.processes) if missing else ():
            known[outcome.key] = outcome
            file.write(msgspec.json.encode(outcome) + b"\n")
            file.flush()
            print(f"{outcome.kind} {outcome.number} {outcome.name}: {outcome.seconds} s", file=sys.stderr, flush=True)
    outcomes = [known[truth] for truth in truths]
    print("\n".join(list_tables(outcomes)))
    return 0 if all(bound.is_met for bound in list_bounds(outcomes)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
