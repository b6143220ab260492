"""Plan fleets from stored runs or other tools' results: size, cost and confidence."""

from __future__ import annotations

import datetime
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import click

from app.cli.commands import PATH, Command, CommandOption
from app.cli.options import OutputOptions, complete_runs, out_option, output_options, parse_output, set_option
from app.cli.plan_options import OPTIONS as MODEL_OPTIONS
from app.cli.plan_options import ModelOptions, build_overrides, check_set_once
from app.cli.streams import print_whole
from app.errors import ExitCode, UsageError
from app.extras import require_extra

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.cli.options import OutputFormat
    from app.planning.exports.settings import ExportSettings
    from app.records.plan import Fleet, Plan
    from app.records.planning_inputs import PlanningInputs
    from reports.sections.section import Column

_MAX_OFFERS = 10
EXPORT_SETTINGS = (
    ("name", "name of the manifests (default: the profile's name)"),
    ("namespace", "namespace of the manifests"),
    ("autoscaler", "none (default), hpa, keda or scheduled"),
    ("image", "container image of the server"),
    ("port", "port of the server (default: that of the measured URL)"),
    ("ready_path", "path of the readiness and startup probes (default: that of the profile or protocol)"),
    ("ready_port", "port of ready_path, if it is not the server's"),
    ("live_path", "path of the liveness probe (default: that of the protocol)"),
    ("start_within_s", "time that a pod may take to start, in s (default: 600)"),
    ("model_uri", "storage URI of the model files (kserve)"),
    ("predictor", "onnx (default) or container (kserve)"),
    ("metric_name", "custom metric for the request rate of a pod (hpa)"),
    ("metric_query", "PromQL query for the request rate of the service (keda)"),
    ("prometheus_url", "URL of Prometheus (keda)"),
    ("timezone", "time zone of the plan's hours, like Europe/Berlin (scheduled)"),
    ("start_early_minutes", "minutes between the start of pods and their hour (scheduled; default: 10)"),
    ("instance_memory_gib", "memory of an instance in GiB (default: that of the price list)"),
    ("node_share", "share of a node's CPU and memory that pods may request (default: 0.9)"),
    ("accelerator_resource", "resource name of the accelerator, like nvidia.com/gpu (default: by vendor)"),
)
"""Keys of --with with their meanings; an unknown key prints the list of all keys."""
ExportFormat = Literal["k8s", "kserve", "terraform", "csv", "json"]
"""As in app.planning.exports.settings, which takes too long to import here."""


def _plan(
    sources: tuple[str, ...],
    traffic: Path | None,
    slo: tuple[str, ...],
    today: datetime.date | None,
    confidence: str | None,
    offers: tuple[Path, ...],
    overrides: tuple[str, ...],
    what_if: tuple[str, ...],
    estimate: bool,
    export: ExportFormat | None,
    export_settings: tuple[str, ...],
    out: Path | None,
    model_options: ModelOptions,
    requested_output: OutputOptions,
) -> int:
    from app.cli.tables import format_table
    from app.planning.fleets import plan_fleets
    from app.profiles.pricing.currencies import find_currency_warnings
    from app.wiring.dependencies import get_utc_now
    from app.wiring.plan_changes import apply_change
    from app.wiring.planning import PlanRequest, build_plan_inputs

    require_extra("plan")
    output = parse_output(requested_output)
    if not sources and model_options.model is None:
        raise UsageError(
            "nothing is specified to plan", hint="Specify a SOURCE such as last, or a language model with --model NAME."
        )
    _check_output(output, what_if, export, export_settings)
    if slo:
        check_set_once("--slo", "slo", overrides)
    request = PlanRequest(
        sources=sources,
        overrides=(
            *build_overrides(model_options, sources, overrides, traffic),
            *overrides,
            *_build_confidence_override(confidence, overrides),
        ),
        traffic=traffic,
        slo=slo,
        offers=offers,
        planned_on=today,
        model=model_options.model,
    )
    plan_inputs = build_plan_inputs(request, get_utc_now().date())
    for warning in find_currency_warnings(list(request.overrides), plan_inputs.today):
        print(warning, file=sys.stderr)
    changed_inputs_by_change = {change: apply_change(plan_inputs, change) for change in what_if}
    settings = _parse_export_settings(export_settings, export)
    plan = plan_fleets(plan_inputs, estimate_only=estimate)
    if out is not None and export is None:
        _save_plan(out, plan_inputs, plan)  # first, because printing may end the command, for example into `head`
    if export is not None:
        _write_export(plan, export, settings, out)
    elif output == "json":
        _write_export(plan, "json", settings, None)
    elif output != "table":
        print_whole(format_table(_build_columns(plan.latency_metric), _list_feasible_fleets(plan), output))
    else:
        _show_plan(plan, plan_inputs)
        if plan.recommendation is None:
            _show_relaxations(plan_inputs)
        if changed_inputs_by_change:
            what_if_plans = {
                change: plan_fleets(changed_inputs, estimate_only=estimate)
                for change, changed_inputs in changed_inputs_by_change.items()
            }
            _show_what_if(plan, what_if_plans)
            _show_price_coverage(plan_inputs, changed_inputs_by_change)
    return ExitCode.OK if plan.recommendation is not None else ExitCode.GATE_FAILED


