"""An endpoint is down for an hour: the alert says so, the page and `stats` say why, a replay delivers everything once.

The hour is scaled: retries end after a second instead of five minutes. What was scraped before and during the outage
is laid out over an hour for Prometheus' own tool.
"""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.deploy import sources
from tests.helpers.commands import Commands
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess, Series
from tests.helpers.jobs import APP_ID, jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

Scrape = Mapping[Series, float]

JOBS: Final = 20
MINUTES: Final = 60
SCALED: Final = {
    "QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "100",
    "QUEUE_DELIVERY_RETRY_MAX_ELAPSED_TIME_MS": "1000",
    "QUEUE_DELIVERY_BREAKER_OPEN_MS": "200",
    "QUEUE_DELIVERY_BREAKER_MAX_OPEN_MS": "400",
}


def test_an_outage_from_the_alert_to_the_replay(own_redis: RedisServer, receiver: Receiver, tmp_path: Path) -> None:
    with Receiver() as orders:
        file = config(app(webhook(orders.url(), name="orders"), webhook(receiver.url(), name="lobby")))
        with DaemonProcess(file, SCALED, redis_url=own_redis.url) as daemon:
            run = Commands(tmp_path, file, daemon.environment)
            before = daemon.wait_ready().metrics()
            orders.always(503)
            run("push", stdin=b"\n".join(jobs(JOBS)))
            stats = eventually(lambda: stats_with_dead(run, JOBS), 40, daemon.output) or {}

            during = daemon.metrics()
            reasons = {grave["reason"] for grave in stats["queue"]["dead_letters"]}
            fires("SockudoWebhookFailing", "webhook", {"orders"}, before, during, tmp_path)
            fires("SockudoWebhookDeadLetters", "reason", reasons, before, during, tmp_path)
            seen_on_page(daemon)
            seen_in_stats(stats, run("stats").out)

            # The other webhook wants the same events: what it was sent is what this one is owed, under the same ids.
            owed = {request.headers["x-sockudo-job-id"]: request.body for request in receiver.requests}
            assert len(owed) == JOBS
            assert {request.headers["x-sockudo-job-id"] for request in orders.requests} <= owed.keys()
            orders.clear()
            orders.always(200)
            replayed = run("dead-letters", "replay", "--webhook", "orders", "--json").json
            assert (replayed["replayed"], replayed["left"]) == (JOBS, {})
            eventually(lambda: not any(run("stats", "--json").json["queue"]["depth"].values()), 20, daemon.output)

            delivered = [(request.headers["x-sockudo-job-id"], request.body) for request in orders.requests]
            assert sorted(delivered) == sorted(owed.items())
            assert receiver.count == JOBS
            assert run("dead-letters", "list").out == "no dead letters\n"


def stats_with_dead(run: Commands, count: int) -> dict[str, Any] | None:
    stats: dict[str, Any] = run("stats", "--json").json
    return stats if sum(grave["count"] for grave in stats["queue"]["dead_letters"]) == count else None


def seen_on_page(daemon: DaemonProcess) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.metrics_port}/", timeout=5) as answer:
        page = answer.read().decode()
    for words in ("status-503", "circuit open", "orders", "1 unhealthy"):
        assert words in page
    assert "exhausted" in page or "endpoint-down" in page


def seen_in_stats(stats: Mapping[str, Any], shown: str) -> None:
    graves = stats["queue"]["dead_letters"]
    assert {(grave["app"], grave["webhook"]) for grave in graves} == {(APP_ID, "orders")}
    # What the open breaker never let through has no last answer of its own; its reason says why.
    assert {grave["last"] or grave["reason"] for grave in graves} <= {"status-503", "endpoint-down"}
    [daemon] = stats["daemons"]
    rows = {row["webhook"]: row for row in daemon["webhooks"]}
    assert rows["orders"]["last_failure"] == "status-503"
    assert (rows["lobby"]["delivered"], rows["lobby"]["failed"]) == (JOBS, 0)
    assert "status-503" in shown


def fires(alert: str, label: str, values: set[str], before: Scrape, during: Scrape, directory: Path) -> None:
    """Have Prometheus' own tool say that the alert's condition holds for just these, after an hour of the scrapes."""
    [rule] = [rule for rule in sources.alerts() if rule["alert"] == alert]
    asked = set(sources.SERIES.findall(rule["expr"]))
    series = [
        {"series": _written(name, labels), "values": f"{before.get((name, labels), 0.0)}+{step / MINUTES}x{MINUTES}"}
        for (name, labels), value in during.items()
        if name in asked and (step := value - before.get((name, labels), 0.0)) >= 0
    ]
    case = {
        "expr": f"count by ({label}) ({rule['expr']})",
        "eval_time": f"{MINUTES}m",
        "exp_samples": [{"labels": f'{{{label}="{value}"}}', "value": 1} for value in sorted(values)],
    }
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [case]}
    (directory / "alert.yaml").write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    command = [str(sources.promtool()), "test", "rules", str(directory / "alert.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def _written(name: str, labels: frozenset[tuple[str, str]]) -> str:
    listed = ",".join(f'{label}="{value}"' for label, value in sorted(labels))
    return f"{name}{{{listed}}}"
