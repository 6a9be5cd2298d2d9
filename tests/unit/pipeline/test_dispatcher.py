"""From a claim to its settlement, with a stand-in for the sender: posts, retries, dead letters and deferrals."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
import pytest
from msgspec.structs import replace

from sockudo_queue.core import delivery_state, signing
from sockudo_queue.core.apps import App, Filter, InvalidByApp, InvalidWebhook, StaticApps, Webhook
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.core.delivery_state import TRIES_LIMIT, DeliveryState, EarlierFailure
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.core.outcome import Failure, Outcome, from_failure, from_status
from sockudo_queue.core.retry import RetryPolicy
from sockudo_queue.core.secret import Secret
from sockudo_queue.core.trace_context import TraceContext
from sockudo_queue.delivery.admission.endpoint import BreakerKey, Deferral, EndpointKey, EndpointRegistry
from sockudo_queue.delivery.admission.thread_budget import AdmissionLimits
from sockudo_queue.delivery.sender import Sender as RealSender
from sockudo_queue.drivers.base import Claim, DeadLetter, Disposition, Requeue, Retry, Settlement
from sockudo_queue.errors import AppStoreUnavailable, AppUnreadable
from sockudo_queue.history.entry import EntryRow
from sockudo_queue.history.entry import decode as decode_entry
from sockudo_queue.observability.metrics import Metrics
from sockudo_queue.pipeline.attempt_recorder import AttemptRecorder
from sockudo_queue.pipeline.deferrals import MAX_GUESS
from sockudo_queue.pipeline.dispatcher import Dispatcher, endpoint_of
from sockudo_queue.pipeline.in_flight import JobInFlight, WebhookDelivery
from sockudo_queue.pipeline.matching_share import Account
from sockudo_queue.pipeline.pool import Slot
from sockudo_queue.pipeline.resolve import NEWER_RECORD_DELAY_MS, Resolver
from sockudo_queue.pipeline.unknown_apps import LOOKUPS_PER_SECOND, RECENT, UnknownApps
from tests.helpers.jobs import APP_ID, APP_KEY, APP_SECRET, event, job, webhook_body

LIMITS: Final = AdmissionLimits(
    concurrency=5, max_slow=32, slow=0.1, breaker_failures=2, breaker_period=5.0, breaker_max_period=60.0
)
MAX_LAPSES: Final = 5
BUDGET_MS: Final = 300_000
NOW_MS: Final = 1_800_000_000_000
OK: Final = from_status(200)
DOWN: Final = from_status(503)
REFUSED: Final = from_status(404)


def hook(name: str, *, policy: RetryPolicy | None = None, **fields: Any) -> Webhook:
    url = Secret(f"https://{name}.example/hook?token=CANARY")
    events = frozenset({"channel_occupied", "channel_vacated"})
    return Webhook(name, events, url, retry=policy or RetryPolicy(jitter=0), **fields)


class Sender:
    """Answers as configured by webhook name, and records what it was given."""

    def __init__(self) -> None:
        self.answers: dict[str, Outcome | BaseException] = {}
        self.posted: list[tuple[str, bytes, dict[str, str]]] = []
        self.while_posting: Callable[[], None] = lambda: None

    def post(self, webhook: Webhook, body: bytes, own_headers: dict[str, str]) -> tuple[Outcome, bool]:
        self.posted.append((webhook.name, body, own_headers))
        self.while_posting()
        answer = self.answers.get(webhook.name, OK)
        if isinstance(answer, BaseException):
            raise answer
        return answer, True

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.posted]


class Log:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **fields: self.lines.append((event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.lines if name == event]


class World:
    """A dispatcher with everything around it."""

    def __init__(self, *webhooks: Webhook, lives: bool = True, invalid: tuple[InvalidWebhook, ...] = ()) -> None:
        self.apps = StaticApps([App(APP_ID, webhooks, invalid)] if lives else [])
        self.endpoints = EndpointRegistry(LIMITS)
        self.sender = Sender()
        self.metrics = Metrics("redis", "webhooks")
        self.log = Log()
        self.stopping = threading.Event()
        self.unknown_apps = UnknownApps(self.log, lambda reason: None)
        self.resolver = Resolver(
            self.apps, self.unknown_apps, self.log, max_lapses=MAX_LAPSES, unknown_app_budget_ms=BUDGET_MS
        )
        self.dispatcher = Dispatcher(
            self.endpoints, cast(RealSender, self.sender), self.metrics, self.log, self.stopping
        )

    def settle(self, claim: Claim) -> Settlement:
        """Carry a claim through as a worker does, its deliveries one after the other."""
        in_flight = self.resolver.resolve(claim)
        settlement = in_flight.settlement
        for delivery in in_flight.deliveries:
            settlement = in_flight.finish(delivery, self.part_of(in_flight, delivery))
        assert settlement is not None
        return settlement

    def part_of(self, in_flight: JobInFlight, delivery: WebhookDelivery) -> Disposition | None:
        return self.dispatcher.attempt(in_flight, delivery, Slot(), lambda _slot: None)

    def in_flight(self, name: str) -> int:
        found = self.endpoints._endpoints.get(EndpointKey("https", f"{name}.example", 443))
        return found.in_flight if found else 0

    def failures(self, name: str) -> int:
        """Return the failures in a row that the breaker of a webhook has counted."""
        owner = BreakerKey(APP_ID, name, f"https://{name}.example/hook?token=CANARY")
        return self.endpoints._breakers[owner].failures


def claim_of(body: bytes, state: DeliveryState | bytes = b"", *, lapses: int = 0, receipt: str = "rec/1") -> Claim:
    encoded = delivery_state.encode(state) if isinstance(state, DeliveryState) else state
    return Claim("source", receipt, body, encoded, lapses, NOW_MS)


def owed(part: Disposition) -> DeliveryState:
    return delivery_state.decode(part.state)


def only(settlement: Settlement) -> Disposition:
    (part,) = settlement.parts
    return part


# Delivery


def test_large_job_gives_its_room_back() -> None:
    world = World(hook("a", filter=Filter(channel_pattern="^room")))
    events = [event(channel=f"room-{number}-{'x' * 100}") for number in range(3_000)]
    for _ in range(3):
        part = world.settle(claim_of(job(1, events=events))).parts
        assert part == ()
    assert world.resolver.large_jobs.bytes == 0
    assert len(world.sender.posted) == 3


def test_large_jobs_of_one_app_leave_room_to_those_of_another() -> None:
    world = World(hook("orders"))
    large = "x" * 2_000_000
    held = []
    for number in range(20):
        body = json.dumps(json.loads(job(number)) | {"pad": large}).encode()
        held.append(world.resolver.resolve(claim_of(body, receipt=f"{number}/1")))
    waiting = [each for each in held if not each.deliveries]
    assert len(waiting) == 13
    assert all(isinstance(only(settled_of(each)), Retry) for each in waiting)

    other = json.dumps(json.loads(job()) | {"pad": large, "app_id": "other"}).encode()
    in_flight = world.resolver.resolve(claim_of(other, receipt="other/1"))
    assert owed(only(settled_of(in_flight))).app == "other"  # it is unknown here, which is found out after its turn


def settled_of(in_flight: JobInFlight) -> Settlement:
    assert in_flight.settlement is not None
    return in_flight.settlement


def test_a_delivered_job_is_acked() -> None:
    world = World(hook("a"))

    settlement = world.settle(claim_of(job(7)))

    assert settlement == Settlement(settlement.claim)
    ((name, body, headers),) = world.sender.posted
    assert (name, body) == ("a", webhook_body(7))
    assert headers == {
        "X-Pusher-Key": APP_KEY,
        "X-Pusher-Signature": signing.sign(hmac_key(APP_SECRET), body),
        "X-Sockudo-Job-Id": "rec",
        "X-Sockudo-Attempt": "1",
        "X-Sockudo-Webhook": "a",
    }
    assert world.in_flight("a") == 0


def test_a_url_that_cannot_be_read_costs_its_webhook_and_no_worker() -> None:
    """The checks of the settings refuse it; whatever slips through them must not end thread after thread."""
    bad = msgspec.structs.replace(hook("bad"), url=Secret("http://[a:b@127.0.0.1/"))
    world = World(bad, hook("good"))
    world.sender.answers["bad"] = from_failure(Failure.INTERNAL, "ValueError")
    (part,) = world.settle(claim_of(job(1))).parts
    assert owed(part).webhook == "bad"
    assert "good" in world.sender.names


def test_a_delivery_that_fails_before_its_attempt_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is, it must not end the thread: its delivery would come again and end the next."""
    world = World(hook("a"))
    monkeypatch.setattr(world.endpoints, "admit", None)  # calling that is an error

    part = only(world.settle(claim_of(job(1))))

    assert isinstance(part, DeadLetter)
    assert (part.reason, owed(part).webhook, owed(part).attempts) == ("internal-error", "a", 0)
    assert len(world.log.of("job.failed")) == 1


