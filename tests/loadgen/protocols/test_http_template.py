import msgspec
import pytest

from loadgen.protocols import http
from loadgen.protocols.http import BodyTemplate, PathTemplate
from loadgen.protocols.prepared import WorkloadError

ROW = {"text": 'say "é"', "n": 1.5, "list": [1, {"a": None}], "none": None, "cell": "12", "file": b"\xff\0"}


def fill(text: str, *, is_json: bool | None = None, is_csv: bool = False) -> bytes:
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
def test_json_template_is_filled_with_valid_json(text: str, body: str) -> None:
    template = BodyTemplate(text, is_json=None, is_csv=False)
    assert template.is_json
    assert template.fill(ROW).decode() == body
    msgspec.json.decode(template.fill(ROW))


def test_csv_cell_is_number_outside_quotes_of_json_template() -> None:
    assert fill('[{{cell}}, "{{cell}}", {{text}}]', is_csv=True).decode() == '[12, "12", "say \\"é\\""]'


def test_values_are_inserted_as_text_into_template_that_is_not_json() -> None:
    assert fill("a={{text}}&b={{n}}&c={{none}}&d={{list}}").decode() == 'a=say "é"&b=1.5&c=&d=[1,{"a":null}]'
    assert fill("<{{file}}>") == b"<\xff\0>"
    assert fill("{{text}}", is_json=False).decode() == 'say "é"'


def test_path_template_percent_encodes_values() -> None:
    assert PathTemplate("/u/{{text}}/{{n}}?q={{file}}").fill(ROW) == "/u/say%20%22%C3%A9%22/1.5?q=%FF%00"
    assert PathTemplate("/plain").has_placeholders is False


def test_unknown_column_is_reported_with_available_columns() -> None:
    with pytest.raises(WorkloadError, match="'nope'") as raised:
        fill("{{nope}}")
    assert "text, n, list" in str(raised.value.hint)


def test_required_json_template_must_be_valid_json() -> None:
    with pytest.raises(WorkloadError, match="not valid JSON"):
        fill('{"a": {{n}}', is_json=True)


def test_size_of_filled_body_and_path_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_REQUESTS_BYTES", 100)
    row = {"long": "x" * 70_000}
    for template_text in ("{{long}}", '["{{long}}"]'):
        with pytest.raises(WorkloadError, match="the request for a row of the dataset exceeds"):
            BodyTemplate(template_text, is_json=None, is_csv=False).fill(row)
    with pytest.raises(WorkloadError, match="'long' is too long for a path"):
        PathTemplate("/{{long}}").fill(row)


def test_long_unterminated_placeholder_is_left_unchanged() -> None:
    assert fill("{{" + " " * 200_000) == b"{{" + b" " * 200_000
