"""What operators can do, and when a daemon obeys; without a server."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

import pytest

from sockudo_queue.core.controls import ControlState, Pause, WebhookKey
from sockudo_queue.drivers.base import Driver
from sockudo_queue.errors import BrokerError, BrokerRefused, BrokerUnavailable, ControlsNotShared
from sockudo_queue.operations.controls import Controls, store_of
from sockudo_queue.pipeline.paused import PausedWebhooks
from sockudo_queue.services.controls import (
    COUNT_BATCH_SIZE,
    COUNT_INTERVAL,
    POLL_INTERVAL,
    RELEASE_INTERVAL,
    SWEEP_FOR,
    SWEEP_INTERVAL,
    ControlsWatch,
)

ORDERS, MAIL = WebhookKey("shop", "orders"), WebhookKey("shop", "mail")
PAUSED = Pause(1, "ann@host")


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, _level: str) -> Any:
        return lambda event, **fields: self.lines.append((event, fields))

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.lines]


class SharedQueue:
    """A driver that shares controls and parks records, and the store itself."""

    def __init__(self) -> None:
        self.controls = self
        self.state = ControlState()
        self.changes = 0
        self.fault: BrokerError | None = None
        self.release_fault: BrokerError | None = None
        self.reads = 0
        self.to_release: list[int] = []
        self.released: list[Collection[WebhookKey]] = []
        self.counted: list[list[WebhookKey]] = []

    def set(self, *pauses: WebhookKey, tries: dict[WebhookKey, int] | None = None) -> None:
        self.state = ControlState(dict.fromkeys(pauses, PAUSED), tries or {})
        self.changes += 1

    def version(self) -> bytes:
        if self.fault is not None:
            raise self.fault
        return b"%d" % self.changes if self.changes else b""

    def read(self) -> ControlState:
        self.reads += 1
        return self.state

    def pause(self, webhook: WebhookKey, by: str) -> bool:
        pauses = dict(self.state.pauses)
        is_new = pauses.setdefault(webhook, Pause(1, by)) == Pause(1, by)
        self.set(*pauses)
        return is_new

    def resume(self, webhook: WebhookKey, by: str) -> bool:
        was = webhook in self.state.pauses
        self.set(*(set(self.state.pauses) - {webhook}))
        return was

    def try_now(self, webhook: WebhookKey, by: str) -> bool:
        return True

    def release(self, paused: Collection[WebhookKey]) -> int:
        if self.release_fault is not None:
            raise self.release_fault
        self.released.append(paused)
        return self.to_release.pop(0) if self.to_release else 0

    def held(self, webhooks: Sequence[WebhookKey]) -> Sequence[int]:
        self.counted.append(list(webhooks))
        return [7] * len(webhooks)


class World:
    def __init__(self, *in_file: WebhookKey, driver: object | None = None) -> None:
        self.queue = SharedQueue()
        self.paused = PausedWebhooks()
        self.log = Log()
        self.now = 1000.0
        self.closed: list[WebhookKey] = []
        self.woken: list[int] = []
        self.reasons: list[str | None] = []
        self.refusals: list[str | None] = []
        self.in_file = set(in_file)
        self.watch = ControlsWatch(
            cast(Driver, driver or self.queue),
            self.paused,
            self.log,
            in_file=lambda: self.in_file,
            close_breaker=self.closed.append,
            wake=self.woken.append,
            set_ready=self.reasons.append,
            set_refused=self.refusals.append,
            clock=lambda: self.now,
        )

    def poll(self, seconds: float = POLL_INTERVAL) -> None:
        self.now += seconds
        self.watch.poll()


def test_pause_is_obeyed_at_the_next_look_and_logged_once() -> None:
    world = World()
    world.poll()
    world.queue.set(ORDERS)
    world.poll()
    world.poll()

    assert world.paused.webhooks == {ORDERS}
    assert world.watch.held == {ORDERS: 7}
    assert world.log.lines == [("webhook.paused", {"app": "shop", "webhook": "orders", "by": "ann@host"})]


def test_what_has_not_changed_is_not_read_again() -> None:
    world = World()
    world.queue.set(ORDERS)
    for _ in range(5):
        world.poll()
    assert world.queue.reads == 1


def test_nothing_is_known_before_the_first_answer() -> None:
    world = World()
    world.queue.fault = BrokerUnavailable("away")
    world.poll()
    assert not world.paused.known.is_set()
    assert world.queue.released == []
    assert world.reasons == ["the paused webhooks are not known yet, so no jobs are claimed"]
    world.queue.fault = None
    world.queue.set(ORDERS)
    world.poll()
    world.poll()
    assert world.paused.known.is_set()
    assert world.reasons[1:] == [None]
    assert world.paused.webhooks == {ORDERS}


def test_pauses_stay_while_the_server_is_away_and_nothing_is_released() -> None:
    world = World()
    world.queue.set(ORDERS)
    world.poll()
    world.queue.fault = BrokerUnavailable("away")
    world.queue.released.clear()
    for _ in range(100):
        world.poll()
    assert world.paused.webhooks == {ORDERS}
    assert world.queue.released == []


def test_without_rights_the_daemon_goes_on_and_warns_once() -> None:
    world = World(MAIL)
    world.queue.fault = BrokerRefused("NOPERM")
    for _ in range(100):
        world.poll()
    assert world.paused.known.is_set()
    assert world.paused.webhooks == {MAIL}
    assert world.queue.released == [], "what another daemon holds is none of its business"
    assert world.log.events.count("controls.refused") == 1
    assert world.refusals == ["NOPERM"]

    world.poll(600)
    assert world.log.events.count("controls.refused") == 2
    world.queue.fault = None
    world.queue.set(ORDERS)
    world.poll()
    assert world.paused.webhooks == {ORDERS, MAIL}
    assert world.log.events.count("controls.resumed") == 1
    assert world.refusals == ["NOPERM", None]


def test_after_a_resume_everything_moves_in_portions_without_a_pause() -> None:
    world = World()
    world.queue.set(ORDERS, MAIL)
    world.poll()
    world.queue.set(MAIL)
    world.queue.to_release = [1000, 1000, 3]
    world.queue.released.clear()
    pauses = []
    for _ in range(3):
        world.poll(0.1)
        pauses.append(world.watch.pause)
    world.poll(0.1)

    assert world.queue.released == [{MAIL}] * 4
    assert world.woken == [1000, 1000, 3]
    assert pauses == [RELEASE_INTERVAL] * 3
    assert world.watch.pause == POLL_INTERVAL
    assert world.log.events == ["webhook.paused", "webhook.paused", "webhook.resumed"]


def test_after_a_resume_it_looks_for_what_is_parked_late_and_then_rarely() -> None:
    world = World()
    world.queue.set(ORDERS)
    world.poll()
    world.queue.set()
    world.queue.released.clear()
    for _ in range(round(SWEEP_FOR) + 1):
        world.poll(1.0)
    assert len(world.queue.released) >= SWEEP_FOR - 1
    world.queue.released.clear()
    for _ in range(round(10 * SWEEP_INTERVAL)):
        world.poll(1.0)
    assert len(world.queue.released) == 10


def test_interrupted_resume_goes_on_with_a_daemon_that_knows_nothing_of_it() -> None:
    world = World()
    world.queue.to_release = [1000, 5]
    for _ in range(3):
        world.poll(0.2)
    assert world.woken == [1000, 5]


def test_failed_release_is_tried_again() -> None:
    world = World()
    world.poll()
    world.queue.set(ORDERS)
    world.poll()
    world.queue.set()

    world.queue.release_fault = BrokerUnavailable("away")
    world.poll()
    world.queue.release_fault = None
    world.queue.to_release = [4]
    world.poll()
    assert world.woken == [4]


def test_file_pauses_too() -> None:
    world = World(ORDERS)
    world.poll()
    assert world.paused.webhooks == {ORDERS}
    world.in_file = {MAIL}
    world.poll()
    assert world.paused.webhooks == {MAIL}
    assert world.log.lines[0] == (
        "webhook.paused",
        {"app": "shop", "webhook": "orders", "by": "the app file"},
    )


def test_driver_that_shares_nothing_obeys_the_file() -> None:
    world = World(ORDERS, driver=object())
    world.poll()
    assert world.paused.known.is_set()
    assert world.paused.webhooks == {ORDERS}
    assert world.watch.held == {ORDERS: 0}


def test_breaker_is_closed_once_for_each_try() -> None:
    world = World()
    world.queue.set(tries={ORDERS: 5})
    world.poll()
    assert world.closed == [], "that was before this daemon began"
    world.queue.set(tries={ORDERS: 5, MAIL: 6})
    world.poll()
    world.poll()
    assert world.closed == [MAIL]
    world.queue.set(tries={ORDERS: 7, MAIL: 6})
    world.poll()
    assert world.closed == [MAIL, ORDERS]


def test_each_action_is_logged_with_who_and_what() -> None:
    queue, log, acted = SharedQueue(), Log(), list[int]()
    controls = Controls(store_of(cast(Driver, queue)), log, acted=lambda: acted.append(1))

    assert controls.pause("shop", "orders", "ann\n")
    assert not controls.pause("shop", "orders", "bob")
    assert controls.resume("shop", "orders", "bob")
    assert not controls.resume("shop", "orders", "bob")
    controls.try_now("shop", "orders", "bob")

    assert [(fields["action"], fields["by"], fields["count"]) for _, fields in log.lines] == [
        ("pause", "ann?", 1),
        ("pause", "bob", 0),
        ("resume", "bob", 1),
        ("resume", "bob", 0),
        ("try-now", "bob", 1),
    ]
    assert set(log.events) == {"operator.acted"}
    assert len(acted) == 5


def test_webhook_that_the_file_pauses_cannot_be_resumed_otherwise() -> None:
    queue = SharedQueue()
    queue.set(ORDERS)
    controls = Controls(queue, Log(), in_file=lambda: {ORDERS})
    with pytest.raises(ControlsNotShared, match="the app file"):
        controls.resume("shop", "orders", "ann")
    assert queue.state.pauses == {}, "when it is removed there, nothing else must keep it paused"


def test_without_shared_state_only_this_process_can_be_acted_on() -> None:
    closed: list[WebhookKey] = []
    log = Log()
    controls = Controls(store_of(cast(Driver, object())), log, try_here=closed.append)
    with pytest.raises(ControlsNotShared):
        controls.pause("shop", "orders", "ann")
    with pytest.raises(ControlsNotShared):
        controls.resume("shop", "orders", "ann")
    with pytest.raises(ControlsNotShared):
        controls.pauses()
    assert log.lines == []
    controls.try_now("shop", "orders", "ann")
    assert closed == [ORDERS]
    with pytest.raises(ControlsNotShared):
        Controls(None, log).try_now("shop", "orders", "ann")


def test_held_deliveries_of_many_webhooks_are_counted_in_turns() -> None:
    world = World()
    webhooks = [WebhookKey("shop", f"hook-{number:03}") for number in range(2 * COUNT_BATCH_SIZE + 10)]
    world.queue.set(*webhooks)
    world.poll()
    assert set(world.watch.held) == set(webhooks)
    assert sum(world.watch.held.values()) == 7 * COUNT_BATCH_SIZE
    world.poll(COUNT_INTERVAL)
    world.poll(COUNT_INTERVAL)
    assert [len(turn) for turn in world.queue.counted] == [COUNT_BATCH_SIZE] * 3
    assert world.watch.held == dict.fromkeys(webhooks, 7)

    world.queue.set(*webhooks[1:])
    world.poll()
    assert webhooks[0] not in world.watch.held
    world.queue.set(*webhooks)
    world.poll()
    assert world.queue.counted[-1][0] == webhooks[0], "a new one is counted first"
