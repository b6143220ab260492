from __future__ import annotations

import csv
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.analysis.published_points import load_published_points
from app.planning.step_times.bundled import load_bundled_evidence
from app.planning.step_times.estimate import LatencyEstimate
from app.planning.step_times.model import Metric
from app.planning.step_times.positive_sum import Floats
from tests.studies.published_choices import Choices, evaluate_choices
from tests.studies.published_folds import build_loops
from tests.studies.published_llm import (
    OUT_COLUMNS,
    PAGE,
    is_calibrated,
    replace_tables,
    report_folds,
    select_evidence,
    write_predictions,
)
from tests.studies.published_rows import build_point
from tests.studies.published_stages import STAGE_COLUMNS, predict_stages
from tests.studies.test_published_rows import ROW

STAGE = {
    "id": "s1", "model": "meta-llama/Llama-3.1-70B", "gpu": "h200_sxm", "tp": "4", "precision": "fp8",
    "engine": "vllm", "version": "0.18.0", "flags": "--max-num-seqs 64", "arrivals": "poisson", "rate_per_s": "1",
    "input_tokens": "1000", "output_tokens": "200",
}  # fmt: skip


def predict(**cells: str) -> dict[str, float]:
    (row,) = predict_stages([{**STAGE, **cells}], load_bundled_evidence())
    return {name: float(str(value)) for name, value in row.items() if name not in ("id", "refused")}


def test_evidence_excludes_predicted_rows_by_id_load_and_held_out_column() -> None:
    points = load_published_points()
    target = points[100]
    other = replace(target, clients=999, tpot_ms=1.0, ttft_ms=1.0)
    assert target.id not in {point.id for point in select_evidence([other], [target.id], ())}
    assert target.id in {point.id for point in select_evidence([other], ["another id"], ())}
    renamed = build_point({**ROW, "id": "renamed"})
    same = [point for point in points if point.served.accelerator == renamed.served.accelerator]
    selected = select_evidence([renamed], ["renamed"], ("accelerator",))
    assert len(selected) == len(points) - len(same)
    assert len(select_evidence([target], ["another id"], ())) < len(points)


def test_refused_prediction_is_a_row_with_empty_cells(tmp_path: Path) -> None:
    write_predictions(iter([{"id": "a", "refused": "why"}]), OUT_COLUMNS, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["id"], row["refused"], row["tpot_p50_ms"]) == ("a", "why", "")


def test_exact_estimate_chooses_the_best_configurations() -> None:
    published = build_loops(load_published_points()[:600])
    measured: dict[Metric, Floats] = {"tpot": published.tpot_s, "ttft": published.ttft_s}
    perfect = evaluate_choices(published, LatencyEstimate(measured, measured, measured))
    assert perfect == Choices(perfect.questions, perfect.questions, perfect.questions)
    assert perfect.questions > 5


def test_choice_that_exceeds_the_latency_limit_is_wrong() -> None:
    published = build_loops(load_published_points()[:600])
    hasty: dict[Metric, Floats] = {"tpot": published.tpot_s / 100, "ttft": published.ttft_s / 100}
    choices = evaluate_choices(published, LatencyEstimate(hasty, hasty, hasty))
    assert choices.right_first < 0.8 * choices.questions


def test_predicted_stage_has_ordered_quantiles_of_every_aggregate() -> None:
    cells = predict()
    assert {*cells, "id", "refused"} == set(STAGE_COLUMNS)
    for metric in ("ttft", "tpot"):
        for name in ("mean", "p50", "p95", "p99"):
            p10, p50, p90 = (cells[f"{metric}_{name}_{quantile}_ms"] for quantile in ("p10", "p50", "p90"))
            assert 0 < p10 < p50 < p90


def test_predicted_latency_grows_with_rate_and_uneven_arrivals() -> None:
    calm, busy, even = predict(), predict(rate_per_s="8"), predict(rate_per_s="8", arrivals="constant")
    assert calm["tpot_mean_p50_ms"] < busy["tpot_mean_p50_ms"]
    assert even["ttft_p99_p50_ms"] < busy["ttft_p99_p50_ms"]


