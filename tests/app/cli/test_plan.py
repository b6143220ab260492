from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import yaml
from msgspec.structs import replace

from app.cli import plan as command
from app.cli.main import main
from app.errors import ExitCode
from app.planning.exports.settings import ExportKind, ExportSettings
from app.records.plan import Plan
from app.wiring.plan_files import read_plan
from tests.fakes import plan_sources as sources
from tests.fakes import results, small_plan

pytestmark = pytest.mark.usefixtures("short_simulations")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a run of Poisson arrivals, to which a service model can be fitted, and a run without a max rate."""
    home = tmp_path_factory.mktemp("home")
    stages = tuple(replace(stage, arrival_kind="poisson") for stage in results.full_run().result.stages)
    sources.endpoint_run(home / "runs" / "1-scores", stages=stages)
    sources.endpoint_run(home / "runs" / "2-slow", max_rate=None)
    sources.write_file(home / "own.yaml", sources.OFFERS)
    sources.write_plan_file(home / "small.yaml", small_plan.planning_inputs())
    return home


@pytest.fixture(autouse=True)
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(home))
    monkeypatch.chdir(home)


@pytest.fixture(scope="module")
def plan_and_output(home: Path) -> tuple[Path, str]:
    """The plan file of a run planned with every option that changes its inputs, and its JSON output."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SIZEWISE_HOME", str(home))
        traffic = sources.write_file(home / "traffic.yaml", "traffic: {peak: 600/s, shape: evening}\n")
        inputs = ["1-sc", "--traffic", traffic, "--slo", "latency_ms.p95 < 80", "--confidence", "0.95"]
        offers = ["--offers", str(home / "own.yaml"), "--set", "plan.providers=[acme]"]
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert main(["plan", *inputs, *offers, "--json", "--out", str(home / "whole.yaml")]) == ExitCode.OK
    return home / "whole.yaml", out.getvalue()


def test_plan_of_a_run_uses_all_options(plan_and_output: tuple[Path, str]) -> None:
    plan = read_plan(plan_and_output[0]).plan
    assert (plan.traffic.peak_per_s, plan.traffic.shape) == (600.0, "evening")
    assert (plan.slo, plan.confidence) == (("latency_ms.p95 < 80",), 0.95)
    assert plan.recommendation is not None
    assert plan.recommendation.fleet.offer == "acme/c4@here"
    assert plan.recommendation.fleet.sizing_method == "simulated"
    assert {fleet.offer for fleet in plan.offers if fleet.rejected is None} == {"acme/c4@here", "acme/c8@here"}


def test_plan_json_is_the_plan_of_the_plan_file(plan_and_output: tuple[Path, str]) -> None:
    assert msgspec.json.decode(plan_and_output[1], type=Plan) == read_plan(plan_and_output[0]).plan
    assert json.loads(plan_and_output[1])["latency_metric"] == "latency_ms.p95"


def test_plan_of_a_plan_file_writes_the_same_bytes(
    plan_and_output: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replanned = tmp_path / "again.yaml"
    assert main(["plan", str(plan_and_output[0]), "--out", str(replanned)]) == ExitCode.OK
    assert replanned.read_bytes() == plan_and_output[0].read_bytes()
    (catalog,) = tmp_path.glob("catalogue-*.csv")
    assert catalog.read_bytes() == (plan_and_output[0].parent / catalog.name).read_bytes()
    assert capsys.readouterr().err == f"{replanned} was written\n{catalog} was written\n"


def test_plan_file_without_its_catalog_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "small.yaml", "--estimate", "--out", str(tmp_path / "plan.yaml")]) == ExitCode.OK
    (catalog,) = tmp_path.glob("catalogue-*.csv")
    catalog.unlink()
    capsys.readouterr()
    for command_words in (["plan"], ["simulate"], ["report", "--format", "text"]):
        assert main([*command_words, str(tmp_path / "plan.yaml")]) == ExitCode.USAGE
        error, hint = capsys.readouterr().err.splitlines()
        assert f"needs {catalog.name}, which is not in the same folder" in error
        assert hint.startswith(f"hint: Copy {catalog.name} ")


