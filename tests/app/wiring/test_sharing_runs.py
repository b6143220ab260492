from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.storage.run_directory import RunWriter, StoredRun
from app.wiring.sharing_runs import share_run
from tests.fakes.results import full_run

SECRET = 'sizewise: 1\ntarget:\n  headers: {Authorization: "Bearer sk-abcdef"}\n'


@pytest.mark.parametrize(("spec", "told"), [("sizewise: 1\n", None), (SECRET, "may be a secret")])
def test_a_run_with_a_secret_stays_here(tmp_path: Path, spec: str, told: str | None) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.write_spec(spec)
        writer.write_result(full_run().result)
    run = StoredRun(tmp_path / "run")
    if told is None:
        assert share_run(run, tmp_path / "out.zip").run_id == full_run().result.run_id
    else:
        with pytest.raises(UsageError, match=told):
            share_run(run, tmp_path / "out.zip")
    assert (tmp_path / "out.zip").exists() == (told is None)


def test_a_bundle_is_not_written_into_its_own_run(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run") as writer:
        writer.write_result(full_run().result)
    with pytest.raises(UsageError, match="in the run that it is to hold"):
        share_run(StoredRun(tmp_path / "run"), tmp_path / "run" / "out.zip")