def test_the_job_id_that_sockudo_gave_is_kept() -> None:
    world = World(hook("a"))
    world.sender.answers["a"] = DOWN
    body = job(1)[:-1] + b',"job_id":"theirs"}'

    part = only(world.settle(claim_of(body)))

    assert world.sender.posted[0][2]["X-Sockudo-Job-Id"] == "theirs"
    assert owed(part).job == "theirs"


def test_job_that_matches_no_webhook_is_acked_without_a_post() -> None:
    world = World(hook("a", filter=Filter(channel_prefix="other-")), hook("b"))

    assert world.settle(claim_of(job(1, events=[event("member_added")]))).parts == ()
    assert world.settle(claim_of(job(1, events=[]))).parts == ()
    assert world.settle(claim_of(job(1, events=[b"5", b'{"no":"name"}']))).parts == ()
    assert world.sender.posted == []


def test_each_webhook_gets_only_its_matching_events() -> None:
    world = World(hook("a"), hook("b", filter=Filter(channel_prefix="x-")))
    events = [event(channel="room-1"), event(channel="x-1")]

    world.settle(claim_of(job(1, events=events)))

    assert [(name, body) for name, body, _ in world.sender.posted] == [
        ("a", webhook_body(1, events=events)),
        ("b", webhook_body(1, events=events[1:])),
    ]


def test_only_the_failed_one_of_three_webhooks_is_retried() -> None:
    world = World(hook("a"), hook("b"), hook("c"))
    world.sender.answers["b"] = DOWN

    settlement = world.settle(claim_of(job(7)))

    assert settlement.splits
    part = only(settlement)
    assert isinstance(part, Retry)
    assert part.delay_ms == 1000
    [tried] = owed(part).tries
    assert (tried.reason, tried.status, tried.at >= NOW_MS) == ("status-503", 503, True)
    assert owed(part) == DeliveryState(
        "rec", APP_ID, "b", attempts=1, budget_from=owed(part).budget_from, last="status-503", tries=(tried,)
    )
    again = world.settle(claim_of(job(7), part.state, receipt="rec.0/1"))
    assert world.sender.names == ["a", "b", "c", "b"]
    assert not again.splits
    assert owed(only(again)).attempts == 2
    assert world.sender.posted[-1][2]["X-Sockudo-Attempt"] == "2"
    assert world.sender.posted[-1][2]["X-Sockudo-Job-Id"] == "rec"


def test_record_keeps_its_last_tries() -> None:
    world = World(hook("a", policy=RetryPolicy(jitter=0, max_attempts=100, max_elapsed_time_ms=10**9)))
    state: DeliveryState | None = None
    for number in range(TRIES_LIMIT + 5):
        world.endpoints = world.dispatcher._endpoints = EndpointRegistry(LIMITS)  # no breaker here
        world.sender.answers["a"] = from_status(500 + number)
        claim = claim_of(job(1)) if state is None else claim_of(job(1), state, receipt="rec.0/1")
        state = owed(only(world.settle(claim)))
    assert state is not None
    assert [each.status for each in state.tries] == list(range(505, 525))
    assert state.attempts == TRIES_LIMIT + 5


def test_retries_end_as_a_dead_letter() -> None:
    world = World(hook("a", policy=RetryPolicy(jitter=0, max_attempts=3)))
    world.sender.answers["a"] = from_failure(Failure.RESET)
    claim, delays = claim_of(job(1)), []
    part = only(world.settle(claim))
    while isinstance(part, Retry):
        delays.append(part.delay_ms)
        world.endpoints = world.dispatcher._endpoints = EndpointRegistry(LIMITS)  # no breaker here
        part = only(world.settle(claim_of(job(1), part.state, receipt="rec.0/1")))

    assert delays == [1000, 2000]
    assert isinstance(part, DeadLetter)
    assert part.reason == "exhausted"
    state = owed(part)
    assert (state.attempts, state.last, state.reason, state.webhook) == (3, "reset", "exhausted", "a")
    assert state.died == pytest.approx(NOW_MS, abs=5000)


