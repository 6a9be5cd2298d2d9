"""The index finds the same webhooks as a full scan, and evaluates only a few."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockudo_queue.core.apps import Filter, Webhook
from sockudo_queue.core.channel_pattern import PatternError, compile_pattern, literal_beginning
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.core.job import Event, Job
from sockudo_queue.core.matching import find_pattern, match
from sockudo_queue.core.webhook_index import WebhookIndex


def job(*events: tuple[str, str]) -> Job:
    read = tuple(Event(name, channel, msgspec.Raw(b"{}")) for name, channel in events)
    return Job("key", "app", hmac_key("secret"), 1, read, None, 0)


TYPES = st.sampled_from(["channel_occupied", "member_added", "client_event"])
SHORT = st.text(alphabet="ab-:", max_size=4)
CHANNELS = st.tuples(st.sampled_from(["", "private-", "presence-cache-"]), SHORT).map("".join)
PIECES = [
    "a",
    "b",
    "ab",
    "-",
    r"\-",
    r"\.",
    ".",
    ".*",
    "a?",
    "b*",
    "a+",
    "a+?",
    "*",
    "+",
    "?",
    "{0}",
    "{0,1}",
    "{2}",
    "b{0,2}",
    "(a|b)",
    "(?:a|b-)",
    "[ab]",
    "[(]",
    "|",
]
PATTERNS = st.tuples(
    st.sampled_from(["^", "^", "^", "", "^*", "(?i)^", "^(?i)"]),
    st.lists(st.sampled_from(PIECES), max_size=4).map("".join),
).map("".join)
MAYBE = {"channel_prefix": CHANNELS, "channel_suffix": SHORT, "channel_pattern": PATTERNS, "channel_namespace": SHORT}
FILTERS = st.builds(
    Filter,
    **{name: st.none() | given_values for name, given_values in MAYBE.items()},
    channel_namespaces=st.none() | st.lists(SHORT, max_size=3).map(tuple),
)
WEBHOOKS = st.builds(Webhook, st.just("hook"), st.frozensets(TYPES), filter=st.none() | FILTERS)
EVENTS = st.lists(st.tuples(TYPES, CHANNELS), max_size=5)


@settings(max_examples=400, deadline=None)
@given(st.lists(WEBHOOKS, max_size=25), EVENTS)
def test_index_finds_the_same_matches_as_a_full_scan(webhooks: list[Webhook], events: list[tuple[str, str]]) -> None:
    read = job(*events)
    assert WebhookIndex(webhooks).match(read) == match(read, webhooks)


@settings(max_examples=400, deadline=None)
@given(PATTERNS, st.text(alphabet="ab-:AB(c", max_size=6))
def test_channel_without_the_literal_beginning_never_matches(pattern: str, channel: str) -> None:
    try:
        search = compile_pattern(pattern)
    except PatternError:
        return
    assert not search(channel) or channel.startswith(literal_beginning(pattern))


@pytest.mark.parametrize(
    ("pattern", "beginning"),
    [
        ("^room-", "room-"),
        (r"^room\-1\.", "room-1."),
        ("^private-user-[0-9]+$", "private-user-"),
        ("^ab+c", "ab"),
        ("^abc?", "ab"),
        ("^ab+?c", "ab"),
        ("^ab+*", "a"),
        ("^ab+??", "a"),
        ("^ab+?*", "a"),
        ("^ab+{0}", "a"),
        ("^ab+{0,1}c", "a"),
        ("^ab++c", "a"),
        ("^ab{0,3}", "a"),
        ("^a(b|c)", "a"),
        ("^a(?:b|c)$", "a"),
        ("^a|b", ""),
        ("^a[(]|b", ""),
        (r"^a\(|b", ""),
        ("(?i)^ab", ""),
        ("^(?i)ab", ""),
        ("^*ab", ""),
        (r"^a\<b", "a"),
        (r"^a\d", "a"),
        ("room-", ""),
        ("", ""),
        ("^Ä日", "Ä日"),
    ],
)
def test_literal_beginning_of_a_pattern(pattern: str, beginning: str) -> None:
    assert literal_beginning(pattern) == beginning


@pytest.mark.parametrize("rules", ["prefix", "pattern", "namespace"])
def test_index_evaluates_only_candidate_webhooks(rules: str) -> None:
    looked_at: list[str] = []

    def finds(pattern: str, channel: str) -> bool:
        looked_at.append(pattern)
        return find_pattern(pattern, channel)

    def rule(number: int) -> Filter:
        suffix = f"{number}:"
        match rules:
            case "prefix":
                return Filter(channel_prefix=f"room-{suffix}", channel_pattern=suffix)
            case "pattern":
                return Filter(channel_pattern=f"^room-{suffix}")
            case _:
                return Filter(channel_namespace=f"room-{number}", channel_pattern=suffix)

    hooks = [Webhook(f"hook-{n}", frozenset({"channel_occupied"}), filter=rule(n)) for n in range(1_000)]
    [found] = WebhookIndex(hooks).match(job(("channel_occupied", "room-77:x")), finds)
    assert found.webhook is hooks[77]
    assert len(looked_at) == 1


def test_event_type_without_a_webhook_matches_nothing() -> None:
    hooks = [Webhook(f"hook-{n}", frozenset({"channel_occupied"})) for n in range(1_000)]
    assert WebhookIndex(hooks).match(job(("member_added", "a"))) == []


def test_many_events_for_many_webhooks_are_faster_than_a_full_scan() -> None:
    hooks = [
        Webhook(f"hook-{n}", frozenset({"channel_occupied"}), filter=Filter(channel_prefix=f"{n}-"))
        for n in range(1_000)
    ]
    read = job(*(("channel_occupied", f"{n}-a") for n in range(1_000)))
    index = WebhookIndex(hooks)
    taken = []
    for _ in range(3):  # one run may be interrupted by a garbage collection of objects from other tests
        began = time.thread_time()
        assert len(index.match(read)) == 1_000
        taken.append(time.thread_time() - began)
    began = time.thread_time()
    assert len(match(read, hooks)) == 1_000
    assert min(taken) < (time.thread_time() - began) / 5


@pytest.mark.parametrize("rules", [None, Filter(channel_suffix="a"), Filter(channel_pattern="a$")])
def test_webhooks_with_equal_matches_share_the_event_tuple(rules: Filter | None) -> None:
    hooks = [Webhook(f"hook-{n}", frozenset({"channel_occupied"}), filter=rules) for n in range(10)]
    matches = WebhookIndex(hooks).match(job(*(("channel_occupied", f"{n}-{end}") for n in range(20) for end in "ab")))
    assert len(matches) == 10
    assert len({id(found.events) for found in matches}) == 1


def test_long_match_pauses_between_events_and_webhooks() -> None:
    hooks = [Webhook(f"hook-{n}", frozenset({"channel_occupied"})) for n in range(10)]
    pauses: list[None] = []
    WebhookIndex(hooks).match(job(*[("channel_occupied", "a")] * 250), pause=lambda: pauses.append(None))
    assert len(pauses) == 3 + 10