def _check_output(
    output: OutputFormat, what_if: Sequence[str], export: ExportFormat | None, export_settings: Sequence[str]
) -> None:
    """Raise UsageError for kinds of output that cannot be combined, and for settings without the output that they
    change."""
    if export_settings and export is None:
        raise UsageError("--with needs --export", hint="Add an option such as --export k8s.")
    if what_if and (output != "table" or export):
        hint = "Run `plan` once per change, with --set."
        raise UsageError("--what-if cannot be combined with --json, --output or --export", hint=hint)
    if export is not None and output != "table":
        raise UsageError("--export cannot be combined with --json or --output", hint="Use one of them.")


def _build_confidence_override(confidence: str | None, overrides: Sequence[str]) -> tuple[str, ...]:
    if confidence is None:
        return ()
    check_set_once("--confidence", "plan.confidence", overrides)
    return (f"plan.confidence={_format_percent(confidence)}",)


def _format_percent(text: str) -> str:
    """Convert a probability such as 0.9 to a percentage; other text is returned unchanged."""
    try:
        number = float(text)
    except ValueError:
        return text
    return f"{100 * number:g}%" if number <= 1 else text


def _show_plan(plan: Plan, plan_inputs: PlanningInputs) -> None:
    from app.cli.tables import format_table
    from app.reporting.plan import build_input_section
    from reports.text import render_plan

    print_whole(render_plan(build_input_section(plan, plan_inputs)))
    fleets = _list_feasible_fleets(plan)[:_MAX_OFFERS]
    if fleets:
        print()
        print_whole(format_table(_build_columns(plan.latency_metric), fleets))


def _list_feasible_fleets(plan: Plan) -> list[Fleet]:
    return [fleet for fleet in plan.offers if fleet.rejected is None]


def _show_relaxations(plan_inputs: PlanningInputs) -> None:
    from app.planning.what_if.relaxation import find_relaxations

    relaxations = find_relaxations(plan_inputs)
    if relaxations:
        print("\nChanges that would make an offer fit, each applied separately (analytical estimate):")
    for relaxation in relaxations:
        options = [f'--set "{change}"' for change in relaxation.changes] + [
            f'--slo "{text}"' for text in relaxation.slo
        ]
        print(f"  {relaxation.text} {' '.join(options)}")


def _build_columns(latency_metric: str) -> tuple[Column[Fleet], ...]:
    from app.planning.exports.offers_csv import REPLICA_COLUMNS, get_replica_value
    from app.records.metrics import metric_label
    from reports.sections.section import Column

    return (
        Column("instances", "instances"),
        Column("offer", "offer"),
        Column("usd_per_month", "$/month", lambda fleet: fleet.usd_per_month.value),
        Column("", "P10-P90 $", _format_cost_range),
        Column("usd_per_month_p10", "", lambda fleet: fleet.usd_per_month_needed and fleet.usd_per_month_needed.p10),
        Column("usd_per_month_p90", "", lambda fleet: fleet.usd_per_month_needed and fleet.usd_per_month_needed.p90),
        Column("", "P(SLO met)", _format_probability),
        Column("probability_slo_met", "", lambda fleet: fleet.slo_probabilities and fleet.slo_probabilities.planned),
        Column("", "peak utilization %", _compute_utilization_percent),
        Column("utilization_at_peak", "", lambda fleet: fleet.utilization_at_peak.value),
        Column("", f"{metric_label(latency_metric)} at peak (ms)", _format_latency),
        Column("latency_at_peak_ms", "", lambda fleet: fleet.latency_at_peak.value),
        Column("is_latency_limit"),
        Column("latency_metric", "", lambda _: latency_metric),
        Column("basis", "based on"),
        Column("sizing_method", "method"),
        Column("risk", "risk (0-4)"),
        Column("price_date", "price date"),
        Column("price_source"),
        *(Column(name, "", functools.partial(get_replica_value, column=name)) for name in REPLICA_COLUMNS),
    )


