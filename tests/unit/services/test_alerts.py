"""The outbox of alerts: what it sends, tries again and gives up, with a clock and a receiver that a test moves."""

from __future__ import annotations

import itertools
import json
from typing import Any, Final

from sockudo_queue.core import alert
from sockudo_queue.core.alert import Alert
from sockudo_queue.core.outcome import Failure, Outcome, from_failure, from_status
from sockudo_queue.services.alert_queue import MAX_SUBJECTS
from sockudo_queue.services.alerts import MAX_PAUSE, POST_BURST, TRIES, AlertOutbox

REMINDER: Final = 600.0


class Outbox:
    """An outbox whose receiver answers with `outcome`, and whose lines are kept."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.outcome = from_status(204)
        self.posts: list[tuple[float, str, dict[str, Any]]] = []
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.box = AlertOutbox(self.post, "host:1", self, reminder=REMINDER, clock=lambda: self.now)

    def post(self, message: str, body: bytes) -> Outcome:
        self.posts.append((self.now, message, json.loads(body)))
        return self.outcome

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    info = warning

    def run(self, seconds: int) -> None:
        """Flush once a second."""
        for _ in range(seconds):
            self.now += 1.0
            self.box.flush()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, _, body in self.posts]


def opened(webhook: str = "orders") -> Alert:
    return alert.breaker_opened("shop", webhook, 1_700_000_000.25, reason="status-503", failing_s=1.26, open_s=5.0)


def dead(webhook: str = "orders") -> Alert:
    return alert.dead_letter("shop", webhook, 1_700_000_000.0, reason="exhausted", last="status-503")


def test_alert_is_posted_with_its_documented_payload() -> None:
    outbox = Outbox()
    outbox.box.put(opened())
    outbox.run(3)
    assert outbox.bodies == [
        {
            "type": "webhook.breaker_opened",
            "timestamp": "2023-11-14T22:13:20.250Z",
            "data": {
                "app": "shop",
                "webhook": "orders",
                "reason": "status-503",
                "failing_s": 1.3,
                "open_s": 5.0,
                "changes": 1,
                "alerts_lost": 0,
                "replica": "host:1",
            },
        }
    ]
    assert outbox.box.counts() == {"sent": 1, "failed": 0, "dropped": 0}
    assert outbox.lines == []


def test_burst_is_followed_by_one_post_a_second() -> None:
    outbox = Outbox()
    for number in range(50):
        outbox.box.put(opened(str(number)))
    outbox.run(1)
    assert len(outbox.posts) == POST_BURST
    outbox.run(20)
    assert len(outbox.posts) == POST_BURST + 20


def test_try_again_has_the_same_id_and_body() -> None:
    outbox = Outbox()
    outbox.outcome = from_status(503)
    outbox.box.put(opened())
    outbox.run(2)
    outbox.box.put(alert.breaker_closed("shop", "orders", 0.0, failing_s=1))
    outbox.outcome = from_status(200)
    outbox.run(5)
    messages = [(message, body["type"]) for _, message, body in outbox.posts]
    assert [type_ for _, type_ in messages] == ["webhook.breaker_opened"] * 3 + ["webhook.breaker_closed"]
    assert len(set(messages)) == 2
    assert outbox.bodies[0] == outbox.bodies[2]


def test_alert_is_given_up_after_its_tries_with_growing_pauses() -> None:
    outbox = Outbox()
    outbox.outcome = from_failure(Failure.REFUSED)
    outbox.box.put(opened())
    outbox.run(100)
    moments = [moment for moment, _, _ in outbox.posts]
    assert len(moments) == TRIES
    assert [round(later - earlier) for earlier, later in itertools.pairwise(moments)] == [1, 2, 4, 8]
    assert outbox.box.counts() == {"sent": 0, "failed": 1, "dropped": 0}
    assert outbox.lines == [("alert.failed", {"reason": "refused"})]


def test_answer_that_is_permanent_is_not_tried_again() -> None:
    outbox = Outbox()
    outbox.outcome = from_status(404)
    outbox.box.put(opened())
    outbox.run(100)
    assert len(outbox.posts) == 1
    assert outbox.box.counts()["failed"] == 1


def test_retry_after_is_respected_and_bounded() -> None:
    outbox = Outbox()
    outbox.outcome = from_status(429, retry_after=30.0)
    outbox.box.put(opened())
    outbox.run(31)
    assert len(outbox.posts) == 2
    outbox.outcome = from_status(429, retry_after=1e9)
    outbox.run(31)
    outbox.outcome = from_status(200)
    outbox.run(int(MAX_PAUSE) + 1)
    assert outbox.box.counts()["sent"] == 1


def test_receiver_that_stays_away_costs_few_requests_and_few_lines() -> None:
    outbox = Outbox()
    outbox.outcome = from_status(500)
    for second in range(3_600):
        outbox.box.put(dead(str(second)))
        outbox.run(1)
    assert len(outbox.posts) <= 3_600 / MAX_PAUSE + 10
    assert outbox.lines == [("alert.failed", {"reason": "status-500"})]
    assert outbox.box.unsent() <= MAX_SUBJECTS + 1


def test_recovery_is_logged_once_and_the_next_alert_says_how_many_were_lost() -> None:
    outbox = Outbox()
    outbox.outcome = from_status(400)
    for name in ("a", "b"):
        outbox.box.put(opened(name))
        outbox.run(5)
    outbox.outcome = from_status(200)
    for name in ("c", "d"):
        outbox.box.put(opened(name))
        outbox.run(5)
    assert [body["data"]["alerts_lost"] for body in outbox.bodies] == [0, 1, 2, 0]
    assert outbox.lines == [("alert.failed", {"reason": "status-400"}), ("alert.resumed", {"lost": 2})]


def test_dropped_alerts_are_counted_and_reported() -> None:
    outbox = Outbox()
    for number in range(MAX_SUBJECTS + 7):
        outbox.box.put(opened(str(number)))
    outbox.run(1)
    assert outbox.box.counts()["dropped"] == 7
    assert outbox.bodies[0]["data"]["alerts_lost"] == 7
    assert outbox.bodies[1]["data"]["alerts_lost"] == 0


def test_close_sends_what_waits_for_its_reminder() -> None:
    outbox = Outbox()
    outbox.box.put(dead())
    outbox.run(1)
    for _ in range(3):
        outbox.box.put(dead())
    outbox.box.close()
    assert outbox.bodies[-1]["data"]["count"] == 3
    assert outbox.box.unsent() == 0


def test_close_tries_a_failing_receiver_once() -> None:
    outbox = Outbox()
    outbox.outcome = from_failure(Failure.READ_TIMEOUT)
    for name in ("a", "b", "c"):
        outbox.box.put(opened(name))
    outbox.run(1)
    outbox.box.close()
    assert len(outbox.posts) == 2
    assert outbox.box.unsent() == 3
