"""Every name that Sockudo 5.2.0 reads is known here, and almost the name of a variable that is read is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.helpers.settings import CONFIGS, merged, read

NAMES: Final = json.loads((CONFIGS / "sockudo-5.2.0-names.json").read_text())


def test_the_lists_are_whole() -> None:
    assert len(NAMES["variables"]) > 500
    assert len(NAMES["keys"]) > 550


@pytest.mark.parametrize("name", NAMES["variables"])
def test_no_variable_of_the_server_is_unknown(tmp_path: Path, name: str) -> None:
    # The value is none for most settings. That is a fault of another kind.
    outcome = read(tmp_path, environment={name: "x"}, strict=True)
    said = outcome.faults or outcome.warnings
    assert not [line for line in said if "no such" in line]


def test_no_key_of_the_server_is_unknown(tmp_path: Path) -> None:
    document: dict[str, Any] = {}
    for key in NAMES["keys"]:
        document = merged(document, key, None)
    assert read(tmp_path, document, strict=True).faults == ()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("REDIS_URLL", "REDIS_URL"),
        ("REDIS_UR", "REDIS_URL"),
        ("REDIS_URL_FIEL", "REDIS_URL_FILE"),
        ("redis_url", "REDIS_URL"),
        ("queue_workers", "QUEUE_WORKERS"),
        ("QEUE_WORKERS", "QUEUE_WORKERS"),
        ("REDISCLUSTER_NODES", "REDIS_CLUSTER_NODES"),
        ("DATABSE_REDIS_HOST", "DATABASE_REDIS_HOST"),
        ("APP_MANAGER_DRIVR", "APP_MANAGER_DRIVER"),
        ("SOCKUDO_DEFAULT_APP_SECRT", "SOCKUDO_DEFAULT_APP_SECRET"),
        ("SOCKUDO_SKIP_INLINE_APP", "SOCKUDO_SKIP_INLINE_APPS"),
        ("CACHE_TTL_SECOND", "CACHE_TTL_SECONDS"),
        ("AWS_SECRET_ACCESS_KEYS", "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_misspelt_variable_is_reported(tmp_path: Path, name: str, meant: str) -> None:
    line = f"{name}: no such variable; did you mean {meant}?"
    assert line in read(tmp_path, environment={name: "x"}).warnings
    assert line in read(tmp_path, environment={name: "x"}, strict=True).faults


@pytest.mark.parametrize(
    "name", ["REDIS_HOST", "REDIS_URI", "REDIS_TLS_URL", "AWS_REGION", "AWS_SECURITY_TOKEN", "DATABASE_URL", "A", "_"]
)
def test_names_of_other_programs_are_silent(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, environment={name: "x"}, strict=True).faults == ()
