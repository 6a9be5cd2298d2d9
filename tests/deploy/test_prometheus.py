"""The alerts fire when they should and not otherwise, and everything that is asked of Prometheus is PromQL."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from tests.deploy import sources

RUNBOOK = sources.ROOT / "docs" / "troubleshooting.md"


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([sources.promtool(), *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_pass_their_own_tests() -> None:
    promtool("check", "rules", sources.ALERTS)
    promtool("test", "rules", sources.ALERT_TESTS)


def test_each_alert_is_seen_to_fire_and_to_be_silent() -> None:
    seen: dict[str, set[bool]] = {}
    for test in sources.read(sources.ALERT_TESTS)["tests"]:
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
