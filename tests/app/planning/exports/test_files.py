from __future__ import annotations

from typing import get_args

import pytest

from app.errors import UsageError
from app.planning.exports.files import export_plan
from app.planning.exports.settings import ExportKind, ExportSettings
from tests.app.planning.exports.planned import build_plan, without_recommendation

SETTINGS = ExportSettings(name="../CON: fraud")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("k8s", ["kubernetes-con-fraud.yaml"]),
        ("kserve", ["kserve-con-fraud.yaml"]),
        ("terraform", ["sizewise-con-fraud.auto.tfvars.json", "sizewise-con-fraud.variables.tf.json"]),
        ("csv", ["offers-con-fraud.csv"]),
        ("json", ["plan-con-fraud.json"]),
    ],
)
def test_export_kind_has_its_file_names(kind: ExportKind, names: list[str]) -> None:
    files = export_plan(build_plan(), kind, SETTINGS)
    assert list(files) == names
    assert all(text.endswith("\n") and text.encode() for text in files.values())
    assert files == export_plan(build_plan(), kind, SETTINGS)


def test_only_csv_and_json_exports_need_no_recommendation() -> None:
    for kind in get_args(ExportKind):
        if kind in ("csv", "json"):
            assert export_plan(without_recommendation(build_plan()), kind, SETTINGS)
        else:
            with pytest.raises(UsageError, match="recommends no fleet") as raised:
                export_plan(without_recommendation(build_plan()), kind, SETTINGS)
            assert raised.value.hint is not None
