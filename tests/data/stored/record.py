"""Make the files beside this one: `python -m tests.data.stored.record [LAYOUT]...`, from the root of a checkout.

Runs the daemon of that checkout on real servers, with receivers that answer, refuse and hang, lets it die where a job
has to outlive that, and writes down what is stored then. README.md says which commit has to be checked out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.helpers.commands import Commands, Ran
from tests.helpers.configs import app, config
from tests.helpers.daemon import DaemonProcess
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_server import RedisServer
from tests.helpers.sqs_server import SqsServer
from tests.helpers.stored_jobs import EVENT_TYPES, LATER_APP, NEVER_APP, NOT_TEXT_AGAIN, case_of, hook, job_of
from tests.helpers.stored_queues import StoredLists, StoredQueue, StoredSqs, StoredV2
from tests.helpers.waiting import eventually

LONG: Final = [("Retry-After", "150")]
"""Until the end of the recording, and for as long as `stored_queues.AGE_SECONDS`."""
SOON: Final = [("Retry-After", "2")]
HANG: Final = Answer(hang=True)

ANSWERS: Final[Mapping[tuple[str, str], Sequence[Answer]]] = {
    ("orders", "exhausted"): [Answer(503)],
    ("orders", "refused"): [Answer(404)],
    ("orders", "both-refused"): [Answer(404)],
    ("audit", "both-refused"): [Answer(400)],
    ("orders", "died-twice"): [Answer(404), Answer(500)],
    ("orders", "replayed"): [Answer(404)],
    ("removed", "removed"): [Answer(500, SOON)],
    ("orders", "tried-once"): [Answer(500, LONG)],
    ("audit", "tried-thrice"): [Answer(500), Answer(502), Answer(503, LONG)],
    ("down", "timed-out"): [Answer(500), HANG],
    ("stalled", "gone"): [Answer(410)],
    ("stalled", "gone-too"): [Answer(410)],
    ("orders", "lost-whole"): [HANG],
    ("audit", "lost-share"): [Answer(500), HANG],
    ("orders", "lapsed"): [HANG],
    ("orders", "put-back"): [Answer(500), HANG],
    ("audit", "put-back-whole"): [HANG],
}
"""By webhook and job, in the order of the attempts; the last one stays. All else is answered 200."""

SHORT_LEASE: Final = {
    "QUEUE_LEASE_DURATION_MS": "3000",
    "QUEUE_LEASE_RENEW_INTERVAL_MS": "1000",
    "QUEUE_SQS_VISIBILITY_TIMEOUT": "3",
}
LONG_LEASE: Final = {"QUEUE_LEASE_DURATION_MS": "120000", "QUEUE_SQS_VISIBILITY_TIMEOUT": "120"}


class Recording:
    """One queue, and a receiver for each webhook."""

    def __init__(self, queue: StoredQueue, stack: ExitStack) -> None:
        self.queue = queue
        self.receivers = {name: stack.enter_context(Receiver()) for name in EVENT_TYPES}
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, receiver in self.receivers.items():
            receiver.answer(_script_of(name))

    def config(self, *without: str, **retry: Any) -> dict[str, Any]:
        """Return the file; `retry` is for the webhook `down`, all others have the default budget of 300 s."""
        hooks = []
        for name, receiver in self.receivers.items():
            terms: dict[str, Any] = {"initial_backoff_ms": 100, "max_elapsed_time_ms": 300_000}
            terms |= {"orders": {"max_attempts": 3}, "down": retry}.get(name, {})
            seconds = 6 if name == "down" else 60
            if name not in without:
                hooks.append(hook(name, receiver.url(), terms) | {"request_timeout_ms": seconds * 1000})
        return config(app(*hooks), **self.queue.sections)

    @contextmanager
    def daemon(self, settings: Mapping[str, str] | None = None, **retry: Any) -> Iterator[DaemonProcess]:
        """Run a daemon, and kill it in the end unless it has been stopped."""
        with DaemonProcess(self.config(**retry), {**self.queue.environment, **(settings or {})}) as daemon:
            yield daemon.wait_ready(self.queue.ready_seconds)

    def push(self, case: str, *webhooks: str, app_id: str = "shop") -> None:
        self.queue.push(job_of(case, *webhooks, app_id=app_id))

    def came(self, webhook: str, case: str, count: int = 1) -> list[Request]:
        """Wait for this number of requests, and return them."""

        def matching() -> list[Request]:
            return [each for each in self.receivers[webhook].requests if case_of(each.body) == case]

        return eventually(lambda: len(matching()) >= count and matching(), 30, f"{webhook}: {case}") or []

    def replay(self, case: str) -> None:
        """Replay what `orders` has refused."""
        self.tool("replay", self.came("orders", case)[0].headers["x-sockudo-job-id"])

    def tool(self, *arguments: str) -> Ran:
        ran = Commands(self._directory, self.config(), self.queue.environment)("dead-letters", *arguments)
        assert ran.code == 0, ran
        return ran

    def record(self) -> None:
        self.deaths_and_retries()
        self.open_breakers()
        self.lost_workers()
        self.stop()
        self.replay("replayed")
        unreadable = self.tool("list", "--json", "--reason", "unreadable").json_lines
        self.tool("replay", *[each["id"] for each in unreadable if each["bytes"] == len(NOT_TEXT_AGAIN)])
        self.queue.push(job_of("untouched", "orders", "audit"), job_of("untouched-too", "audit"))
        self.queue.push_last(job_of("last", "orders"), job_of("last-too", "audit"))

    def deaths_and_retries(self) -> None:
        with self.daemon({"QUEUE_DELIVERY_RETRY_MAX_ELAPSED_TIME_MS": "500"}) as daemon:
            self.push("delivered", "orders", "audit")
            self.push("refused", "orders", "audit")
            self.push("both-refused", "orders", "audit")
            self.push("replayed", "orders")
            self.push("exhausted", "orders")
            self.push("nowhere", "orders", "audit", app_id=NEVER_APP)
            self.push("removed", "removed")
            rubbish = self.queue.push_rubbish()
            self.came("removed", "removed")
            daemon.write_config(self.config("removed"))
            self.push("died-twice", "orders")
            died(daemon, {"refused": 5, "exhausted": 1, "unknown-app": 1, "unreadable": rubbish, "webhook-removed": 1})
            self.replay("died-twice")
            died(daemon, {"exhausted": 2})
            self.push("tried-once", "orders")
            self.push("tried-thrice", "audit")
            self.came("orders", "tried-once")
            self.came("audit", "tried-thrice", 3)
            stop(daemon)

    def open_breakers(self) -> None:
        """Put off by `stalled`, whose breaker is open for long, and by `down`, whose probe outlasts the budget."""
        settings = {"QUEUE_DELIVERY_BREAKER_FAILURES": "1", "QUEUE_DELIVERY_BREAKER_MAX_OPEN_MS": "90000"}
        with self.daemon(settings, max_elapsed_time_ms=2_000) as daemon:
            self.push("timed-out", "down")
            self.came("down", "timed-out", 2)
            self.push("endpoint-down", "down")
            self.push("gone", "stalled")
            died(daemon, {"refused": 1})
            self.push("put-off", "stalled")
            died(daemon, {"endpoint-down": 1, "exhausted": 1})
            stop(daemon)

    def lost_workers(self) -> None:
        with self.daemon(SHORT_LEASE):
            self.push("lost-whole", "orders")
            self.push("lost-share", "audit")
            self.came("orders", "lost-whole")
            self.came("audit", "lost-share", 2)
        with self.daemon({**SHORT_LEASE, "QUEUE_MAX_ATTEMPTS": "1"}) as daemon:
            died(daemon, {"worker-lost": 2})
            self.push("lapsed", "orders")
            self.came("orders", "lapsed")
        with self.daemon(LONG_LEASE):
            self.came("orders", "lapsed", 2)

    def stop(self) -> None:
        """Stop a daemon whose two workers are busy: what they hold goes back, and what waits stays."""
        settings = {
            "QUEUE_WORKERS": "2",
            "QUEUE_DELIVERY_SLOW_MS": "60000",  # no attempt is slow, so each keeps its worker
            "QUEUE_SHUTDOWN_TIMEOUT_MS": "500",
            "QUEUE_DELIVERY_BREAKER_MAX_OPEN_MS": "25000",
        }
        with self.daemon(settings) as daemon:
            self.push("gone-too", "stalled")
            died(daemon, {"refused": 1})
            self.push("promised", "stalled")
            put_off(daemon, 1)
            self.push("unknown-yet", "orders", "audit", app_id=LATER_APP)
            put_off(daemon, 3)
            self.push("put-back", "orders")
            self.came("orders", "put-back", 2)
            self.push("put-back-whole", "audit")
            self.came("audit", "put-back-whole")
            self.push("moved", "orders", "audit")
            self.push("moved-too", "orders")
            stop(daemon)


def died(daemon: DaemonProcess, reasons: Mapping[str, int]) -> None:
    """Wait for dead letters of this daemon; there must be no more than these of the same reasons."""
    name = "sockudo_webhook_dead_letters_total"

    def counts() -> dict[str, float]:
        return {reason: daemon.metric(name, reason=reason) for reason in reasons}

    eventually(lambda: counts() == reasons, 30, lambda: f"{counts()}\n{daemon.output()}")


def put_off(daemon: DaemonProcess, times: int) -> None:
    """Wait until this number of claims has ended as retries."""
    eventually(
        lambda: daemon.metric("sockudo_queue_settlements_total", outcome="retry") >= times, 30, lambda: daemon.output()
    )


def stop(daemon: DaemonProcess) -> None:
    daemon.terminate()
    assert daemon.wait() == 0, daemon.output()


def _script_of(webhook: str) -> Callable[[Request, int], Answer]:
    seen = Counter[str]()

    def script(request: Request, _nth: int) -> Answer:
        case = case_of(request.body)
        answers = ANSWERS.get((webhook, case), [Answer()])
        seen[case] += 1
        return answers[min(seen[case], len(answers)) - 1]

    return script


def _queue(layout: str, stack: ExitStack) -> StoredQueue:
    if layout == "sqs":
        return StoredSqs(stack.enter_context(SqsServer()), "webhooks")
    kind = StoredV2 if layout.endswith("v2") else StoredLists
    if layout.startswith("cluster"):
        cluster = stack.enter_context(RedisCluster())
        there = {"QUEUE_DRIVER": "redis-cluster", "REDIS_CLUSTER_NODES": cluster.addresses}
        return kind(cluster.client(), there)
    server = stack.enter_context(RedisServer())
    return kind(server.client(), {"REDIS_URL": server.url})


def main(layouts: Sequence[str]) -> None:
    asked = ["git", "rev-parse", "HEAD:sockudo_queue"]
    tree = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    for layout in layouts or ("lists", "v2", "cluster-lists", "cluster-v2", "sqs"):
        with ExitStack() as stack:
            queue = _queue(layout, stack)
            Recording(queue, stack).record()
            queue.dump().save(layout, f"sockudo_queue as of tree {tree}")
            queue.close()


if __name__ == "__main__":
    main(sys.argv[1:])
