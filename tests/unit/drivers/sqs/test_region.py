"""The region that is called, from the settings or from the queue URL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sockudo_queue.commands.check import _place
from sockudo_queue.config import load
from sockudo_queue.drivers.sqs.factory import make_sqs_driver
from sockudo_queue.drivers.sqs.region import region_in
from sockudo_queue.errors import SettingsError

PREFIX = "https://sqs.eu-west-1.amazonaws.com/123456789012/"


@pytest.mark.parametrize(
    ("url", "region"),
    [
        (PREFIX, "eu-west-1"),
        ("https://SQS.cn-north-1.amazonaws.com.cn/1/", "cn-north-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/", "us-gov-west-1"),
        ("https://sqs.ap-southeast-2.api.aws/1/", "ap-southeast-2"),
        ("https://vpce-0a1-b2.sqs.eu-central-1.vpce.amazonaws.com/1/", "eu-central-1"),
        ("https://eu-west-1.queue.amazonaws.com/1/", "eu-west-1"),
        ("https://queue.amazonaws.com/1/", None),
        ("http://sqs.eu-west-1.localhost.localstack.cloud:4566/000000000000/", None),
        ("http://127.0.0.1:4566/000000000000/", None),
        ("https://sqs.eu-west-1.amazonaws.com.example.org/1/", None),
    ],
)
def test_region_in_queue_url(url: str, region: str | None) -> None:
    assert region_in(url) == region


def _file(directory: Path, **sqs: str) -> Path:
    path = directory / "config.json"
    path.write_text(json.dumps({"queue": {"driver": "sqs", "sqs": sqs}}))
    return path


def _region_called(directory: Path, **sqs: str) -> str:
    driver = make_sqs_driver(load(str(_file(directory, **sqs)), {}, directory, strict=False).settings)
    return str(driver._client._config.region_name)  # nothing else shows it


def test_region_of_url_prefix_is_called_when_no_region_is_set(tmp_path: Path) -> None:
    assert _region_called(tmp_path, queue_url_prefix=PREFIX) == "eu-west-1"
    assert _region_called(tmp_path) == "us-east-1"


def test_same_region_in_both_settings_is_accepted(tmp_path: Path) -> None:
    assert _region_called(tmp_path, queue_url_prefix=PREFIX, region="eu-west-1") == "eu-west-1"


def test_region_that_differs_from_the_url_prefix_is_refused_with_both_names(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"region eu-west-1, but .* is us-east-1"):
        _region_called(tmp_path, queue_url_prefix=PREFIX, region="us-east-1")


def test_region_of_an_endpoint_of_aws_is_called_and_must_not_differ(tmp_path: Path) -> None:
    endpoint = "https://vpce-0a1-b2.sqs.eu-central-1.vpce.amazonaws.com"
    assert _region_called(tmp_path, endpoint_url=endpoint) == "eu-central-1"
    with pytest.raises(SettingsError, match=r"endpoint_url is in the region eu-central-1, but .* is us-west-2"):
        _region_called(tmp_path, endpoint_url=endpoint, region="us-west-2")


def test_check_uses_the_same_region_as_the_driver(tmp_path: Path) -> None:
    settings = load(str(_file(tmp_path, queue_url_prefix=PREFIX)), {}, tmp_path, strict=False).settings
    assert _place(settings) == " in eu-west-1"


def test_custom_endpoint_accepts_every_region(tmp_path: Path) -> None:
    endpoint = "http://127.0.0.1:4566"
    assert _region_called(tmp_path, queue_url_prefix=PREFIX, endpoint_url=endpoint, region="us-west-2") == "us-west-2"