def _format_cost_range(fleet: Fleet) -> str | None:
    cost_range = fleet.usd_per_month_needed
    return None if cost_range is None else f"{cost_range.p10:,.0f}-{cost_range.p90:,.0f}"


def _format_latency(fleet: Fleet) -> str | float | None:
    """Return the latency at the peak. A limit is marked with ≤."""
    from app.cli.tables import format_cell

    latency_ms = fleet.latency_at_peak.value
    return latency_ms if latency_ms is None or not fleet.is_latency_limit else f"≤ {format_cell(latency_ms)}"


def _format_probability(fleet: Fleet) -> str | None:
    from app.planning.formatting import format_probability

    return None if fleet.slo_probabilities is None else format_probability(fleet.slo_probabilities.planned)


def _compute_utilization_percent(fleet: Fleet) -> float | None:
    utilization = fleet.utilization_at_peak.value
    return None if utilization is None else 100 * utilization


def _show_what_if(plan: Plan, what_if_plans: dict[str, Plan]) -> None:
    from app.cli.tables import format_table

    print()
    print_whole(format_table(_build_what_if_columns(plan), [("as planned", plan), *what_if_plans.items()]))


def _show_price_coverage(plan_inputs: PlanningInputs, changed_inputs_by_change: Mapping[str, PlanningInputs]) -> None:
    """Print which offers a what-if case with another kind of price compares."""
    from app.planning.plan_notes import describe_price_coverage

    for change, changed_inputs in changed_inputs_by_change.items():
        if changed_inputs.limits.price != plan_inputs.limits.price:
            for note in describe_price_coverage(changed_inputs):
                print(f"{change}: {note}")


def _build_what_if_columns(original_plan: Plan) -> tuple[Column[tuple[str, Plan]], ...]:
    from reports.sections.section import Column

    return (
        Column("", "what-if case", lambda row: row[0]),
        Column("", "fleet", lambda row: _format_recommended_fleet(row[1])),
        Column("", "$/month", lambda row: _get_usd_per_month(row[1])),
        Column("", "change $/month", lambda row: _format_cost_change(row[1], original_plan)),
        Column("", "P(SLO met)", lambda row: _format_recommended_probability(row[1])),
    )


def _format_recommended_fleet(plan: Plan) -> str:
    if plan.recommendation is None:
        return "no offer fits"
    fleet = plan.recommendation.fleet
    return f"{fleet.instances} × {fleet.offer}"


def _format_recommended_probability(plan: Plan) -> str | None:
    return None if plan.recommendation is None else _format_probability(plan.recommendation.fleet)


def _get_usd_per_month(plan: Plan) -> float | None:
    return None if plan.recommendation is None else plan.recommendation.fleet.usd_per_month.value


def _format_cost_change(plan: Plan, original_plan: Plan) -> str | None:
    usd, original_usd = _get_usd_per_month(plan), _get_usd_per_month(original_plan)
    return None if usd is None or original_usd is None else f"{usd - original_usd:+,.0f}"


def _save_plan(path: Path, plan_inputs: PlanningInputs, plan: Plan) -> None:
    from app import __version__
    from app.wiring.plan_files import PlanFile, write_plan

    for written_path in write_plan(path, PlanFile(f"sizewise {__version__}", plan, plan_inputs)):
        print(f"{written_path} was written", file=sys.stderr)


