"""How deliveries to a paused webhook are settled."""

from __future__ import annotations

import threading

import msgspec
import pytest

from sockudo_queue.core import delivery_state
from sockudo_queue.core.apps import App, InvalidWebhook, StaticApps
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.core.delivery_state import DeliveryState
from sockudo_queue.drivers.base import DeadLetter, Hold, Retry
from sockudo_queue.pipeline.paused import PausedWebhooks
from sockudo_queue.pipeline.resolve import Resolver
from tests.helpers.jobs import APP_ID, job
from tests.unit.pipeline.test_dispatcher import BUDGET_MS, DOWN, NOW_MS, World, claim_of, hook, only, owed

HELD_MS = NOW_MS - 3_600_000


class PausedWorld(World):
    """A dispatcher, and webhooks of its app that are paused."""

    def __init__(self, *paused: str, names: tuple[str, ...] = ("a", "b"), invalid: tuple[str, ...] = ()) -> None:
        hooks = [hook(name) for name in names]
        super().__init__(*hooks, invalid=tuple(InvalidWebhook(name, None, None, "", "") for name in invalid))
        self.paused = PausedWebhooks(*(WebhookKey(APP_ID, name) for name in paused))
        self.resolver = Resolver(
            self.apps,
            self.unknown_apps,
            self.log,
            max_lapses=5,
            unknown_app_budget_ms=BUDGET_MS,
            paused=self.paused,
        )

    def resume(self) -> None:
        self.paused.webhooks = frozenset()


def test_fresh_job_is_held_for_a_paused_webhook_and_delivered_to_the_others() -> None:
    world = PausedWorld("a")

    settlement = world.settle(claim_of(job(1)))

    held = only(settlement)
    assert isinstance(held, Hold)
    assert (held.app, held.webhook) == (APP_ID, "a")
    state = owed(held)
    assert state.held_from is not None
    assert NOW_MS <= state.held_from < NOW_MS + 60_000, "the clock goes on meanwhile"
    assert state == DeliveryState("rec", APP_ID, "a", held_from=state.held_from)
    assert settlement.splits
    assert world.sender.names == ["b"]


def test_fresh_job_of_paused_webhooks_alone_is_split() -> None:
    world = PausedWorld("a", "b")
    settlement = world.settle(claim_of(job(1)))
    assert [type(part) for part in settlement.parts] == [Hold, Hold]
    assert settlement.splits
    assert world.sender.names == []


def test_webhook_of_the_same_name_in_another_app_goes_on() -> None:
    world = PausedWorld("a")
    world.paused.webhooks = frozenset({WebhookKey("other", "a")})
    assert world.settle(claim_of(job(1))).parts == ()
    assert world.sender.names == ["a", "b"]


def test_retry_that_is_due_is_held_and_counts_nothing() -> None:
    world = PausedWorld("a")
    state = DeliveryState("j", APP_ID, "a", attempts=3, budget_from=NOW_MS - 1_000_000, last="status-503", guesses=2)

    held = only(world.settle(claim_of(job(1), state)))

    assert isinstance(held, Hold)
    assert owed(held).attempts == 3
    assert NOW_MS <= (owed(held).held_from or 0) < NOW_MS + 60_000
    assert owed(held).guesses == 0
    assert world.metrics.webhook(APP_ID, "a").shared.deferrals == 0
    assert world.sender.names == []


def test_delivery_held_again_keeps_the_time_of_the_first_hold() -> None:
    world = PausedWorld("a")
    state = DeliveryState("j", APP_ID, "a", held_from=HELD_MS)
    assert owed(only(world.settle(claim_of(job(1), state)))).held_from == HELD_MS


def test_after_the_resume_the_budget_goes_on_where_it_stood() -> None:
    world = PausedWorld("a")
    world.resume()
    world.sender.answers["a"] = DOWN
    state = DeliveryState("j", APP_ID, "a", attempts=1, budget_from=HELD_MS - 7_000, held_from=HELD_MS)

    retry = only(world.settle(claim_of(job(1), state)))

    assert isinstance(retry, Retry)
    assert owed(retry).budget_from == NOW_MS - 7_000
    assert owed(retry).held_from is None
    assert owed(retry).attempts == 2


