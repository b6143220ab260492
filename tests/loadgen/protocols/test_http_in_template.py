import msgspec
import pytest

from loadgen.protocols import http
from loadgen.protocols.http import BodyTemplate, PathTemplate
from loadgen.protocols.prepared import WorkloadError

ROW = {"text": 'say "é"', "n": 1.5, "list": [1, {"a": None}], "none": None, "cell": "12", "file": b"\xff\0"}


def filled(text: str, *, is_json: bool | None = None, is_csv: bool = False) -> bytes:
    return BodyTemplate(text, is_json=is_json, is_csv=is_csv).fill(ROW)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ('{"p": {{text}}}', '{"p": "say \\"é\\""}'),
        ('{"p": "I {{ text }}!"}', '{"p": "I say \\"é\\"!"}'),
        ('{"a": {{n}}, "b": {{list}}, "c": {{none}}}', '{"a": 1.5, "b": [1,{"a":null}], "c": null}'),
        ('{"a": "{{n}}", "b": "{{list}}", "c": "{{none}}"}', '{"a": "1.5", "b": "[1,{\\"a\\":null}]", "c": ""}'),
        ('{"a\\"{{cell}}": {"b":{{cell}}}}', '{"a\\"12": {"b":"12"}}'),
        ('{"a": "{{file}}", "b": {{file}}}', '{"a": "/wA=", "b": "/wA="}'),
        ("{{n}}", "1.5"),
        ('{"fixed": 1}', '{"fixed": 1}'),
    ],
)
def test_a_json_template_stays_json(text: str, body: str) -> None:
    http = BodyTemplate(text, is_json=None, is_csv=False)
    assert http.is_json
    assert http.fill(ROW).decode() == body
    msgspec.json.decode(http.fill(ROW))


def test_a_cell_of_csv_is_a_number_outside_quotes() -> None:
    assert filled('[{{cell}}, "{{cell}}", {{text}}]', is_csv=True).decode() == '[12, "12", "say \\"é\\""]'


def test_elsewhere_it_is_text() -> None:
    assert filled("a={{text}}&b={{n}}&c={{none}}&d={{list}}").decode() == 'a=say "é"&b=1.5&c=&d=[1,{"a":null}]'
    assert filled("<{{file}}>") == b"<\xff\0>"
    assert filled("{{text}}", is_json=False).decode() == 'say "é"'


def test_a_path_is_quoted() -> None:
    assert PathTemplate("/u/{{text}}/{{n}}?q={{file}}").fill(ROW) == "/u/say%20%22%C3%A9%22/1.5?q=%FF%00"
    assert PathTemplate("/plain").has_placeholders is False


def test_a_column_that_is_not_there_is_reported() -> None:
    with pytest.raises(WorkloadError, match="'nope'") as refused:
        filled("{{nope}}")
    assert "text, n, list" in str(refused.value.hint)


def test_a_template_that_must_be_json_and_is_not_is_refused() -> None:
    with pytest.raises(WorkloadError, match="not valid JSON"):
        filled('{"a": {{n}}', is_json=True)


def test_what_a_row_fills_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_REQUESTS_BYTES", 100)
    long = {"long": "x" * 70_000}
    for one in ("{{long}}", '["{{long}}"]'):
        with pytest.raises(WorkloadError, match="the request for a row of the dataset exceeds"):
            BodyTemplate(one, is_json=None, is_csv=False).fill(long)
    with pytest.raises(WorkloadError, match="'long' is too long for a path"):
        PathTemplate("/{{long}}").fill(long)


def test_a_placeholder_that_does_not_end_costs_no_time() -> None:
    assert filled("{{" + " " * 200_000) == b"{{" + b" " * 200_000
