"""`${VAR}` in a file: any value is inserted unchanged, and positions are those of the original file."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockudo_queue.config.documents import parse_document
from sockudo_queue.config.substitution import substitute_text
from sockudo_queue.errors import SettingsError

JSON = Path("c.json")
TOML = Path("c.toml")
VALUES = st.text(st.characters(codec="utf-8"), min_size=1)


def parsed(text: str, environment: dict[str, str], path: Path = JSON) -> Any:
    return parse_document(path, text.encode(), environment).values


@given(VALUES)
def test_any_value_inside_a_string_comes_out_as_it_went_in(value: str) -> None:
    assert parsed('{"a": "<${V}>"}', {"V": value}) == {"a": f"<{value}>"}
    assert parsed("a = \"<${V}>\"\nb = '${V}'", {"V": value}, TOML) == {"a": f"<{value}>", "b": value}


@given(VALUES)
def test_any_value_outside_a_string_is_one_plain_value(value: str) -> None:
    for text, path in (('{"a": ${V}, "b": 1}', JSON), ("a = ${V}\nb = 1", TOML)):
        document = parsed(text, {"V": value}, path)
        assert list(document) == ["a", "b"]
        assert isinstance(document["a"], str | int | float)
        if isinstance(document["a"], str):
            assert document["a"] == value


@pytest.mark.parametrize(
    ("value", "result"),
    [("5", 5), ("-1.5", -1.5), ("true", True), ("007", "007"), ("null", "null"), ("x, 1", "x, 1"), ('"x"', '"x"')],
)
def test_numbers_and_booleans_are_not_quoted(value: str, result: object) -> None:
    assert parsed('{"a": ${V}}', {"V": value}) == {"a": result}


@pytest.mark.parametrize(
    ("text", "environment", "result"),
    [
        ("${V:-d}", {}, "d"),
        ("${V:-d}", {"V": ""}, "d"),
        ("${V:-d}", {"V": "v"}, "v"),
        ("${V:-}", {}, ""),
        ("${V:-redis://h:1/0}", {}, "redis://h:1/0"),
        ("${A}${B:-b}c", {"A": "a"}, "abc"),
        ("$V $${", {}, "$V $${"),
        ("${1V} ${V-x} ${}", {}, "${1V} ${V-x} ${}"),
        ("${V}", {"V": "${W}"}, "${W}"),
    ],
)
def test_forms(text: str, environment: dict[str, str], result: str) -> None:
    assert parsed(json.dumps({"a": text}), environment) == {"a": result}


def test_keys_are_replaced_too() -> None:
    assert parsed('{"${K}": [{"b": "${V}"}]}', {"K": "a", "V": "v"}) == {"a": [{"b": "v"}]}


def test_comments_of_toml_are_left_alone() -> None:
    assert parsed('# ${NOT}\na = "# ${V}" # ${NOT}', {"V": "v"}, TOML) == {"a": "# v"}


def test_strings_of_toml_over_several_lines() -> None:
    text = 'a = """\n${V} "quoted"\n"""\nb = \'\'\'\n${V}\'\'\''
    assert parsed(text, {"V": '"""x'}, TOML) == {"a": '"""x "quoted"\n', "b": '"""x'}


def test_every_missing_variable_is_reported_with_its_position() -> None:
    with pytest.raises(SettingsError) as raised:
        parsed('{"a": "${ONE}",\n "b": ${TWO}}', {})
    assert raised.value.faults == (
        "c.json: line 1, column 8: the variable ONE is not set; set it, or give a default: ${ONE:-default}",
        "c.json: line 2, column 7: the variable TWO is not set; set it, or give a default: ${TWO:-default}",
    )


@given(st.lists(st.sampled_from(["x", "${A}", "${B:-1}", '"${A}"', '"s"', "\n"]), max_size=12), VALUES)
def test_offsets_lead_back_to_the_text_as_written(parts: list[str], value: str) -> None:
    text = " ".join(parts)
    result = substitute_text(text, "json", {"A": value})
    kept = [index for index, character in enumerate(text) if character in "xs\n"]
    marks = {result.original_offset(offset) for offset in range(len(result.text))}
    assert set(kept) <= marks
    assert all(0 <= mark <= len(text) + len(result.text) for mark in marks)


def test_a_byte_order_mark_is_no_fault() -> None:
    assert parse_document(JSON, b'\xef\xbb\xbf{"a": 1}', {}).values == {"a": 1}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (JSON, '{"a":"' + '\\"' * 100_000),
        (JSON, '{"a":"' + "${A:-" * 50_000 + '"}'),
        (JSON, '{"a":' + "${A:-" * 50_000),
        (JSON, "{" + "".join(f'"k{number}":1,' for number in range(60_000)) + '"k59999":2}'),
        (TOML, 'a="""' + '\\"' * 50_000),
        (TOML, 'a="' + '\\"' * 50_000),
        (TOML, "a=" + "${A:-" * 50_000),
    ],
    ids=range(7),
)
def test_hostile_file_is_read_in_linear_time(path: Path, text: str) -> None:
    began = time.process_time()
    with contextlib.suppress(SettingsError):
        parsed(text, {}, path)
    assert time.process_time() - began < 3


@pytest.mark.parametrize("text", ['{"a":"${A}', '{"a":"x\\', '{"a":"${A:-', "{${A:-"])
def test_text_without_its_end_is_a_fault_of_the_file(text: str) -> None:
    with pytest.raises(SettingsError):
        parsed(text, {})


def test_thousands_of_missing_variables_are_reported_in_bounded_time() -> None:
    content = b"[" + b",\n".join([b'"${ABSENT}"'] * 40_000) + b"]"
    began = time.process_time()
    with pytest.raises(SettingsError) as raised:
        parse_document(JSON, content, {})
    assert time.process_time() - began < 0.5
    assert len(raised.value.faults) == 51
    assert raised.value.faults[-2].startswith("c.json: line 50, column 2: the variable ABSENT")
    assert raised.value.faults[-1] == "c.json: 39950 more references to variables that are not set"