def test_after_the_resume_an_untried_delivery_has_its_whole_budget() -> None:
    world = PausedWorld("a")
    world.resume()
    state = DeliveryState("j", APP_ID, "a", held_from=HELD_MS)
    assert world.settle(claim_of(job(1), state)).parts == ()
    assert world.sender.names == ["a"]


@pytest.mark.parametrize(("body", "lapses", "reason"), [(job(1), 5, "worker-lost"), (b"{", 0, "unreadable")])
def test_delivery_that_cannot_be_attempted_is_held_while_its_webhook_is_paused(
    body: bytes, lapses: int, reason: str
) -> None:
    world = PausedWorld("a")
    state = DeliveryState("j", APP_ID, "a", attempts=1)
    claim = msgspec.structs.replace(claim_of(body, state), lapses=lapses)
    held = only(world.settle(claim))
    assert isinstance(held, Hold)
    assert (held.app, held.webhook) == (APP_ID, "a")

    world.resume()
    dead = only(world.settle(claim))
    assert isinstance(dead, DeadLetter)
    assert owed(dead).reason == reason


@pytest.mark.parametrize("names", [(), ("b",)])
def test_removed_webhook_causes_no_dead_letter_before_the_resume(names: tuple[str, ...]) -> None:
    world = PausedWorld("a", names=names)
    state = DeliveryState("j", APP_ID, "a", attempts=1)
    assert isinstance(only(world.settle(claim_of(job(1), state))), Hold)
    world.resume()
    assert isinstance(only(world.settle(claim_of(job(1), state))), DeadLetter)


def test_invalid_webhook_causes_no_dead_letter_before_the_resume() -> None:
    world = PausedWorld("c", names=("a",), invalid=("c", "d"))

    parts = world.settle(claim_of(job(1))).parts

    assert [type(part) for part in parts] == [Hold, DeadLetter]
    assert world.sender.names == ["a"]


def test_delivery_of_an_app_that_is_unknown_is_held_if_its_webhook_is_paused() -> None:
    world = PausedWorld("a")
    world.apps = StaticApps([])
    world.resolver = Resolver(
        world.apps, world.unknown_apps, world.log, max_lapses=5, unknown_app_budget_ms=0, paused=world.paused
    )
    state = DeliveryState("j", APP_ID, "a", attempts=1, budget_from=NOW_MS - BUDGET_MS)
    assert isinstance(only(world.settle(claim_of(job(1), state))), Hold)


def test_job_that_goes_back_as_a_whole_is_not_held() -> None:
    world = PausedWorld("a")
    in_flight = world.resolver.resolve(claim_of(job(1)))
    assert not any(isinstance(part, Hold) for part in in_flight.abandon().parts)


@pytest.mark.parametrize(
    ("began", "since", "then"),
    [
        (None, HELD_MS, None),
        (HELD_MS - 5, HELD_MS, NOW_MS - 5),
        (HELD_MS + 5, HELD_MS, NOW_MS),  # a budget that began within the pause, which no version writes
        (HELD_MS, NOW_MS + 5, HELD_MS),  # the clock was set back
        (-(2**53), -(2**53), NOW_MS),
    ],
)
def test_time_of_a_pause_does_not_count(began: int | None, since: int, then: int | None) -> None:
    state = DeliveryState("j", budget_from=began, held_from=since)
    assert delivery_state.resumed(state, NOW_MS) == DeliveryState("j", budget_from=then)


def test_state_that_is_held_is_read_as_it_was_written() -> None:
    state = delivery_state.held(DeliveryState("j", APP_ID, "a"), NOW_MS)
    assert delivery_state.decode(delivery_state.encode(state)) == state
    assert delivery_state.resumed(DeliveryState("j"), NOW_MS) == DeliveryState("j")


def test_workers_wait_until_the_pauses_are_known() -> None:
    paused, stopping = PausedWebhooks(), threading.Event()
    waiting = threading.Thread(target=paused.wait_until_known, args=(stopping,), daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    paused.known.set()
    waiting.join(5)
    assert not waiting.is_alive()
    stopping.set()
    PausedWebhooks().wait_until_known(stopping)


def test_an_app_without_webhooks_has_none_to_hold() -> None:
    world = PausedWorld("a", names=())
    world.apps.replace([App(APP_ID, ())])
    assert world.settle(claim_of(job(1))).parts == ()
