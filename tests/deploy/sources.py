"""The deployment files as these tests read them, and the tools that check them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import pytest
import yaml

from tests.helpers.redis_binaries import SERVERS_DIRECTORY

ROOT: Final = Path(__file__).parents[2]
ALERTS: Final = ROOT / "deploy" / "prometheus" / "alerts.yaml"
ALERT_TESTS: Final = (ALERTS.with_name("alerts-test.yaml"), ALERTS.with_name("alerts-of-days-test.yaml"))
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "sockudo-queue.json"
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
COMPOSE: Final = ROOT / "docker-compose.yml"
DOCKERFILE: Final = ROOT / "Dockerfile"
SERIES: Final = re.compile(r"\b(?:sockudo_(?:queue|webhook)|process)_[a-z0-9_]+")


def read(path: Path) -> Any:
    """Return a YAML file of one document."""
    return yaml.safe_load(path.read_text())


def manifests(name: str) -> list[dict[str, Any]]:
    """Return the documents of one file in deploy/kubernetes."""
    return list(yaml.safe_load_all((KUBERNETES / name).read_text()))


def manifest(name: str, kind: str) -> dict[str, Any]:
    [found] = [document for document in manifests(name) if document["kind"] == kind]
    return found


def alerts() -> list[dict[str, Any]]:
    return [rule for group in read(ALERTS)["groups"] for rule in group["rules"]]


def dashboard_expressions() -> Iterator[str]:
    """Yield the PromQL of every panel, with Grafana's own variables replaced as Grafana would."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "1m").replace("$app", ".*").replace("$webhook", ".*")


def scaling_expressions() -> Iterator[str]:
    for trigger in manifest("keda.yaml", "ScaledObject")["spec"]["triggers"]:
        yield trigger["metadata"]["query"]


def promtool() -> Path:
    """Return the program, or skip the test; where CI is set it fails instead, see conftest."""
    unpacked = SERVERS_DIRECTORY / "prometheus" / "promtool"
    found = shutil.which("promtool") or (os.access(unpacked, os.X_OK) and unpacked)
    if not found:
        pytest.skip("promtool is not on this machine; Debian's package prometheus has it")
    return Path(found)


def prometheus() -> Path:
    """Return the server, or skip the test; see `promtool`."""
    found = promtool().with_name("prometheus")
    if not os.access(found, os.X_OK):
        pytest.skip("prometheus is not on this machine; Debian's package prometheus has it")
    return found


@cache
def schema(distribution: str, member: str) -> Any:
    """Return a JSON schema out of one of the wheels in requirements/schemas.txt, or skip the test."""
    wheel = next((SERVERS_DIRECTORY / "schemas").glob(f"{distribution}-*.whl"), None)
    if wheel is None:
        pytest.skip(f"the wheel of {distribution} is not there; scripts/test-servers downloads it")
    with ZipFile(wheel) as archive:
        return json.loads(archive.read(member))