def _write_export(plan: Plan, kind: ExportFormat, settings: ExportSettings, directory: Path | None) -> None:
    from app.planning.exports.files import export_plan

    files = export_plan(plan, kind, settings)
    if directory is None:
        print_whole("\n".join(text.rstrip("\n") for text in files.values()))
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8", newline="")
            print(f"{directory / name} was written", file=sys.stderr)
    except OSError as error:
        raise UsageError(f"{directory} cannot be written: {error.strerror}") from error


def _parse_export_settings(options: Sequence[str], kind: ExportFormat | None) -> ExportSettings:
    import msgspec

    from app.planning.exports.settings import ExportSettings, check_setting_is_used
    from app.profiles.problems import did_you_mean

    setting_names = [field.name for field in msgspec.structs.fields(ExportSettings)]
    setting_values = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals and key in setting_names:
            raise UsageError(f"--with {option}: the value is missing", hint=f"Use --with {key}=VALUE.")
        if key not in setting_names:
            suggestion = did_you_mean(key, setting_names)
            hint = f"{f'{suggestion} ' if suggestion else ''}The settings are {', '.join(setting_names)}."
            raise UsageError(f"--with {option}: {key!r} is not an export setting", hint=hint)
        setting_values[key] = value
    try:
        settings = msgspec.convert(setting_values, ExportSettings, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"--with: {error}") from error
    for name in setting_values:
        assert kind is not None
        check_setting_is_used(name, kind, settings)
    return settings


def _parse_date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a date such as 2026-12-01") from None


COMMAND = Command(
    "plan",
    _plan,
    [
        click.Argument(
            ["sources"],
            nargs=-1,
            metavar="[SOURCE]...",
            shell_complete=complete_runs,
            help="one or more runs (directory, ID or its prefix, or 'last'); result files or a folder of GuideLLM, "
            "vllm bench, AIPerf, genai-bench, inference-perf, perf_analyzer or Locust; a load curve (CSV or YAML); a "
            "language model (YAML); or a plan file",
        ),
        CommandOption(["--traffic"], type=PATH, metavar="FILE", help="traffic as YAML, or a request trace"),
        CommandOption(
            ["--slo"],
            multiple=True,
            metavar="TEXT",
            help='override the SLO of the profile, like "latency_ms.p95 < 50"; repeatable',
        ),
        CommandOption(
            ["--today"],
            type=_parse_date,
            metavar="DATE",
            help="date from which price ages, growth and campaigns count, like 2026-12-01 (default: the date of the "
            "plan file, or today)",
        ),
        CommandOption(
            ["--confidence"],
            metavar="P",
            help="required probability that the SLO is met at the peak, like 0.9 or 90%",
        ),
        CommandOption(
            ["--offers"],
            multiple=True,
            type=PATH,
            metavar="FILE",
            help="your own price list, which overrides the catalog",
        ),
        set_option(
            "override traffic, plan or target.hardware, e.g. --set traffic.peak=900/s, or a price: --set "
            "price.aws/g6.xlarge=0.7 ($/h)"
        ),
        CommandOption(
            ["--what-if"],
            multiple=True,
            metavar="KEY=VALUE",
            help="also plan with this change and show the difference: a key of --set, price.OFFER=$/h, or speed=1.3",
        ),
        CommandOption(["--estimate"], is_flag=True, help="use the analytical estimate only, without simulation"),
        CommandOption(
            ["--export"],
            type=click.Choice(get_args(ExportFormat)),
            help="print the fleet in another tool's format instead of the plan",
        ),
        CommandOption(
            ["--with", "export_settings"],
            multiple=True,
            metavar="KEY=VALUE",
            help="setting of the export, such as image=registry.example/model:1; repeatable; see the keys below",
        ),
        out_option(
            "PATH", "path of the plan file, beside which its catalog is written, or folder for the files of --export"
        ),
        *MODEL_OPTIONS,
        *output_options("print the plan as JSON"),
    ],
    documentation=__doc__,
    notes={"Keys of --with, with their meanings": EXPORT_SETTINGS},
    examples=(
        "sizewise plan last --set traffic.peak=900/s",
        "sizewise plan --model llama-3.1-70b --accelerator h100,l40s --peak 5/s --input-tokens 2000 "
        '--output-tokens 300 --slo "tpot p95 < 40ms"',
        "sizewise plan last --export k8s --with image=registry.example/model:1 --out manifests",
    ),
)