def test_price_age_counts_from_the_plan_date_unless_today_is_set(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def planned_on(*options: str) -> tuple[str, int]:
        assert main(["plan", "small.yaml", "--estimate", "--json", *options]) == ExitCode.OK
        plan = msgspec.json.decode(capsys.readouterr().out, type=Plan)
        assert plan.recommendation is not None
        return plan.planned_on, plan.recommendation.fleet.price_age_days

    assert planned_on() == ("2026-08-01", 0)
    assert planned_on("--today", "2026-09-05") == ("2026-09-05", 35)
    assert main(["plan", "small.yaml", "--today", "soon"]) == ExitCode.USAGE
    assert "'soon' is not a date such as 2026-12-01" in capsys.readouterr().err


def test_plan_considers_only_set_accelerators_and_price_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "small.yaml", "--estimate", "--json", "--set", "plan.accelerators=l4,l40s"]) == 10
    plan = msgspec.json.decode(capsys.readouterr().out, type=Plan)
    assert {fleet.rejected_by for fleet in plan.offers} == {"accelerator type"}
    assert main(["plan", "small.yaml", "--estimate", "--set", "plan.sources=karp-aws"]) == ExitCode.OK


def test_plan_prints_decision_bottleneck_confidence_and_offers_in_order(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert main(["plan", "small.yaml", "--estimate"]) == ExitCode.OK
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "Decision     6 × acme/c2, $4,380/month"
    order = [
        out.index(part)
        for part in (
            "Serves 60.0 req/s within p95 latency < 1000 ms with ", "Evidence: ",
            "acme, here; 5 instances for the load, 1 spare",
            "Plan         Bottleneck: peak: one instance sustains ", "Confidence   P(SLO met)",
        )
    ]  # fmt: skip
    assert order == sorted(order)
    assert any(line.startswith("             Recommended: 6 × acme/c2@here, $4,380/month") for line in lines)
    assert any(line.startswith("             Runner-up: ") and "× acme/c4@here" in line for line in lines)
    table = lines[next(at for at, line in enumerate(lines) if line.startswith("instances  offer ")) :]
    assert [line.split()[1] for line in table[2:]] == ["acme/c2@here", "acme/c4@here"]
    assert err == ""


def test_what_if_cases_are_rows_with_cost_differences(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ("traffic.peak=120/s", "speed=2", "price.acme/c4=0.5", "plan.budget=1 USD/month")
    options = [word for change in changes for word in ("--what-if", change)]
    assert main(["plan", "small.yaml", "--estimate", *options]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("what-if case "))
    rows = [" ".join(line.split()) for line in lines[at + 2 :]]
    assert rows[0].startswith("as planned 6 × acme/c2@here 4,380 +0 ")
    assert rows[1].startswith("traffic.peak=120/s 10 × acme/c2@here 7,300 +2,920 ")
    assert rows[2].startswith("speed=2 ")
    assert "-" in rows[2].split("acme/c2@here")[1]
    assert rows[3].startswith("price.acme/c4=0.5 4 × acme/c4@here 1,460 -2,920 ")
    assert rows[4] == "plan.budget=1 USD/month no offer fits n/a n/a n/a"


def test_plan_without_a_fitting_offer_exits_with_10_and_prints_no_offers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "small.yaml", "--estimate", "--set", "plan.budget=1 USD/month"]) == ExitCode.GATE_FAILED
    out = capsys.readouterr().out
    assert out.startswith("Decision     No offer sustains a peak of 60.0 req/s\n")
    assert "instances  offer" not in out
    for kind in ("csv", "json"):
        assert main(["plan", "small.yaml", "--estimate", "--set", "plan.budget=1 USD/month", "--export", kind]) == 10
    assert main(["plan", "small.yaml", "--estimate", "--set", "plan.budget=1 USD/month", "--export", "k8s"]) == 2
    assert "recommends no fleet" in capsys.readouterr().err


def test_plan_without_a_fitting_offer_suggests_a_budget_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "small.yaml", "--estimate", "--set", "plan.budget=1 USD/month"]) == ExitCode.GATE_FAILED
    out = capsys.readouterr().out
    assert '--set "plan.budget=4380 USD/month"' in out
    assert main(["plan", "small.yaml", "--estimate", "--set", "plan.budget=4380 USD/month"]) == ExitCode.OK