def test_a_retry_belongs_to_the_app_of_its_job_whatever_its_state_says() -> None:
    world = World(hook("a"))
    world.sender.answers["a"] = DOWN

    part = only(world.settle(claim_of(job(1), DeliveryState("j", "another-app", "a", attempts=1))))

    assert owed(part).app == APP_ID
    assert [line["app"] for line in world.log.of("delivery.attempted")] == [APP_ID]


def test_the_budget_runs_from_the_first_attempt() -> None:
    world = World(hook("a"))
    world.sender.answers["a"] = DOWN
    state = DeliveryState("j", APP_ID, "a", attempts=9, budget_from=NOW_MS - 241_000)

    part = only(world.settle(claim_of(job(1), state)))

    assert isinstance(part, DeadLetter)
    assert part.reason == "exhausted"
    fresh = only(world.settle(claim_of(job(1), DeliveryState("j", APP_ID, "a"))))
    assert owed(fresh).budget_from == pytest.approx(NOW_MS, abs=5000)


def test_a_permanent_answer_is_a_dead_letter_at_once() -> None:
    world = World(hook("a"))
    world.sender.answers["a"] = REFUSED

    part = only(world.settle(claim_of(job(1))))

    assert isinstance(part, DeadLetter)
    assert (part.reason, owed(part).last) == ("refused", "status-404")


# What cannot be delivered


@pytest.mark.parametrize("body", [b"", b"hello", b"\xff\xfe", b"[]", b"{" * 100_000, job(key=""), job(secret="")])
def test_an_unreadable_job_is_a_dead_letter(body: bytes) -> None:
    world = World(hook("a"))

    part = only(world.settle(claim_of(body)))

    assert isinstance(part, DeadLetter)
    assert part.reason == "unreadable"
    assert owed(part).job == "rec"
    assert [line["bytes"] for line in world.log.of("job.unreadable")] == [len(body)]


def test_a_job_that_killed_its_workers_is_a_dead_letter_and_not_posted() -> None:
    world = World(hook("a"))
    for lapses in range(MAX_LAPSES):
        assert world.settle(claim_of(job(1), lapses=lapses)).parts == ()

    part = only(world.settle(claim_of(job(1), DeliveryState("j", APP_ID, "a", attempts=2), lapses=MAX_LAPSES)))

    assert isinstance(part, DeadLetter)
    assert part.reason == "worker-lost"
    assert (owed(part).webhook, owed(part).attempts) == ("a", 2)
    assert len(world.sender.posted) == MAX_LAPSES


@pytest.mark.parametrize("lapses", [0, MAX_LAPSES + 1])
def test_a_record_of_a_later_version_is_left_as_it_is(lapses: int) -> None:
    world = World(hook("a"))

    for state in (b'{"v":2,"job":{"later":1}}', b"what is this"):
        settlement = world.settle(claim_of(job(1), state, lapses=lapses))
        assert settlement.parts == (Retry(b"", NEWER_RECORD_DELAY_MS),)
        assert not settlement.splits
    assert world.sender.posted == []


@pytest.mark.parametrize("webhooks", [(), (hook("other"),), (hook("a", filter=Filter(channel_prefix="nothing-")),)])
def test_delivery_of_a_removed_webhook_becomes_a_dead_letter(webhooks: tuple[Webhook, ...]) -> None:
    world = World(*webhooks)

    part = only(world.settle(claim_of(job(1), DeliveryState("j", APP_ID, "a", attempts=3))))

    assert isinstance(part, DeadLetter)
    assert (part.reason, owed(part).webhook, owed(part).attempts) == ("webhook-removed", "a", 3)


def unserved(name: str, *types: str, rules: Filter | None = None) -> InvalidWebhook:
    return InvalidWebhook(name, frozenset(types) or None, rules, "app 'shop', webhook 2", "why")


def test_events_of_an_invalid_webhook_are_a_dead_letter_and_the_others_are_delivered() -> None:
    not_wanted = unserved("no type", "cache_miss"), unserved("no channel", rules=Filter(channel_prefix="nothing-"))
    world = World(hook("a"), hook("b"), invalid=(unserved("bad", "channel_occupied"), *not_wanted))
    world.sender.answers["b"] = DOWN

    settlement = world.settle(claim_of(job(1)))

    retried, dead = settlement.parts
    assert settlement.splits
    assert isinstance(retried, Retry)
    assert isinstance(dead, DeadLetter)
    assert (dead.reason, owed(dead)) == (
        "webhook-invalid",
        DeliveryState("rec", APP_ID, "bad", reason="webhook-invalid", died=owed(dead).died),
    )
    assert world.sender.names == ["a", "b"]


def test_job_that_invalid_webhooks_alone_want_becomes_a_dead_letter_of_each() -> None:
    world = World(hook("a", filter=Filter(channel_prefix="nothing-")), invalid=(unserved("bad"), unserved("worse")))
    settlement = world.settle(claim_of(job(1)))
    assert settlement.splits
    assert [(owed(part).webhook, type(part)) for part in settlement.parts] == [
        ("bad", DeadLetter),
        ("worse", DeadLetter),
    ]
    assert world.sender.posted == []


def test_delivery_of_a_webhook_that_became_invalid_becomes_a_dead_letter() -> None:
    """Also where it was replayed too early: it dies again, with its past."""
    world = World(hook("a"), invalid=(unserved("bad", "cache_miss"),))
    past = (EarlierFailure("webhook-invalid", NOW_MS, 0, None),)
    settlement = world.settle(claim_of(job(1), DeliveryState("j", APP_ID, "bad", attempts=3, history=past)))
    part = only(settlement)
    assert isinstance(part, DeadLetter)
    assert not settlement.splits
    assert (part.reason, owed(part).attempts, owed(part).history) == ("webhook-invalid", 3, past)


def test_job_that_is_put_back_untouched_leaves_no_dead_letter_of_an_invalid_webhook() -> None:
    world = World(hook("a"), hook("b"), invalid=(unserved("bad"),))
    in_flight = world.resolver.resolve(claim_of(job(1)))
    assert in_flight.abandon().parts == (Requeue(),)

    in_flight = world.resolver.resolve(claim_of(job(1)))
    in_flight.finish(in_flight.deliveries[0], None)
    back, dead = in_flight.abandon().parts
    assert (type(back), owed(back).webhook, type(dead), owed(dead).webhook) == (Requeue, "b", DeadLetter, "bad")


