from __future__ import annotations

import pytest

from app.cli.main import main
from app.errors import ExitCode


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--force"], "--force is for a --baseline"),
        (["--tolerance", "3%"], "--tolerance is for a --baseline"),
        (["--baseline", "promoted"], "no run of 'quickstart' was promoted"),
        (["--baseline", "no-such-run"], "no run is 'no-such-run'"),
    ],
)
def test_a_baseline_that_cannot_be_had_is_told_before_anything_is_measured(
    options: list[str],
    told: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path_factory.mktemp("home")))
    assert main(["run", "quickstart", *options]) == ExitCode.USAGE
    assert told in capsys.readouterr().err
