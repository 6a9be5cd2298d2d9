"""The steps of the demo, from the first line to the totals."""

from __future__ import annotations

import json
import queue
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from sockudo_queue.commands.demo import jobs
from sockudo_queue.commands.demo.child import Child, ChildError
from sockudo_queue.commands.demo.receivers import DemoRequest, Receiver
from sockudo_queue.commands.demo.screen import BOLD, GREEN, RED, YELLOW, Screen

FIRST_BACKOFF_MS: Final = 500
"""Half of the default, because a person is watching."""
FAILURES: Final = 2
PAUSE: Final = 0.6
"""Seconds between two jobs, so that a person can read along."""
TIMEOUT: Final = 20.0
"""Seconds for everything to happen; it takes 3."""
MAX_COUNT_POLLS: Final = 50
COUNT_PAUSE: Final = 0.05  # seconds
REQUESTS: Final = 6
DEAD_LETTERS: Final = 2

WEBHOOKS: Final = """\
App "shop" has three webhooks:
  orders     channel_occupied and member_added; its receiver answers the first job with 503, twice
  lobby      the same events, but only of channels that begin with "presence-"
  chat-log   client events; its receiver is gone and answers 404
"""
NEXT: Final = """\
Next: write your apps and their webhooks into config.json (config.example.json shows how), set REDIS_URL to the Redis
of your Sockudo, and start it: sockudo-queue run --config config.json"""


def run() -> int:
    """Run the demo; return 0 if all results are as expected, otherwise 1."""
    # As Ctrl-C does, so that the child ends with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = Screen()
    try:
        return _Story(screen).run()
    except ChildError as error:
        screen.print_line(f"The demo failed: {error}", RED)
    except KeyboardInterrupt:
        screen.print_line("Stopped.")
    return 1


