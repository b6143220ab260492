"""Files of a plan export, as written by `--export`."""

from __future__ import annotations

import msgspec

from app.planning.exports.kserve import build_kserve_manifest
from app.planning.exports.kubernetes import build_kubernetes_manifests
from app.planning.exports.offers_csv import build_offers_csv
from app.planning.exports.settings import ExportKind, ExportSettings, fill_in_settings
from app.planning.exports.terraform import build_terraform_values, build_terraform_variables
from app.records.plan import Plan


def export_plan(plan: Plan, kind: ExportKind, settings: ExportSettings) -> dict[str, str]:
    """Export a plan and return the content of the files by file name.

    Lines end with a line feed. Write the files as UTF-8. Raises UsageError if the plan recommends
    no fleet, except for `csv` and `json`, which contain the reason.
    """
    name = fill_in_settings(settings, plan).dns_name
    match kind:
        case "k8s":
            return {f"kubernetes-{name}.yaml": build_kubernetes_manifests(plan, settings)}
        case "kserve":
            return {f"kserve-{name}.yaml": build_kserve_manifest(plan, settings)}
        case "terraform":
            return {
                f"sizewise-{name}.auto.tfvars.json": build_terraform_values(plan, settings),
                f"sizewise-{name}.variables.tf.json": build_terraform_variables(),
            }
        case "csv":
            return {f"offers-{name}.csv": build_offers_csv(plan)}
        case "json":
            return {f"plan-{name}.json": msgspec.json.format(msgspec.json.encode(plan), indent=2).decode() + "\n"}
