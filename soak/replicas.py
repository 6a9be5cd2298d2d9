"""The daemons of a soak: started, ended in every way, measured, and searched for secrets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import psutil

from soak.receivers import Endpoint
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.redis_proxy import RedisProxy

WORKERS: Final = 5
MAX_SLOW: Final = 16
STOP_SECONDS: Final = 10.0
LEASE_MS: Final = 5_000
CANARIES: Final = {
    "app": "canary-app-secret",
    "header": "canary-header",
    "user": "canary-user",
    "query": "canary-query",
    "redis": "canary-redis",
    "job": "canary-job",
}
SETTINGS: Final = {
    "QUEUE_WORKERS": str(WORKERS),
    "QUEUE_DELIVERY_MAX_SLOW": str(MAX_SLOW),
    "QUEUE_LEASE_DURATION_MS": str(LEASE_MS),
    "QUEUE_LEASE_RENEW_INTERVAL_MS": "1000",
    "QUEUE_SHUTDOWN_TIMEOUT_MS": f"{STOP_SECONDS * 1000:.0f}",
    "QUEUE_REDIS_RESPONSE_TIMEOUT_MS": "2000",
    "QUEUE_MAX_ATTEMPTS": "1000",  # lapses, which are many here
    "QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "200",
    "QUEUE_DELIVERY_RETRY_MAX_BACKOFF_MS": "5000",
    "QUEUE_LOG_LEVEL": "debug",
}
# What only a fault of our own can log.
ALARMS: Final = (
    "thread.crashed",
    "job.failed",
    "delivery.failed",
    "thread.failed",
    "process.failed",
    "process.unraisable",
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process; `rss` is in bytes, `at` in seconds since the start of the soak."""

    at: float
    threads: int
    descriptors: int
    rss: int


class Replica:
    """One daemon behind a proxy of its own, started again as often as it ends."""

    def __init__(self, name: str, redis_url: str, proxy: RedisProxy, endpoints: dict[str, Endpoint]) -> None:
        self.name = name
        self.proxy = proxy
        self.samples: list[Sample] = []
        self.exit_codes: list[int] = []
        self.longest_stop = 0.0
        self.deaths: list[str] = []  # exit codes and last lines of processes that ended unexpectedly
        self._endpoints = endpoints
        self._edits = 0
        url = redis_url.rpartition("@")[0] + f"@127.0.0.1:{proxy.port}/0"
        self.daemon = DaemonProcess(self._config(), SETTINGS, redis_url=url)

    def start(self) -> None:
        self.daemon.start()

    def kill(self) -> None:
        self.daemon.kill()

    def stop(self) -> None:
        """Stop it in order, and note how long that took and how it ended."""
        began = time.monotonic()
        self.daemon.terminate()
        self.exit_codes.append(self.daemon.wait(STOP_SECONDS + 60))
        self.longest_stop = max(self.longest_stop, time.monotonic() - began)

    def reload(self) -> None:
        """Give it another file of apps, with other paths behind the same names."""
        self._edits += 1
        self.daemon.write_config(self._config())

    def revive(self) -> None:
        """Start it again if it has ended by itself, and keep how it did."""
        if not self.daemon.running:
            code = self.daemon.wait(0)
            self.deaths.append(f"{code} after {self.daemon.output().splitlines()[-1][:200]}")
            self.start()

    def sample(self, at: float) -> None:
        self.revive()
        process = psutil.Process(self.daemon.pid)
        self.samples.append(Sample(at, process.num_threads(), process.num_fds(), process.memory_info().rss))

    def alarms(self) -> list[str]:
        """Return the lines that only a fault of our own can log, and whatever is no line of the log."""
        marks = [f'"event":"{event}"' for event in ALARMS]
        lines = self.daemon.output().splitlines()
        return [it[:300] for it in lines if it[:1] + it[-1:] != "{}" or any(mark in it for mark in marks)]

    def leaked(self) -> list[str]:
        """Return the secrets that its output shows."""
        output = self.daemon.output()
        return [name for name, canary in CANARIES.items() if canary in output]

    def _config(self) -> dict[str, Any]:
        hooks = []
        for name, endpoint in self._endpoints.items():
            url = endpoint.receiver.url(f"/{name}/{self._edits}?token={CANARIES['query']}")
            url = url.replace("//", f"//{CANARIES['user']}:{CANARIES['user']}@", 1)
            keys = {"headers": {"Authorization": CANARIES["header"]}} if name != "quick" else {}
            hooks.append(webhook(url, name=name, request_timeout_ms=4000, **keys))
        return config(app(*hooks, secret=CANARIES["app"]))