def test_a_job_of_an_unknown_app_is_tried_again_and_then_a_dead_letter() -> None:
    world = World(lives=False)
    claim, delays = claim_of(job(1)), []
    part = only(world.settle(claim))
    began = owed(part).budget_from
    while isinstance(part, Retry):
        delays.append(part.delay_ms)
        later = replace_ms(claim_of(job(1), part.state), NOW_MS + sum(delays))
        settlement = world.settle(later)
        assert not settlement.splits
        part = only(settlement)
        assert owed(part).budget_from == began

    assert delays[:7] == [1000, 2000, 4000, 8000, 16000, 32000, 60000]
    assert BUDGET_MS - 60_000 < sum(delays) <= BUDGET_MS
    assert isinstance(part, DeadLetter)
    assert (part.reason, owed(part).app) == ("unknown-app", APP_ID)


def test_waiting_jobs_take_no_lookup_from_a_new_job() -> None:
    world = World(lives=False)
    world.resolver._lookups._due = dict.fromkeys(range(NOW_MS // 1000, NOW_MS // 1000 + 1_000), LOOKUPS_PER_SECOND)
    part, now_ms, lookups = only(world.settle(claim_of(job(1)))), NOW_MS, 1
    assert isinstance(part, Retry)
    assert part.delay_ms > 2 * BUDGET_MS
    while isinstance(part, Retry):
        now_ms += part.delay_ms
        part, lookups = only(world.settle(replace_ms(claim_of(job(1), part.state), now_ms))), lookups + 1
    assert lookups == 10, "as many as without the others"


def test_jobs_wait_for_a_store_that_is_away_no_longer_where_many_wait_for_their_apps() -> None:
    world = World()
    world.resolver._registry = Away(AppStoreUnavailable("gone"))
    world.resolver._lookups._due = dict.fromkeys(range(NOW_MS // 1000, NOW_MS // 1000 + 1_000), LOOKUPS_PER_SECOND)
    parts = [only(world.settle(claim_of(job(1)))) for _ in range(200)]
    assert {part.delay_ms for part in parts if isinstance(part, Retry)} == {1000}


def test_budget_of_an_unknown_app_stands_still_while_most_apps_are_unknown() -> None:
    world = World(lives=False)
    for _ in range(RECENT):
        part = only(world.settle(claim_of(job(1))))
    assert world.unknown_apps.prevail
    now_ms = NOW_MS
    while now_ms < NOW_MS + 10 * BUDGET_MS:
        assert isinstance(part, Retry)
        now_ms += part.delay_ms
        part = only(world.settle(replace_ms(claim_of(job(1), part.state), now_ms)))

    world.unknown_apps.forget()
    waited = 0
    while isinstance(part, Retry):
        waited += part.delay_ms
        part = only(world.settle(replace_ms(claim_of(job(1), part.state), now_ms + waited)))
    assert BUDGET_MS - 60_000 <= waited <= BUDGET_MS + 60_000
    assert isinstance(part, DeadLetter)


@pytest.mark.parametrize("state", [None, DeliveryState("rec", APP_ID, "a", attempts=2, budget_from=NOW_MS - 5_000)])
def test_job_of_an_app_over_its_share_of_matching_time_is_put_off_as_it_is(state: DeliveryState | None) -> None:
    world = World(hook("a"))
    account = world.resolver._matching.accounts[APP_ID] = Account()
    account.long = True

    settlement = world.settle(claim_of(job(1)) if state is None else claim_of(job(1), state))

    part = only(settlement)
    assert isinstance(part, Retry)
    assert not part.durable
    assert part.delay_ms >= 1000
    assert world.sender.names == []
    if state is not None:
        assert owed(part) == state
    account.long = False
    world.settle(claim_of(job(1), part.state))
    assert world.sender.names == ["a"]


def test_costly_pattern_of_several_webhooks_is_searched_for_once_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[str] = []

    def search(channel: str) -> bool:
        searched.append(channel)
        until = time.thread_time() + 0.002
        while time.thread_time() < until:
            pass
        return True

    rules = Filter(channel_pattern="costly")
    world = World(*(hook(f"hook{number}", filter=rules) for number in range(5)))
    monkeypatch.setattr(world.resolver._patterns, "_compile", lambda *_: search)
    body = job(events=[event(channel="a"), event(channel="b")])
    for times in (1, 2):
        assert len(world.resolver.resolve(claim_of(body)).deliveries) == 5
        assert sorted(searched) == sorted(["a", "b"] * times)


@pytest.mark.parametrize("is_invalid", [False, True])
def test_long_match_without_patterns_is_counted_and_gives_way(is_invalid: bool) -> None:
    rules = [Filter(channel_suffix=f"-{number}") for number in range(400)]
    wanted = frozenset({"channel_occupied"})
    if is_invalid:
        world = World(invalid=tuple(InvalidWebhook("a", wanted, each, "apps", "why") for each in rules))
    else:
        world = World(*(hook("a", filter=each) for each in rules))
    claim = claim_of(job(1, events=[event(channel=f"room-{number}x") for number in range(1_000)]))
    ways: list[float] = []

    def give_way(_claim: Claim, seconds: float, _off_slot: bool) -> bool:
        ways.append(seconds)
        return True

    began = time.thread_time()
    in_flight = world.resolver.resolve(claim, give_way)
    took = time.thread_time() - began

    assert in_flight.settlement is not None
    used = world.resolver._matching.accounts[APP_ID].used
    assert took / 2 < used <= took
    assert len(ways) > 3
    assert not world.resolver._matching.accounts[APP_ID].long


def replace_ms(claim: Claim, server_ms: int) -> Claim:
    claim.server_ms = server_ms
    return claim


class Away:
    """A registry over a store that fails in one way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def find(self, _app_id: str) -> App | None:
        raise self.error

    def invalid_webhooks(self) -> InvalidByApp:
        return {}

    def paused_webhooks(self) -> frozenset[WebhookKey]:
        return frozenset()


def test_known_app_is_counted_once_and_again_after_an_unknown_one() -> None:
    world = World(hook("a"))
    assert world.unknown_apps.is_counting
    world.settle(claim_of(job(1)))
    assert not world.unknown_apps.is_counting
    world.settle(claim_of(job(2, app_id="other")))
    assert world.unknown_apps.is_counting


def test_no_job_becomes_a_dead_letter_while_the_app_store_is_unavailable() -> None:
    world = World()
    world.resolver._registry = Away(AppStoreUnavailable("gone"))
    delays: list[int] = []
    part = only(world.settle(claim_of(job(1))))
    while sum(delays) < 10 * BUDGET_MS:
        assert isinstance(part, Retry)
        assert owed(part).budget_from is None
        delays.append(part.delay_ms)
        part = only(world.settle(replace_ms(claim_of(job(1), part.state), NOW_MS + sum(delays))))
    assert delays[:7] == [1000, 2000, 4000, 8000, 16000, 32000, 60000]
    assert set(delays[6:]) == {60_000}

    world.resolver._registry = world.apps
    assert world.settle(claim_of(job(1), part.state)).parts == ()
    assert world.sender.names == []  # the app of this world has no webhook


def test_outage_of_the_app_store_is_not_counted_as_unknown_apps() -> None:
    world = World()
    world.resolver._registry = Away(AppStoreUnavailable("gone"))
    for _ in range(100):
        world.settle(claim_of(job(1)))
    assert not world.unknown_apps.prevail


def test_started_budget_stands_still_while_the_app_store_is_unavailable() -> None:
    world = World(hook("a"))
    world.resolver._registry = Away(AppStoreUnavailable("gone"))
    state = DeliveryState("rec", APP_ID, "a", attempts=2, budget_from=NOW_MS - 5_000)
    part = only(world.settle(claim_of(job(1), state)))
    assert isinstance(part, Retry)
    assert owed(part) == replace(state, budget_from=NOW_MS - 5_000 + part.delay_ms)


def test_a_job_of_an_app_that_cannot_be_read_is_tried_again_and_then_a_dead_letter_of_its_own_kind() -> None:
    world = World()
    world.resolver._registry = Away(AppUnreadable("why"))
    part = only(world.settle(claim_of(job(1))))
    assert isinstance(part, Retry)
    part = only(world.settle(replace_ms(claim_of(job(1), part.state), NOW_MS + BUDGET_MS)))
    assert isinstance(part, DeadLetter)
    assert part.reason == "unreadable-app"
    assert not world.unknown_apps.prevail


def test_an_app_that_becomes_known_gets_its_webhooks_all_their_tries() -> None:
    world = World(lives=False)
    part = only(world.settle(claim_of(job(1))))
    for _ in range(4):
        part = only(world.settle(claim_of(job(1), part.state)))
    world.apps.replace([App(APP_ID, (hook("a"), hook("b")))])
    world.sender.answers = {"a": DOWN, "b": DOWN}
    claim = replace_ms(claim_of(job(1), part.state), NOW_MS + BUDGET_MS - 1000)

    settlement = world.settle(claim)

    assert settlement.splits
    assert [headers["X-Sockudo-Attempt"] for _, _, headers in world.sender.posted] == ["1", "1"]
    for number, kept in enumerate(settlement.parts):
        assert isinstance(kept, Retry)
        assert kept.delay_ms == 1000
        assert (owed(kept).attempts, owed(kept).webhook) == (1, "ab"[number])
        assert owed(kept).budget_from == pytest.approx(claim.server_ms, abs=5000)


def test_replayed_delivery_gets_all_its_tries_and_keeps_its_history() -> None:
    world = World(hook("a"), hook("b"))
    world.sender.answers["a"] = REFUSED
    dead = DeliveryState(
        job="rec", app=APP_ID, webhook="a", attempts=10, budget_from=1, reason="exhausted", died=NOW_MS - 1
    )
    settlement = world.settle(claim_of(job(1), delivery_state.replayed(dead), receipt="rec.0/7"))
    state = owed(only(settlement))
    assert world.sender.names == ["a"]
    assert world.sender.posted[0][2]["X-Sockudo-Job-Id"] == "rec"
    assert (state.attempts, state.reason) == (1, "refused")
    assert state.died is not None
    assert state.died >= NOW_MS
    assert state.history == (EarlierFailure("exhausted", NOW_MS - 1, 10, None),)


def test_a_replayed_job_is_shared_out_under_its_own_id_and_keeps_its_past() -> None:
    world = World(hook("a"), hook("b"))
    world.sender.answers["b"] = REFUSED
    body = job(1)[:-1] + b',"job_id":"of-sockudo"}'
    dead = DeliveryState(job="rec", reason="worker-lost", died=NOW_MS - 1)
    settlement = world.settle(claim_of(body, delivery_state.replayed(dead), receipt="rec/7"))
    assert {headers["X-Sockudo-Job-Id"] for _, _, headers in world.sender.posted} == {"of-sockudo"}
    assert owed(only(settlement)).history == (EarlierFailure("worker-lost", NOW_MS - 1, 0, None),)


def test_a_delivery_whose_app_is_unknown_for_a_while_keeps_its_count_of_attempts() -> None:
    world = World(lives=False)
    state = DeliveryState("j", APP_ID, "a", attempts=3, budget_from=NOW_MS, last="status-503")

    part = only(world.settle(claim_of(job(1), state)))

    assert isinstance(part, Retry)
    assert owed(part) == state


# The endpoint


def test_a_deferral_counts_no_attempt() -> None:
    world = World(hook("a"))
    in_flight = world.resolver.resolve(claim_of(job(1)))
    (delivery,) = in_flight.deliveries

    part = world.dispatcher.deferred(in_flight, delivery, Deferral(0.5, by_breaker=False))

    assert part == Retry(delivery_state.encode(DeliveryState("rec", APP_ID, "a", reserved=True)), 500, durable=False)
    assert isinstance(world.dispatcher.deferred(in_flight, delivery, Deferral(0.0, by_breaker=False)), Retry)


def test_unreserved_deferral_grows_up_to_a_limit_until_a_reservation() -> None:
    """Otherwise a backlog beyond the reservations, or one that missed them, would be claimed again and again."""
    world = World(hook("a"))
    for reserved in (True, False):
        guess = Deferral(10.0, by_breaker=False, reserved=reserved, grows=True)
        state, delays = DeliveryState("rec", APP_ID, "a"), []
        for _ in range(8):
            in_flight = world.resolver.resolve(claim_of(job(1), state))
            part = world.dispatcher.deferred(in_flight, in_flight.deliveries[0], guess)
            assert isinstance(part, Retry)
            state = owed(part)
            delays.append(part.delay_ms / 1000)

        assert state.reserved is reserved
        for times, delay in enumerate(delays):
            grown = min(10 * 2**times, MAX_GUESS)
            assert grown <= delay <= grown * 1.25
        in_flight = world.resolver.resolve(claim_of(job(1), state))
        promised = world.dispatcher.deferred(in_flight, in_flight.deliveries[0], Deferral(0.5, by_breaker=False))
        assert owed(promised).guesses == 0


def test_budget_that_ends_before_the_breaker_period_allows_one_last_check() -> None:
    """It becomes a dead letter once its budget is over, not as soon as the end can be foreseen."""
    world = World(hook("a", policy=RetryPolicy(max_elapsed_time_ms=2000)))
    in_flight = world.resolver.resolve(claim_of(job(1), DeliveryState("j", APP_ID, "a", budget_from=NOW_MS - 1500)))

    part = world.dispatcher.deferred(in_flight, in_flight.deliveries[0], Deferral(5.0, by_breaker=True))

    assert isinstance(part, Retry)
    assert part.delay_ms == pytest.approx(500, abs=100)


def test_a_new_url_of_a_webhook_is_a_new_chance() -> None:
    world = World(hook("a"))
    world.sender.answers["a"] = DOWN
    for _ in range(LIMITS.breaker_failures):
        world.settle(claim_of(job(1)))
    assert isinstance(only(world.settle(claim_of(job(1)))), Retry)
    world.sender.answers["a"] = OK
    moved = msgspec.structs.replace(hook("a"), url=Secret("https://a.example/moved"))
    world.apps = world.resolver._registry = StaticApps([App(APP_ID, (moved,))])

    assert world.settle(claim_of(job(1))).parts == ()


def test_an_open_breaker_starts_the_budget_and_ends_it() -> None:
    world = World(hook("a"))
    world.sender.answers["a"] = DOWN
    for _ in range(LIMITS.breaker_failures):
        world.settle(claim_of(job(1)))

    part = only(world.settle(claim_of(job(1))))
    assert isinstance(part, Retry)
    assert owed(part).budget_from == pytest.approx(NOW_MS, abs=5000)
    assert (owed(part).attempts, owed(part).reserved) == (0, True)
    old = DeliveryState("j", APP_ID, "a", attempts=2, budget_from=NOW_MS - BUDGET_MS, reserved=True)
    end = only(world.settle(claim_of(job(1), old)))
    assert isinstance(end, DeadLetter)
    assert (end.reason, owed(end).attempts) == ("endpoint-down", 2)
    assert len(world.sender.posted) == LIMITS.breaker_failures


def test_reservation_is_used_up_by_an_attempt() -> None:
    world = World(hook("a"))
    world.sender.answers["a"] = DOWN

    part = only(world.settle(claim_of(job(1), DeliveryState("j", APP_ID, "a", reserved=True))))

    assert not owed(part).reserved


def test_a_failure_in_our_own_code_costs_one_webhook_and_is_tried_again() -> None:
    world = World(hook("a"), hook("b"))
    world.sender.answers["a"] = RuntimeError("CANARY")

    part = only(world.settle(claim_of(job(1))))

    assert isinstance(part, Retry)
    assert (owed(part).webhook, owed(part).last) == ("a", "internal")
    assert world.sender.names == ["a", "b"]
    assert world.in_flight("a") == 0
    assert world.log.of("delivery.failed")


def test_a_dying_thread_leaves_no_attempt_at_the_endpoint() -> None:
    world = World(hook("a"))
    world.sender.answers["a"] = SystemExit()
    in_flight = world.resolver.resolve(claim_of(job(1)))
    (delivery,) = in_flight.deliveries

    with pytest.raises(SystemExit):
        world.part_of(in_flight, delivery)

    assert world.in_flight("a") == 0
    assert world.metrics.webhook(APP_ID, "a").shared.in_flight == 0
    assert in_flight.settlement is None


@pytest.mark.parametrize("broken", ["_report", "_send"])
def test_failing_metric_never_causes_a_second_post(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(hook("a"))

    def fail(*_: object) -> None:
        raise OverflowError("CANARY")

    monkeypatch.setattr(world.dispatcher, broken, fail)

    settlement = world.settle(claim_of(job(1)))

    assert bool(settlement.parts) is (broken == "_send")
    assert world.in_flight("a") == 0
    assert world.log.of("delivery.failed")


def test_a_job_from_the_far_past_or_future_is_delivered() -> None:
    for time_ms in (-(2**63), 2**63 - 1):
        world = World(hook("a"))
        assert world.settle(claim_of(job(1, time_ms=time_ms))).parts == ()
        assert len(world.sender.posted) == 1


def test_a_request_that_cannot_be_signed_leaves_no_attempt_at_the_endpoint() -> None:
    world = World(hook("a"))
    in_flight = world.resolver.resolve(claim_of(job(1)))
    (delivery,) = in_flight.deliveries
    assert in_flight.job is not None
    in_flight.job = replace(in_flight.job, signing_key=cast(Any, None))

    part = world.part_of(in_flight, delivery)

    assert isinstance(part, Retry)
    assert world.in_flight("a") == 0
    assert world.sender.posted == []


def test_opening_never_raises() -> None:
    world = World(hook("a"))
    world.resolver._registry = cast(Any, None)

    part = only(world.settle(claim_of(job(1))))

    assert isinstance(part, DeadLetter)
    assert part.reason == "internal-error"


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://Example.com/a?b#c", EndpointKey("https", "example.com", 443)),
        ("http://example.com", EndpointKey("http", "example.com", 80)),
        ("http://user:pw@example.com:8080/x", EndpointKey("http", "example.com", 8080)),
        ("https://[::1]:444/", EndpointKey("https", "::1", 444)),
    ],
)
def test_the_endpoint_of_a_url(url: str, key: EndpointKey) -> None:
    assert endpoint_of(url) == key


# Stopping


@pytest.mark.parametrize("failure", [Failure.RESET, Failure.DEADLINE, Failure.REFUSED, Failure.DNS])
def test_a_transport_failure_while_stopping_counts_for_nothing(failure: Failure) -> None:
    world = World(hook("a"))
    world.sender.answers["a"] = from_failure(failure)
    world.sender.while_posting = world.stopping.set
    state = DeliveryState("j", APP_ID, "a", attempts=2, budget_from=NOW_MS - 1000, last="status-503")

    settlement = world.settle(claim_of(job(1), state))

    assert settlement.parts == (Requeue(delivery_state.encode(state)),)
    assert world.in_flight("a") == 0
    assert world.failures("a") == 0


def test_delivery_after_an_attempt_that_a_stop_cut_short_is_recorded() -> None:
    world = World(hook("a"))
    entries = recording(world)
    world.sender.answers["a"] = from_failure(Failure.RESET)
    world.sender.while_posting = world.stopping.set
    back = only(world.settle(claim_of(job(1))))
    assert owed(back).attempts == 0

    world.stopping.clear()
    world.sender.answers["a"], world.sender.while_posting = OK, lambda: None
    assert world.settle(claim_of(job(1), back.state)).parts == ()
    assert [(entry.attempt, entry.outcome) for entry in entries] == [(1, "retryable"), (1, "delivered")]


CONFIDENTIAL: Final = "private-orders-7"


def dead_entry(world: World, claim: Claim) -> EntryRow:
    """Settle a claim whose one part is a dead letter; return its entry of the history."""
    entries: list[EntryRow] = []
    recorder = AttemptRecorder(lambda _s, _a, line: entries.append(decode_entry(line)), every=False, channels=True)
    [part] = world.settle(claim).parts
    assert isinstance(part, DeadLetter)
    recorder.record_dead_letter(claim, owed(part), part)
    [entry] = entries
    return entry


@pytest.mark.parametrize("attempts", [0, 3])
def test_dead_letter_names_the_events_of_its_webhook_and_no_others(attempts: int) -> None:
    world = World(hook("a", filter=Filter(channel_prefix="room-")))
    world.sender.answers["a"] = REFUSED
    body = job(1, events=[event(channel="room-1"), event(channel=CONFIDENTIAL)])
    entry = dead_entry(world, claim_of(body, DeliveryState("j", APP_ID, "a", attempts=attempts)))
    assert (entry.events, entry.more) == (["channel_occupied", "room-1"], 0)


def test_dead_letter_of_an_invalid_webhook_names_the_events_that_it_may_want() -> None:
    broken = InvalidWebhook("broken", None, Filter(channel_prefix="room-"), "", "its url")
    body = job(1, events=[event(channel="room-1"), event(channel=CONFIDENTIAL)])
    entry = dead_entry(World(invalid=(broken,)), claim_of(body))
    assert (entry.webhook, entry.events) == ("broken", ["channel_occupied", "room-1"])


@pytest.mark.parametrize("lapses", [0, MAX_LAPSES])
def test_dead_letter_of_a_webhook_whose_events_are_not_known_names_none(lapses: int) -> None:
    body = job(1, events=[event(channel=CONFIDENTIAL)])
    entry = dead_entry(World(hook("a")), claim_of(body, DeliveryState("j", APP_ID, "gone"), lapses=lapses))
    assert (entry.webhook, entry.reason) == ("gone", "worker-lost" if lapses else "webhook-removed")
    assert (entry.events, entry.more) == ([], 0)


def test_dead_letter_of_a_whole_job_names_all_its_events() -> None:
    body = job(1, events=[event(channel="room-1"), event(channel=CONFIDENTIAL)])
    entry = dead_entry(World(hook("a")), claim_of(body, lapses=MAX_LAPSES))
    assert (entry.webhook, entry.events[1::2]) == ("", ["room-1", CONFIDENTIAL])


@pytest.mark.parametrize("outcome", [DOWN, REFUSED, OK])
def test_an_answer_while_stopping_counts(outcome: Outcome) -> None:
    world = World(hook("a"))
    world.sender.answers["a"] = outcome
    world.sender.while_posting = world.stopping.set

    parts = world.settle(claim_of(job(1))).parts

    assert not any(isinstance(part, Requeue) for part in parts)
    assert bool(parts) is not outcome.delivered


def opened(*names: str) -> JobInFlight:
    return World(*[hook(name) for name in names]).resolver.resolve(claim_of(job(1)))


def test_abandoning_an_untouched_job_puts_it_back_whole() -> None:
    in_flight = opened("a", "b")

    settlement = in_flight.abandon()

    assert settlement == Settlement(in_flight.claim, (Requeue(),))
    assert in_flight.abandon() is settlement
    assert in_flight.finish(in_flight.deliveries[0], None) is None
    assert in_flight.settlement is settlement


def test_abandoning_keeps_what_is_finished_and_puts_back_the_rest() -> None:
    in_flight = opened("a", "b", "c", "d")
    a, b, c, d = in_flight.deliveries
    assert in_flight.finish(b, None) is None
    assert in_flight.finish(c, Retry(b"c", 1000)) is None

    settlement = in_flight.abandon()

    assert settlement.splits
    assert settlement.parts == (
        Requeue(delivery_state.encode(a.state)),
        Retry(b"c", 1000),
        Requeue(delivery_state.encode(d.state)),
    )
    assert [owed(part).webhook for part in (settlement.parts[0], settlement.parts[2])] == ["a", "d"]
    assert in_flight.finish(a, None) is None


def test_abandoning_a_finished_job_changes_nothing() -> None:
    in_flight = opened("a", "b")
    in_flight.finish(in_flight.deliveries[0], None)
    settlement = in_flight.finish(in_flight.deliveries[1], None)

    assert in_flight.abandon() is settlement
    assert settlement == Settlement(in_flight.claim)


def test_a_delivery_is_reported_once() -> None:
    in_flight = opened("a", "b")
    first, second = in_flight.deliveries

    assert in_flight.finish(first, Retry(b"x", 1)) is None
    assert in_flight.finish(first, None) is None
    settlement = in_flight.finish(second, None)

    assert settlement is not None
    assert settlement.parts == (Retry(b"x", 1),)
    assert in_flight.finish(second, DeadLetter(b"", "x")) is None


def test_one_of_many_threads_gets_the_settlement() -> None:
    names = [f"hook-{n}" for n in range(24)]
    for _ in range(20):
        in_flight = opened(*names)
        start = threading.Barrier(len(names) + 1)
        settlements: list[Settlement] = []

        def report(
            delivery: WebhookDelivery, in_flight: JobInFlight = in_flight, start: threading.Barrier = start
        ) -> None:
            start.wait(5)
            settlement = in_flight.finish(delivery, None)
            if settlement is not None:
                settlements.append(settlement)  # noqa: B023 - of this round; its threads are joined in it

        threads = [threading.Thread(target=report, args=(delivery,)) for delivery in in_flight.deliveries]
        for thread in threads:
            thread.start()
        start.wait(5)
        abandoned = in_flight.abandon()
        for thread in threads:
            thread.join(5)

        assert all(settlement is abandoned for settlement in settlements)
        assert len(settlements) <= 1
        assert in_flight.settlement is abandoned


# What is shown


def test_nothing_secret_is_logged() -> None:
    world = World(hook("a"), hook("b"))
    world.sender.answers = {"a": DOWN, "b": RuntimeError("x")}
    body = job(1, secret="CANARY", events=[event(channel="CANARY", data="CANARY")])
    world.settle(claim_of(body))
    world.settle(claim_of(b'{"CANARY"'))
    world.settle(claim_of(body, b"CANARY"))

    shown = json.dumps(world.log.lines, default=repr) + repr(world.resolver.resolve(claim_of(body)).claim)
    assert "delivery.attempted" in shown
    assert "CANARY" not in shown


def test_one_line_for_each_attempt() -> None:
    world = World(hook("a"), hook("b"))
    world.sender.answers["b"] = DOWN
    world.settle(claim_of(job(1)))

    lines = world.log.of("delivery.attempted")
    assert [(line["webhook"], line["outcome"], line["reason"], line["status"]) for line in lines] == [
        ("a", "delivered", None, 200),
        ("b", "retryable", "status-503", 503),
    ]
    assert all(line["app"] == APP_ID and line["job"] == "rec" and line["attempt"] == 1 for line in lines)


def test_budget_that_begins_in_the_future_begins_now() -> None:
    world = World(hook("orders"))
    world.sender.answers["orders"] = DOWN
    forged = DeliveryState("rec", APP_ID, "orders", attempts=1, budget_from=2**53)
    [part] = world.settle(claim_of(job(), forged)).parts
    assert abs((owed(part).budget_from or 0) - NOW_MS) < 60_000


def test_state_with_a_long_id_is_a_dead_letter() -> None:
    [part] = World(hook("orders")).settle(claim_of(job(), DeliveryState("x" * 256, APP_ID, "orders"))).parts
    assert isinstance(part, DeadLetter)
    assert owed(part).reason == "unreadable"


@pytest.mark.parametrize("stored", [None, DeliveryState("j", APP_ID, "gone", attempts=2, budget_from=NOW_MS)])
def test_app_over_a_ceiling_keeps_its_jobs_and_stored_retries(stored: DeliveryState | None) -> None:
    world = World(hook("a"))
    everything = InvalidWebhook("all", None, None, "app 'shop'", "has 20000 webhooks")
    world.apps.replace([App(APP_ID, (), (everything,), is_over_ceiling=True)])
    part = only(world.settle(claim_of(job(1), stored or b"")))
    assert isinstance(part, DeadLetter)
    assert (part.reason, owed(part).webhook) == ("webhook-invalid", stored and "gone")

    world.apps.replace([App(APP_ID, (hook("a"),))])
    if stored is None:  # a job that is replayed goes to every webhook
        assert world.settle(claim_of(job(1), replace(owed(part), reason=None, died=None))).parts == ()
        assert world.sender.names == ["a"]


# Tracing

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
OWN: Final = TraceContext(TRACE, "00f067aa0ba902b7", 1, "vendor=1")


class Span:
    """The span of a claim, and of its one attempt, which begins only if `begins` is set."""

    context = OWN

    def __init__(self, *, begins: bool) -> None:
        self.begins = begins
        self.ended: list[Outcome] = []

    def attempt(self, _webhook: Webhook, _state: DeliveryState) -> Any:
        return self if self.begins else None

    def end(self, outcome: Any, *_: object) -> None:
        self.ended.append(outcome)


def traced(world: World, span: Span) -> tuple[Disposition | None, dict[str, str], dict[str, Any]]:
    """Attempt one traced delivery; return what is owed, the headers that were sent, and the line of the log."""
    parent = f"00-{TRACE}-a23ee021279b7df4-01"
    body = job()[:-1] + b',"trace_context":{"traceparent":"%b","tracestate":"vendor=1"}}' % parent.encode()
    in_flight = world.resolver.resolve(claim_of(body))
    in_flight.span = span
    part = world.part_of(in_flight, in_flight.deliveries[0])
    [(_, _, headers)] = world.sender.posted
    [line] = world.log.of("delivery.attempted")
    return part, headers, line


def test_receiver_and_log_get_the_span_of_the_attempt_and_a_retry_remembers_it() -> None:
    world, span = World(hook("a")), Span(begins=True)
    world.sender.answers["a"] = from_status(503)
    part, headers, line = traced(world, span)
    assert part is not None
    assert owed(part).first_try == headers["traceparent"] == OWN.traceparent
    assert headers["tracestate"] == "vendor=1"
    assert (line["trace_id"], line["span_id"]) == (TRACE, OWN.span_id)
    assert [outcome.status for outcome in span.ended] == [503]


@pytest.mark.parametrize("begins", [True, False])
def test_entry_of_the_history_has_the_trace_and_span_of_the_log_line(begins: bool) -> None:
    world = World(hook("a"))
    entries = recording(world, every=True)
    _, _, line = traced(world, Span(begins=begins))
    [entry] = entries
    assert (entry.trace_id, entry.span_id) == (line["trace_id"], line["span_id"])
    assert entry.trace_id == TRACE
    assert entry.span_id


def recording(world: World, *, every: bool = False) -> list[EntryRow]:
    """Let the dispatcher of a world record its attempts; return where the entries go."""
    entries: list[EntryRow] = []
    recorder = AttemptRecorder(lambda _source, _app, row: entries.append(decode_entry(row)), every=every, channels=True)
    world.dispatcher = Dispatcher(
        world.endpoints, cast(RealSender, world.sender), world.metrics, world.log, world.stopping, recorder=recorder
    )
    return entries


def test_a_span_that_fails_to_begin_costs_no_delivery_and_no_context() -> None:
    world = World(hook("a"))
    part, headers, line = traced(world, Span(begins=False))
    assert part is None
    assert headers["traceparent"] == f"00-{TRACE}-{line['span_id']}-01"
    assert line["span_id"] not in (OWN.span_id, "a23ee021279b7df4")


@pytest.mark.parametrize(("lapses", "recorded"), [(0, 0), (1, 1)])
def test_delivery_after_a_lease_that_expired_is_recorded_as_one_after_a_failure(lapses: int, recorded: int) -> None:
    """The attempt that its worker did not live to report may have been recorded as the last one."""
    world = World(hook("a"))
    entries = recording(world)
    world.settle(claim_of(job(1), lapses=lapses))
    assert len(entries) == recorded
