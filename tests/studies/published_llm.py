"""How well a model of step times predicts published measurements of language models that it was not fitted to.

`python -m tests.studies.published_llm` leaves out each model, each GPU type, each engine and the later half of the
points in turn, and prints errors and coverage of 80 % intervals.

`--rows FILE --out FILE` predicts the rows of a file in the columns of `silicon_sample.csv`, by a fit to the bundled
points without those in the file. `--hold-out architectures,gpus` leaves out the models or GPU types of the file too.

`--stages FILE --out FILE` predicts open-loop stages (`tests.studies.published_stages`), by the bundled fit.

`--reveal N` predicts the loads of each curve again after its N loads with the fewest clients are revealed, and prints
errors, widths and coverage before and after (`tests.studies.published_reveal`).

`--page` writes the tables of the folds to the page of the validation.

`--bundle` fits the model that plans use to the bundled points.

`--import FILE --recipes FOLDER` writes the rows of such a file that count (`tests.studies.published_rows`) as the
bundled table, with the scripts of InferenceX that state the flags of their servers.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.analysis.language_models import load_language_models
from app.analysis.published_points import TABLE, format_points, load_published_points
from app.planning.step_times.bundled import FILE, format_evidence, load_bundled_evidence
from app.planning.step_times.estimate import FittedEvidence, LatencyEstimate, describe_shape, fit_evidence
from app.planning.step_times.intervals import METRICS, Novelty, label_groups
from app.planning.step_times.model import Metric
from app.planning.step_times.published import PublishedLoops, find_curve
from app.records.evidence import PublishedPoint
from tests.studies.published_choices import SHOWN, evaluate_choices
from tests.studies.published_folds import build_loops, estimate_groups, estimate_later, take
from tests.studies.published_reveal import report_reveal
from tests.studies.published_rows import build_point, read_rows, select_points
from tests.studies.published_stages import STAGE_COLUMNS, predict_stages

FOLDS: tuple[Novelty, ...] = ("model", "gpu", "engine")
MIN_EVIDENCE = 200
LATER = "2026-03-01"
"""Date from which on points are predicted from those before it."""
BANDS = ((1, 4), (5, 16), (17, 64), (65, 256), (257, 10**9))
"""Numbers of clients, both ends included."""
HOLD_OUT = {"architectures": "model", "models": "model", "gpus": "accelerator"}
OUT_COLUMNS = (
    "id", "tpot_p10_ms", "tpot_p50_ms", "tpot_p90_ms", "ttft_p10_ms", "ttft_p50_ms", "ttft_p90_ms",
    "refused", "tpot_withheld_ms", "ttft_withheld_ms",
)  # fmt: skip
_BOOTSTRAPS = 400
CALIBRATED = (0.7, 0.9)
"""Least and largest coverage of an 80 % interval that counts as right."""
MIN_POINTS, MIN_CURVES = 100, 10
"""Points and curves of a row, below which its coverage is not evaluated."""
PAGE = Path(__file__).parents[2] / "docs" / "validation" / "published-language-models.md"
_TITLES = {"model": "each model left out", "gpu": "each GPU type left out", "engine": "each engine left out"}
_FIRST_TABLE = f"## TPOT, {_TITLES['model']}"
Booleans = NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--import", dest="imported", type=Path, metavar="FILE", help="write the bundled table from it")
    parser.add_argument("--page", action="store_true", help="write the tables of the folds to the page of the docs")
    parser.add_argument("--bundle", action="store_true", help="fit the bundled model to the bundled points")
    parser.add_argument("--recipes", type=Path, metavar="FOLDER", help="scripts for one server, of InferenceX")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="rows to predict")
    parser.add_argument("--stages", type=Path, metavar="FILE", help="open-loop stages to predict")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the predictions of --rows or --stages")
    parser.add_argument("--hold-out", default="", metavar="KINDS", help="architectures, gpus or both, with a comma")
    parser.add_argument("--reveal", type=int, metavar="N", help="loads of each curve that are revealed")
    arguments = parser.parse_args()
    if arguments.imported:
        recipes = {path.name for path in arguments.recipes.iterdir()} if arguments.recipes else set()
        points = select_points(read_rows(arguments.imported), recipes)
        TABLE.write_text(format_points(points), encoding="utf-8")
        print(f"{len(points)} points, {TABLE.stat().st_size / 1000:.0f} kB")
    elif arguments.bundle:
        evidence = fit_bundled_evidence()
        Path(str(FILE)).write_bytes(format_evidence(evidence))
    elif arguments.rows:
        kinds = [HOLD_OUT[kind] for kind in arguments.hold_out.split(",") if kind]
        write_predictions(predict_rows(read_rows(arguments.rows), kinds), OUT_COLUMNS, arguments.out)
    elif arguments.stages:
        stages = predict_stages(read_rows(arguments.stages), load_bundled_evidence())
        write_predictions(stages, STAGE_COLUMNS, arguments.out)
    elif arguments.reveal:
        print("\n".join(report_reveal(build_loops(load_published_points()), arguments.reveal)))
    else:
        tables = "\n".join(report_folds(build_loops(load_published_points()))).lstrip("\n")
        if arguments.page:
            PAGE.write_text(replace_tables(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
        else:
            print(tables)


def fit_bundled_evidence() -> FittedEvidence:
    evidence = fit_evidence(build_loops(load_published_points()))
    shapes = {
        name: describe_shape(model.shape)
        for name, model in load_language_models().items()
        if name in evidence.known["model"]
    }
    return dataclasses.replace(evidence, shapes=shapes)


def predict_rows(rows: Sequence[Mapping[str, str]], held_out: Sequence[str]) -> Iterator[dict[str, object]]:
    """Predict rows from the bundled points without those rows, and without their models or accelerators if held out."""
    targets, refusals = [], {}
    for row in rows:
        try:
            if row["mode"] != "agg":
                raise ValueError("prefill and decode run on different accelerators")
            targets.append(build_point(row))
        except ValueError as error:
            refusals[row["id"]] = str(error)
    selected = select_evidence(targets, [row["id"] for row in rows], held_out)
    if len(selected) < MIN_EVIDENCE:
        raise SystemExit(
            f"only {len(selected)} published points are left to fit: use a file with fewer rows, or hold out less"
        )
    evidence = fit_evidence(build_loops(selected))
    yield from _format_predictions(targets, evidence)
    for row_id, reason in refusals.items():
        yield {"id": row_id, "refused": reason}


def select_evidence(
    targets: Sequence[PublishedPoint], target_ids: Sequence[str], held_out: Sequence[str]
) -> list[PublishedPoint]:
    """Return the bundled points that are no target: not by id, not as a repeated row, and not by what is held out."""
    ids, measured = set(target_ids), {(*find_curve(target), target.clients) for target in targets}
    values = {(round(target.ttft_ms, 2), round(target.tpot_ms, 3)) for target in targets if target.tpot_ms}
    excluded = {kind: {getattr(target.served, kind) for target in targets} for kind in held_out}
    return [
        point
        for point in load_published_points()
        if point.id not in ids
        and (*find_curve(point), point.clients) not in measured
        and (round(point.ttft_ms, 2), round(point.tpot_ms, 3)) not in values
        and not any(getattr(point.served, kind) in values for kind, values in excluded.items())
    ]


def _format_predictions(targets: Sequence[PublishedPoint], evidence: FittedEvidence) -> Iterator[dict[str, object]]:
    loops = build_loops(targets)
    estimate = evidence.estimate(loops.loops)
    for index, (target, novelties) in enumerate(zip(targets, evidence.find_novelties(loops.loops), strict=True)):
        row: dict[str, object] = {"id": target.id, "refused": ""}
        for metric in METRICS:
            p10, p50, p90 = (
                f"{1000 * float(part[metric][index]):.6g}" for part in (estimate.p10, estimate.p50, estimate.p90)
            )
            if metric == "ttft" and "engine" in novelties:
                row["refused"] = "no published server of this engine: how long it holds prompts back is unknown"
                row[f"{metric}_withheld_ms"] = p50
            else:
                row |= {f"{metric}_p10_ms": p10, f"{metric}_p50_ms": p50, f"{metric}_p90_ms": p90}
        yield row


def write_predictions(predictions: Iterator[dict[str, object]], columns: Sequence[str], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(predictions)


def report_folds(published: PublishedLoops) -> Iterator[str]:
    """Return the lines of the tables: errors by group, then coverage by band of clients."""
    flags = np.array([point.recipe is not None for point in published.points])
    for novelty in FOLDS:
        labels = np.array(label_groups(published.loops, novelty))
        estimate = estimate_groups(published, novelty)
        yield from _report(_TITLES[novelty], published, estimate, labels, flags)
        choices = evaluate_choices(published, estimate)
        yield (
            f"\nBest configuration: {choices.right_first} of {choices.questions} chosen within 10 %, "
            f"{choices.right_shown} among the first {SHOWN}"
        )
    later, estimate = estimate_later(published, LATER)
    title = f"measured since {datetime.date.fromisoformat(LATER):%B %Y}"
    yield from _report(title, take(published, later), estimate, np.array([""] * len(later)), flags[later])


def replace_tables(page: str, tables: str) -> str:
    """Return the text of the page with other tables, which end it."""
    return page.partition(_FIRST_TABLE)[0] + tables + "\n"


def _report(
    title: str, published: PublishedLoops, estimate: LatencyEstimate, labels: NDArray[np.str_], flags: Booleans
) -> Iterator[str]:
    everything = np.ones(len(labels), dtype=bool)
    cells = [("all", everything), *((label, labels == label) for label in sorted(set(labels) - {""}))]
    if flags.any():
        cells.insert(1, ("flags known", flags))
    clients, copies = published.loops.clients, published.loops.servers.copies
    cells.append(("data parallelism of attention", copies > 1))
    cells += [(_name_band(low, high), (clients >= low) & (clients <= high)) for low, high in BANDS]
    measured_s: dict[Metric, NDArray[np.float64]] = {"tpot": published.tpot_s, "ttft": published.ttft_s}
    for metric, measured in measured_s.items():
        yield f"\n## {metric.upper()}, {title}"
        yield "| | points | curves | median | mean | bias | 80 % covers | bootstrap | calibrated | ≤ p90 | p90 / p10 |"
        yield "|---|---|---|---|---|---|---|---|---|---|---|"
        for name, inside in cells:
            if inside.any():
                yield _format_cell(name, inside, published, estimate, metric, measured)


def _name_band(low: int, high: int) -> str:
    return f"{low} and more clients" if high == BANDS[-1][1] else f"{low}–{high} clients"


def _format_cell(
    name: str,
    inside: Booleans,
    published: PublishedLoops,
    estimate: LatencyEstimate,
    metric: Metric,
    measured: NDArray[np.float64],
) -> str:
    p10, p50, p90 = (part[metric][inside] for part in (estimate.p10, estimate.p50, estimate.p90))
    values = measured[inside]
    errors = np.abs(p50 / values - 1)
    covered = (values >= p10) & (values <= p90)
    curves = [find_curve(point) for point, taken in zip(published.points, inside, strict=True) if taken]
    low, high = _bootstrap(covered, curves)
    return (
        f"| {name} | {inside.sum()} | {len(set(curves))} | {np.median(errors):.1%} | {errors.mean():.1%} "
        f"| {np.exp(np.mean(np.log(p50 / values))):.2f} | {covered.mean():.0%} | {low:.0%}–{high:.0%} "
        f"| {_evaluate_coverage(covered, curves)} | {(values <= p90).mean():.0%} | {np.median(p90 / p10):.2f} |"
    )


def is_calibrated(coverage: float, bootstrap: tuple[float, float]) -> bool:
    """Return whether the coverage of 80 % intervals is within `CALIBRATED`, or its bootstrap interval contains 80 %."""
    low, high = bootstrap
    return CALIBRATED[0] <= coverage <= CALIBRATED[1] or low <= 0.8 <= high


def _evaluate_coverage(covered: Booleans, curves: Sequence[object]) -> str:
    if len(covered) < MIN_POINTS or len(set(curves)) < MIN_CURVES:
        return "n/a"
    return "yes" if is_calibrated(float(covered.mean()), _bootstrap(covered, curves)) else "no"


def _bootstrap(covered: Booleans, curves: Sequence[object]) -> tuple[float, float]:
    """Return the 95 % interval of the coverage if whole curves are drawn again."""
    index = {curve: number for number, curve in enumerate(dict.fromkeys(curves))}
    codes = np.array([index[curve] for curve in curves])
    hits, counts = np.bincount(codes, covered), np.bincount(codes)
    drawn = np.random.default_rng(1).integers(0, len(counts), (_BOOTSTRAPS, len(counts)))
    shares = hits[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)


if __name__ == "__main__":
    main()