def test_plan_uses_a_price_set_by_the_user(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in ("small.yaml", "1-sc"):
        options = ["--offers", "own.yaml", "--set", "plan.providers=[acme]"] if source == "1-sc" else []
        arguments = ["plan", source, "--estimate", "--json", *options]
        assert main([*arguments, "--set", "price.acme/c4=0.01", "--set", "traffic.peak=90/s"]) == ExitCode.OK
        plan = msgspec.json.decode(capsys.readouterr().out, type=Plan)
        assert plan.recommendation is not None
        fleet = plan.recommendation.fleet
        assert (fleet.offer, fleet.usd_per_hour_each, fleet.price_source) == ("acme/c4@here", 0.01, "yours")


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("k8s", ["kubernetes-fraud.yaml"]),
        ("kserve", ["kserve-fraud.yaml"]),
        ("terraform", ["sizewise-fraud.auto.tfvars.json", "sizewise-fraud.variables.tf.json"]),
        ("csv", ["offers-fraud.csv"]),
        ("json", ["plan-fraud.json"]),
    ],
)
def test_plan_export_is_printed_or_written_to_a_folder(
    kind: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = ["plan", "small.yaml", "--estimate", "--export", kind, "--with", "name=Fraud"]
    assert main(export) == ExitCode.OK
    printed = capsys.readouterr().out
    folder = tmp_path / "new" / "folder"
    assert main([*export, "--out", str(folder)]) == ExitCode.OK
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"{folder / name} was written" for name in files]
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    assert "".join((folder / name).read_text("utf-8") for name in files) == printed


def test_export_settings_appear_in_kubernetes_manifests(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("image=registry/server:1", "port=9000", "autoscaler=hpa")
    options = [word for setting in settings for word in ("--with", setting)]
    assert main(["plan", "small.yaml", "--estimate", "--export", "k8s", *options]) == ExitCode.OK
    by_kind = {
        manifest["kind"]: manifest for manifest in yaml.load_all(capsys.readouterr().out, Loader=yaml.CSafeLoader)
    }
    (container,) = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["ports"][0]["containerPort"]) == ("registry/server:1", 9000)
    assert "HorizontalPodAutoscaler" in by_kind


def test_export_option_offers_all_export_formats() -> None:
    assert get_args(ExportKind) == get_args(command.ExportFormat)


