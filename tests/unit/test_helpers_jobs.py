"""The job bodies that other tests use are what Sockudo writes."""

from __future__ import annotations

import json

import pytest

from sockudo_queue.core.job import decode
from tests.helpers.data import JobFile, job_files
from tests.helpers.jobs import APP_ID, APP_KEY, event, job, jobs, numbers, webhook_body


def test_a_built_job_is_read_as_built() -> None:
    read = decode(job(7, events=[event("member_added", "presence-a", user_id="ü/7")], time_ms=5))

    assert (read.app_id, read.app_key, read.time_ms) == (APP_ID, APP_KEY, 5)
    assert [bytes(found.raw) for found in read.events] == [
        '{"channel":"presence-a","name":"member_added","user_id":"ü/7"}'.encode()
    ]


def test_numbered_jobs_differ_and_equal_numbers_are_equal_bytes() -> None:
    assert [numbers(body) for body in jobs(3, first=5)] == [[5], [6], [7]]
    assert numbers(webhook_body(9)) == [9]
    assert job(4) == job(4)
    assert len(set(jobs(50))) == 50


@pytest.mark.parametrize("file", job_files(), ids=str)
def test_a_data_file_is_a_job_of_its_version(file: JobFile) -> None:
    read = decode(file.body)

    assert read.unreadable_events == 0
    assert (read.job_id is not None) == (file.version >= "5.0" and file.name != "without_job_id")
    joined = b",".join(bytes(found.raw) for found in read.events)
    assert file.webhook_body == b'{"time_ms":%d,"events":[%b]}' % (read.time_ms, joined)
    if file.version == "2.9":
        for found in read.events:
            assert bytes(found.raw).decode() == _sorted(bytes(found.raw))


def test_data_files_contain_every_version_and_special_value() -> None:
    by_version: dict[str, bytes] = {}
    for file in job_files():
        by_version[file.version] = by_version.get(file.version, b"") + file.body

    assert set(by_version) == {"2.9", "4.7", "5.0", "5.2"}
    assert b'"trace_context":{"traceparent":' in by_version["5.2"]
    assert b":1e16," in by_version["2.9"]
    for version in ("4.7", "5.0"):
        for trap in (b":1e+16,", b":1e-7,", b'"twice":1,"twice":', b"18446744073709551615", "\u2028".encode()):
            assert trap in by_version[version], (version, trap)


def _sorted(raw: bytes) -> str:
    """Return the event with its keys in alphabetical order and its numbers as they were written."""
    return _write(json.loads(raw, parse_float=_Written, parse_int=_Written))


class _Written(str):
    __slots__ = ()


def _write(value: object) -> str:
    match value:
        case _Written():
            return str(value)
        case dict():
            return "{" + ",".join(f"{_write(key)}:{_write(value[key])}" for key in sorted(value)) + "}"
        case list():
            return "[" + ",".join(map(_write, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)