class _Story:
    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._news: queue.SimpleQueue[DemoRequest | Mapping[str, Any]] = queue.SimpleQueue()
        self._received: list[DemoRequest] = []
        self._dead_letters = 0
        self._first_job, self._failed = "", 0

    def run(self) -> int:
        self._screen.print_line(
            "sockudo-queue demo: the daemon and two receivers, all on 127.0.0.1, no Redis needed", BOLD
        )
        self._screen.print_line()
        self._screen.print_line(WEBHOOKS)
        with (
            tempfile.TemporaryDirectory(prefix="sockudo-queue-demo-") as directory,
            Receiver(self._fail_twice, self._news.put) as first,
            Receiver(lambda path, _: 404 if path == "/gone" else 200, self._news.put) as second,
        ):
            config = Path(directory) / "config.json"
            config.write_text(json.dumps(_config(first.url, second.url)))
            with Child(config, self._news.put) as child:
                return self._show(child)

    def _show(self, child: Child) -> int:
        self._screen.start()
        process = child.wait_ready()
        self._screen.happened("daemon", f"ready, process {process}: sockudo-queue run, driver memory")
        self._queue(child, "Sockudo 4.7: channel_occupied of room-1", jobs.job_4_7("room-1", jobs.OCCUPIED))
        self._queue(child, "Sockudo 4.7: 3 events, 2 of them of presence-lobby", jobs.job_4_7("lobby", *jobs.JOINED))
        self._queue(child, "Sockudo 5.0: client_event of private-chat", jobs.job_5_0("chat", jobs.TYPED))
        self._queue(child, "an object that is not a job", jobs.unreadable())
        self._follow(TIMEOUT, lambda: len(self._received) >= REQUESTS and self._dead_letters >= DEAD_LETTERS)
        return self._conclude(child)

    def _queue(self, child: Child, what: str, job: bytes) -> None:
        self._screen.happened("queue", f"<- {what}")
        child.send(job)
        self._follow(PAUSE)

    def _follow(self, seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        """Print events for this many seconds, or until `done`."""
        until = time.monotonic() + seconds
        while not done() and (left := until - time.monotonic()) > 0:
            try:
                news = self._news.get(timeout=left)
            except queue.Empty:
                return
            if isinstance(news, DemoRequest):
                self._print_request(news)
            elif news.get("event") == "job.dead_lettered":
                self._print_dead_letter(news)

    def _print_request(self, received: DemoRequest) -> None:
        self._received.append(received)
        many = "1 event" if received.events == 1 else f"{received.events} events"
        status = received.status
        meaning, colour = ("delivered", GREEN) if status == 200 else ("refused", RED)
        if status == 503:
            meaning, colour = "will be retried", YELLOW
        self._screen.happened(
            received.webhook,
            f"-> attempt {received.attempt}, {many}: {status}, {meaning}",
            colour,
            "signature valid" if received.genuine else "SIGNATURE INVALID",
        )

    def _print_dead_letter(self, line: Mapping[str, Any]) -> None:
        self._dead_letters += 1
        last = f", last answer {line['last']}" if line["last"] else ""
        self._screen.happened(line["webhook"] or "-", f"kept as a dead letter: {line['reason']}{last}", RED)

    def _conclude(self, child: Child) -> int:
        counts = _settled_counts(child)
        attempts = {each: int(counts[f"sockudo_webhook_attempts_total {each}"]) for each in _OUTCOMES}
        genuine = sum(received.genuine for received in self._received)
        right = self._as_expected() and attempts == _OUTCOMES and genuine == REQUESTS
        code = child.stop()
        self._screen.happened("daemon", f"stopped by SIGTERM, exit code {code}")
        self._screen.print_line()
        self._screen.print_line(
            f"Totals of /metrics: {sum(attempts.values())} attempts: {attempts['delivered']} delivered, "
            f"{attempts['retryable']} to be retried, {attempts['permanent']} refused; "
            f"{int(counts['sockudo_webhook_dead_letters_total'])} dead letters."
        )
        self._screen.print_line(
            f"{genuine} of {len(self._received)} signatures valid, verified independently of the daemon."
        )
        if not right or code != 0:
            self._screen.print_line("This is not the expected result. Please report it.", RED)
            return 1
        self._screen.print_line(NEXT)
        return 0

    def _as_expected(self) -> bool:
        seen = sorted((each.webhook, each.attempt, each.events, each.status) for each in self._received)
        return seen == _EXPECTED and self._dead_letters == DEAD_LETTERS

    def _fail_twice(self, _path: str, job: str) -> int:
        self._first_job = self._first_job or job
        if job != self._first_job or self._failed == FAILURES:
            return 200
        self._failed += 1
        return 503


_OUTCOMES: Final = {"delivered": 3, "retryable": 2, "permanent": 1}
_EXPECTED: Final = [
    ("chat-log", 1, 1, 404),
    ("lobby", 1, 2, 200),
    ("orders", 1, 1, 503),
    ("orders", 1, 3, 200),
    ("orders", 2, 1, 503),
    ("orders", 3, 1, 200),
]


def _settled_counts(child: Child) -> dict[str, float]:
    """Return the counts once they include the last answer, which reaches the daemon after the request is printed."""
    for _ in range(MAX_COUNT_POLLS):
        counts = child.counts()
        if counts.get("sockudo_webhook_attempts_total", 0) >= REQUESTS and not counts["sockudo_webhook_in_flight"]:
            break
        time.sleep(COUNT_PAUSE)
    return counts


def _config(first: str, second: str) -> dict[str, Any]:
    """Return a file in Sockudo's own format."""
    both = ["channel_occupied", "member_added"]
    webhooks = [
        {"name": "orders", "url": first, "event_types": both},
        {"name": "lobby", "url": second, "event_types": both, "filter": {"channel_prefix": "presence-"}},
        {"name": "chat-log", "url": f"{second}gone", "event_types": ["client_event"]},
    ]
    app = {"id": jobs.APP_ID, "key": jobs.APP_KEY, "secret": jobs.APP_SECRET, "policy": {"webhooks": webhooks}}
    return {
        "app_manager": {"driver": "memory", "array": {"apps": [app]}},
        "webhooks": {"retry": {"initial_backoff_ms": FIRST_BACKOFF_MS}},
    }
