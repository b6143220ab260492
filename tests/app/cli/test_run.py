from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.main import main
from app.errors import ExitCode


@pytest.fixture
def locustfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "locustfile.py"
    path.write_text("")
    return path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--locustfile", "gone.py"], "gone.py"),
        (["quickstart", "--locustfile", "locustfile.py"], "either a profile or a --locustfile"),
        (["quickstart", "--users", "3"], "--users is for a --locustfile"),
        (["quickstart", "--spawn-rate", "3"], "--spawn-rate is for a --locustfile"),
        ([], "what is to be run?"),
        (["--locustfile", "locustfile.py", "--users", "0"], "concurrency"),
        (["--locustfile", "locustfile.py", "--duration", "3"], "duration"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(
    locustfile: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *arguments]) == ExitCode.USAGE
    assert told in capsys.readouterr().err