def test_plan_reports_an_old_exchange_rate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "small.yaml", "--estimate", "--set", "plan.budget=90000 EUR/month"]) == ExitCode.OK
    assert capsys.readouterr().err.startswith("EUR is converted at ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nothing"], "no run matches 'nothing'"),
        (["2-slow"], "2-slow has no rate that met its SLO"),
        (["small.yaml", "1-scores"], "cannot be combined with other sources"),
        (["small.yaml", "--set", "plan.zoness=3"], "the key 'zoness' is unknown in plan"),
        (["small.yaml", "--confidence", "2"], "plan.confidence"),
        (["small.yaml", "--confidence", "often"], "'often' is not a percentage"),
        (["small.yaml", "--slo", "fast"], '"fast" is not a valid objective'),
        (["small.yaml", "--traffic", "own.yaml"], "own.yaml"),
        (["small.yaml", "--offers", "small.yaml"], "small.yaml"),
        (["small.yaml", "--what-if", "speed=fast"], "--what-if speed must be a factor from 0.01 to 100 (got fast)"),
        (["small.yaml", "--what-if", "speed=2", "--json"], "cannot be combined with --json, --output or --export"),
        (["small.yaml", "--what-if", "speed=2", "--output", "csv"], "cannot be combined with --json, --output"),
        (["small.yaml", "--json", "--output", "md"], "--json and --output md cannot be combined"),
        (["small.yaml", "--set", "plan.surge=1"], "the key 'surge' is unknown in plan"),
        (["small.yaml", "--slo", "latency_ms.p95 < 80", "--set", "slo=[error_rate < 1%]"], "--slo and --set slo set"),
        (["small.yaml", "--confidence", "90%", "--set", "plan.confidence=95%"], "--confidence and --set plan.confid"),
        (["small.yaml", "--with", "image=x"], "--with needs --export"),
        (
            [
                "--model",
                "llama-3.1-8b",
                "--peak",
                "5/s",
                "--input-tokens",
                "9",
                "--output-tokens",
                "9",
                "--slo",
                "ttft p95 < 1s",
                "--what-if",
                "speed=2",
            ],
            "nothing was measured for this plan",
        ),
        (["small.yaml", "--export", "k8s", "--with", "imgae=x"], "--with imgae=x: 'imgae' is not an export setting"),
        (["small.yaml", "--export", "k8s", "--with", "port=high"], "--with: Expected `int"),
        (["small.yaml", "--export", "k8s", "--with", "port=0"], "0 is not a valid port"),
        (["small.yaml", "--export", "csv", "--with", "image=x"], "--with image has no effect on --export csv"),
        (["small.yaml", "--export", "k8s", "--with", "timezone=UTC"], "no effect without autoscaler=scheduled"),
    ],
)
def test_invalid_plan_options_are_usage_errors_and_write_nothing(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *options, "--estimate", "--out", str(tmp_path / "out")]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    first, *hint = err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert [line[:6] for line in hint] in ([], ["hint: "])
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_export_settings_are_listed_in_help_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    names = [field.name for field in msgspec.structs.fields(ExportSettings)]
    assert [name for name, _ in command.EXPORT_SETTINGS] == names
    assert main(["plan", "--help"]) == ExitCode.OK
    printed = capsys.readouterr().out
    assert [name for name in names if f"\n  {name} " not in printed] == []
    for wrong in ("imgae=x", "nothing=x"):
        assert main(["plan", "small.yaml", "--estimate", "--export", "k8s", "--with", wrong]) == ExitCode.USAGE
        assert f"The settings are {', '.join(names)}." in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--export", "csv"]])
def test_plan_output_that_cannot_be_written_is_a_usage_error(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "small.yaml", "--estimate", *options, "--out", "own.yaml/plan.yaml"]) == ExitCode.USAGE
    assert "cannot be written: Not a directory" in capsys.readouterr().err


class _BrokenPipe(io.StringIO):
    """Standard output whose reader has exited, such as `| head`."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_plan_file_is_written_when_standard_output_is_a_broken_pipe(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    with contextlib.redirect_stdout(_BrokenPipe()), contextlib.suppress(BrokenPipeError, SystemExit):
        main(["plan", "small.yaml", "--estimate", "--out", str(path)])
    assert read_plan(path).plan.offers


def test_fitting_offers_are_csv_with_full_precision_and_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "small.yaml", "--estimate", "--output", "csv"]) == ExitCode.OK
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert main(["plan", "small.yaml", "--estimate", "--output", "json"]) == ExitCode.OK
    plan = msgspec.json.decode(capsys.readouterr().out, type=Plan)
    fleets = [fleet for fleet in plan.offers if fleet.rejected is None]
    assert [(row["offer"], int(row["instances"])) for row in rows] == [
        (fleet.offer, fleet.instances) for fleet in fleets
    ]
    assert [float(row["latency_at_peak_ms"]) for row in rows] == [fleet.latency_at_peak.value for fleet in fleets]
    assert main(["plan", "small.yaml", "--estimate", "--output", "md"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| instances | offer |")
    assert len(lines) == 2 + len(rows)
    assert {row["tokens_per_s_per_user"] for row in rows} == {""}


def test_csv_of_a_model_without_measurements_has_the_throughput_of_its_replicas(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lengths = ("--input-tokens", "900", "--output-tokens", "300")
    arguments = ("--model", "llama-3.1-8b", "--accelerator", "l4", "--peak", "1/s", *lengths, "--slo", "ttft p95 < 5s")
    assert main(["plan", *arguments, "--estimate", "--output", "csv"]) == ExitCode.OK
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows
    for row in rows:
        assert (row["replica_engine"], row["replica_weights"]) == ("vllm", "bf16")
        assert float(row["tokens_per_s_per_user"]) > 0
        assert float(row["tokens_per_s_per_accelerator"]) > float(row["tokens_per_s_per_user"])