def test_server_flags_limit_the_running_sequences() -> None:
    few, many = (predict(rate_per_s="12", flags=f"--max-num-seqs={limit}") for limit in (4, 256))
    assert few["ttft_mean_p50_ms"] > 10 * many["ttft_mean_p50_ms"]


@pytest.mark.parametrize(
    "cells", [{"model": "no/model"}, {"gpu": "no_gpu"}, {"engine": "none"}, {"gpu": "l4", "tp": "1"}]
)
def test_stage_on_an_unknown_or_too_small_server_is_refused(cells: dict[str, str]) -> None:
    (row,) = predict_stages([{**STAGE, **cells}], load_bundled_evidence())
    assert row["refused"]
    assert row.keys() == {"id", "refused"}


def read_tables(page: str) -> dict[tuple[str, str], tuple[float, ...]]:
    """Return the numbers of each row of the tables by title and name: points, curves, median and mean error, bias,
    coverage, its bootstrap, share at most p90, and width."""
    rows, title = {}, ""
    for line in page.splitlines():
        title = line.removeprefix("## ") if line.startswith("## ") else title
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 11 and cells[1].isdigit():
            numbers = "–".join([*cells[1:8], *cells[9:]]).replace("%", "").split("–")
            rows[title, cells[0]] = tuple(float(number) for number in numbers)
    return rows


@pytest.mark.parametrize(
    ("title", "name", "limits"),
    [
        ("TPOT, each GPU type left out", "all", (11.0, 17.0, 2.0)),
        ("TPOT, each model left out", "all", (13.0, 19.0, 2.0)),
        ("TTFT, each GPU type left out", "flags known", (25.0, 35.0, 3.0)),
        ("TTFT, each model left out", "flags known", (30.0, 42.0, 4.0)),
    ],
)
def test_documented_errors_and_interval_widths_do_not_grow(
    title: str, name: str, limits: tuple[float, float, float]
) -> None:
    _, _, median, mean, _, _, _, _, _, width = read_tables(PAGE.read_text(encoding="utf-8"))[title, name]
    assert (median <= limits[0], mean <= limits[1], width <= limits[2]) == (True, True, True)


@pytest.mark.parametrize(
    ("coverage", "bootstrap", "expected"),
    [(0.72, (0.65, 0.78), True), (0.65, (0.55, 0.81), True), (0.65, (0.55, 0.75), False), (0.95, (0.9, 0.98), False)],
)
def test_interval_is_calibrated_if_its_coverage_or_its_bootstrap_is(
    coverage: float, bootstrap: tuple[float, float], expected: bool
) -> None:
    assert is_calibrated(coverage, bootstrap) is expected


def test_documented_coverages_say_whether_they_are_calibrated() -> None:
    """Rows whose percentages are rounded to a limit are not checked."""
    cells = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    stated = [row for row in cells if len(row) == 11 and row[8] in ("yes", "no")]
    assert len(stated) > 60
    for row in stated:
        assert int(row[1]) >= 100
        coverage, low, high = (float(text) / 100 for text in (row[6].strip("%"), *row[7].replace("%", "").split("–")))
        if not {coverage, low, high} & {0.7, 0.8, 0.9}:
            assert (row[8] == "yes") is is_calibrated(coverage, (low, high)), row


@pytest.mark.soak
def test_documented_tables_match_the_study() -> None:
    """A fit on another processor differs in its last digits."""
    page = PAGE.read_text(encoding="utf-8")
    stated = read_tables(page)
    made = read_tables("\n".join(report_folds(build_loops(load_published_points()))))
    assert made.keys() == stated.keys()
    for key, numbers in made.items():
        assert numbers == pytest.approx(stated[key], abs=1.0), key


def test_new_tables_replace_only_the_tables_of_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert replace_tables(page, "a table").endswith("\n\na table\n")
    assert replace_tables(page, "a table").startswith("# Validation")
