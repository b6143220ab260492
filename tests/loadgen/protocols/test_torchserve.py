from pathlib import Path

import pytest

from loadgen.protocols.built import WorkloadError
from loadgen.protocols.torchserve import build_torchserve
from loadgen.records import Endpoint
from loadgen.transport.address import address_of
from loadgen.workloads import Dataset, Popularity, TorchServeWorkload

URL = "http://h:8080/base/?q=1"
ADDRESS = address_of(URL)
ENDPOINT = Endpoint((URL,))


def test_a_prediction_for_each_body() -> None:
    workload = TorchServeWorkload("a/b", version="2.0", bodies=(b"[1]", b"[2]"), popularity=Popularity("uniform"))
    built = build_torchserve(workload, ENDPOINT, ADDRESS)
    assert built.requests[1].startswith(b"POST /base/predictions/a%2Fb/2.0 HTTP/1.1\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in built.requests[1]
    assert built.requests[1].endswith(b"\r\n\r\n[2]")
    assert built.shown == "POST http://h:8080/base/predictions/a%2Fb/2.0"
    assert set(built.picks or ()) == {0, 1}


def test_a_folders_files_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8")
    built = build_torchserve(TorchServeWorkload("m", dataset=Dataset(str(tmp_path), "folder")), ENDPOINT, ADDRESS)
    assert b"POST /base/predictions/m HTTP/1.1\r\n" in built.requests[0]
    assert b"\r\nContent-Type: image/jpeg\r\n" in built.requests[0]
    assert built.requests[0].endswith(b"\r\n\r\n\xff\xd8")


def test_rows_as_objects(tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    file.write_text("x\n1.5\n")
    built = build_torchserve(TorchServeWorkload("m", dataset=Dataset(str(file), "csv")), ENDPOINT, ADDRESS)
    assert built.requests[0].endswith(b'{"x":1.5}')


@pytest.mark.parametrize("dataset", [None, Dataset("/nowhere/at/all.csv", "csv")])
def test_nothing_to_predict_from_is_told(dataset: Dataset | None) -> None:
    with pytest.raises(WorkloadError):
        build_torchserve(TorchServeWorkload("m", dataset=dataset), ENDPOINT, ADDRESS)
