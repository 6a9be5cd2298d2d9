"""The alerts fire when they should and only then, and every query is valid PromQL."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client import generate_latest

from sockudo_queue.observability.metrics import Metrics
from tests.deploy import sources
from tests.helpers.certificates import Authority
from tests.helpers.configs import config
from tests.helpers.daemon import DaemonProcess
from tests.helpers.ports import free_port
from tests.helpers.waiting import eventually

RUNBOOK = sources.ROOT / "docs" / "troubleshooting.md"


def promtool(*arguments: str | Path) -> None:
    # A third of its time goes into garbage collections unless it may use more memory.
    spacious = os.environ | {"GOGC": "400"}
    command = [sources.promtool(), *arguments]
    done = subprocess.run(command, env=spacious, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_pass_their_own_tests() -> None:
    promtool("check", "rules", sources.ALERTS)
    promtool("test", "rules", *sources.ALERT_TESTS)


def test_each_alert_is_seen_to_fire_and_to_be_silent() -> None:
    seen: dict[str, set[bool]] = {}
    for test in chain.from_iterable(sources.read(file)["tests"] for file in sources.ALERT_TESTS):
        for case in test["alert_rule_test"]:
            seen.setdefault(case["alertname"], set()).add("exp_alerts" in case)
    assert seen == {rule["alert"]: {True, False} for rule in sources.alerts()}


def test_queries_of_the_dashboard_and_of_scaling_are_promql(tmp_path: Path) -> None:
    queries = chain(sources.dashboard_expressions(), sources.scaling_expressions())
    rules = [{"record": f"query:{n}", "expr": query.replace("$job", ".*")} for n, query in enumerate(queries)]
    assert len(rules) > 30
    group: dict[str, Any] = {"groups": [{"name": "queries", "rules": rules}]}
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump(group))
    promtool("check", "rules", tmp_path / "queries.yaml")


def test_the_dashboard_has_the_variables_that_it_uses_and_no_others() -> None:
    """One that is missing would be asked for by its own name, and find nothing."""
    text = sources.DASHBOARD.read_text()
    variables = {variable["name"] for variable in json.loads(text)["templating"]["list"]}
    # Those that begin with __ are Grafana's own.
    assert {name for name in re.findall(r"\$\{?(\w+)", text) if not name.startswith("__")} == variables


def test_each_alert_has_an_entry_in_troubleshooting_and_leads_there() -> None:
    entries = [line[3:] for line in RUNBOOK.read_text().splitlines() if line.startswith("## Sockudo")]
    names = [rule["alert"] for rule in sources.alerts()]
    assert entries == names
    for rule in sources.alerts():
        assert rule["annotations"]["runbook_url"] == f"docs/troubleshooting.md#{rule['alert'].lower()}"


def test_the_series_pass_the_lint_of_prometheus() -> None:
    metrics = Metrics("redis", "webhooks")
    metrics.webhook("shop", "orders")
    text = generate_latest(metrics.registry)
    command: list[str | Path] = [sources.promtool(), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


@pytest.mark.parametrize("way", ["authorization", "basic_auth"])
def test_prometheus_scrapes_with_login_and_tls(tmp_path: Path, way: str) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.files("127.0.0.1")
    (tmp_path / "secret").write_text("s3cret\n")
    environment = {
        "QUEUE_DRIVER": "none",
        f"QUEUE_METRICS_{'TOKEN' if way == 'authorization' else 'PASSWORD'}_FILE": str(tmp_path / "secret"),
        "QUEUE_METRICS_TLS_CERT_FILE": str(certificate),
        "QUEUE_METRICS_TLS_KEY_FILE": str(key),
    }
    logins = {
        "authorization": {"credentials_file": str(tmp_path / "secret")},
        "basic_auth": {"username": "sockudo-queue", "password_file": str(tmp_path / "secret")},
    }
    with DaemonProcess(config(), environment) as daemon:
        job = {
            "job_name": "sockudo-queue",
            "scrape_interval": "1s",
            "scheme": "https",
            "tls_config": {"ca_file": str(authority.ca_file)},
            way: logins[way],
            "static_configs": [{"targets": [f"127.0.0.1:{daemon.metrics_port}"]}],
        }
        (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
        with prometheus(tmp_path) as port:
            found = eventually(lambda: answer(port, "up == 1 and on(instance) sockudo_queue_broker_up"), 20)
    assert found[0]["metric"]["job"] == "sockudo-queue"


@contextmanager
def prometheus(directory: Path) -> Iterator[int]:
    port = free_port()
    command: list[str | Path] = [
        sources.prometheus(),
        f"--config.file={directory / 'prometheus.yaml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.kill()


def answer(port: int, query: str) -> list[dict[str, Any]]:
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v1/query?{urlencode({'query': query})}", timeout=5) as response:
            found: list[dict[str, Any]] = json.load(response)["data"]["result"]
            return found
    except OSError:
        return []
