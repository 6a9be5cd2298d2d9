"""Matching of webhooks and events: event types, filters as in Sockudo, and filters that can never match."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
import pytest

from sockudo_queue.core import matching
from sockudo_queue.core.apps import Filter, InvalidWebhook, Webhook
from sockudo_queue.core.channel_pattern import Search, compile_pattern
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.core.job import Event, Job
from sockudo_queue.core.matching import Match, check_filter, contradiction, match, possible_events
from sockudo_queue.core.secret import Secret

TYPE_PREFIXES = (
    "private-encrypted-cache-",
    "private-cache-",
    "presence-cache-",
    "cache-",
    "private-encrypted-",
    "presence-",
    "private-",
)


def event(channel: str, name: str = "channel_occupied") -> Event:
    return Event(name, channel, msgspec.Raw(b"{}"))


def job(*events: Event) -> Job:
    return Job("key", "app", hmac_key("secret"), 1, events, None, 0)


def webhook(rules: Filter | None = None, *types: str, name: str = "hook") -> Webhook:
    return Webhook(name, frozenset(types or ("channel_occupied",)), filter=rules)


def passes(rules: Filter, channel: str) -> bool:
    return bool(match(job(event(channel)), [webhook(rules)]))


def prefix(text: str) -> Filter:
    return Filter(channel_prefix=text)


def suffix(text: str) -> Filter:
    return Filter(channel_suffix=text)


def pattern(text: str) -> Filter:
    return Filter(channel_pattern=text)


def namespace(name: str) -> Filter:
    return Filter(channel_namespace=name)


def namespaces(*names: str) -> Filter:
    return Filter(channel_namespaces=names)


FILTER_CASES: list[tuple[Filter, str, bool]] = [
    # No constraint.
    (Filter(), "room", True),
    (Filter(), "", True),
    # Prefix: plain text at the start of the full name.
    (prefix("private-"), "private-a", True),
    (prefix("private-"), "private-", True),
    (prefix("private-"), "private", False),
    (prefix("private-"), "presence-a", False),
    (prefix("private-"), "Private-a", False),
    (prefix("private-"), "xprivate-a", False),
    (prefix("private-"), "private-encrypted-a", True),
    (prefix("a.c"), "abc", False),
    (prefix("a.c"), "a.cd", True),
    (prefix("^a"), "a", False),
    (prefix(""), "room", True),
    (prefix(""), "", True),
    (prefix("room"), "private-room", False),
    (prefix("é"), "é1", True),
    (prefix("é"), "e\u03011", False),
    # Suffix: plain text at the end of the full name.
    (suffix("-live"), "chat-live", True),
    (suffix("-live"), "-live", True),
    (suffix("-live"), "live", False),
    (suffix("-live"), "chat-live2", False),
    (suffix("-live"), "chat-LIVE", False),
    (suffix("-live"), "chat-live\n", False),
    (suffix(".x"), "axx", False),
    (suffix("$"), "room", False),
    (suffix(""), "room", True),
    (suffix(":1"), "private-chat:1", True),
    # Pattern: found anywhere; anchors match only the very start and end.
    (pattern("orders"), "my-orders-1", True),
    (pattern("orders"), "my-order-1", False),
    (pattern(r"^orders-\d+$"), "orders-42", True),
    (pattern(r"^orders-\d+$"), "orders-42\n", False),
    (pattern(r"^orders-\d+$"), "private-orders-42", False),
    (pattern("^$"), "", True),
    (pattern("^$"), "room", False),
    (pattern(""), "room", True),
    (pattern(r"\Aroom\z"), "room", True),
    (pattern(r"\Aroom\z"), "rooms", False),
    (pattern("(?i)^ROOM"), "room-1", True),
    (pattern("^ROOM"), "room-1", False),
    (pattern("^[a-z&&[^x]]+$"), "abc", True),
    (pattern("^[a-z&&[^x]]+$"), "axc", False),
    (pattern("^chat-(?:eu|us)-"), "chat-us-1", True),
    (pattern("^chat-(?:eu|us)-"), "chat-uk-1", False),
    (pattern(r"^\d$"), "\u0661", True),
    (pattern("a.b"), "a\nb", False),
    (pattern("(?s)a.b"), "a\nb", True),
    (pattern(r"^room-\d{2,3}$"), "room-12", True),
    (pattern(r"^room-\d{2,3}$"), "room-1", False),
    (pattern("^private-"), "private-encrypted-a", True),
    # An invalid pattern: no events at all.
    (pattern("["), "[", False),
    (pattern("(?!private)"), "public", False),
    (pattern(r"(a)\1"), "aa", False),
    (pattern(r"room\Z"), "room", False),
    (pattern("*"), "*", False),
    # Namespace: the text before the first colon, without the type.
    (namespace("chat"), "chat:1", True),
    (namespace("chat"), "chat:", True),
    (namespace("chat"), "chat:1:2", True),
    (namespace("chat"), "chat", False),
    (namespace("chat"), "chats:1", False),
    (namespace("chat"), "Chat:1", False),
    (namespace("chat"), "my-chat:1", False),
    (namespace("chat"), "room:chat:1", False),
    (namespace("chat"), ":chat", False),
    (namespace("chat"), "", False),
    (namespace(""), ":1", False),
    (namespace(""), "room", False),
    (namespace(""), "private-:1", False),
    (namespace("chat:1"), "chat:1:2", False),
    (namespace("chat"), "private-chat:1", True),
    (namespace("chat"), "presence-chat:1", True),
    (namespace("chat"), "cache-chat:1", True),
    (namespace("chat"), "private-cache-chat:1", True),
    (namespace("chat"), "presence-cache-chat:1", True),
    (namespace("chat"), "private-encrypted-chat:1", True),
    (namespace("chat"), "private-encrypted-cache-chat:1", True),
    (namespace("chat"), "Private-chat:1", False),
    # Only the first prefix that fits is removed, and only once.
    (namespace("encrypted-chat"), "private-encrypted-chat:1", False),
    (namespace("cache-chat"), "private-cache-chat:1", False),
    (namespace("cache-chat"), "private-encrypted-cache-chat:1", False),
    (namespace("cache-chat"), "cache-cache-chat:1", True),
    (namespace("private-chat"), "private-chat:1", False),
    (namespace("private-chat"), "private-private-chat:1", True),
    (namespace("chat"), "private-private-chat:1", False),
    (namespace("encrypted-chat"), "presence-encrypted-chat:1", True),
    (namespace("chat"), "presence-encrypted-chat:1", False),
    (namespace("private"), "private:1", True),
    # Namespaces: one of the list.
    (namespaces("chat", "orders"), "chat:1", True),
    (namespaces("chat", "orders"), "private-orders:1", True),
    (namespaces("chat", "orders"), "rooms:1", False),
    (namespaces("chat", "orders"), "chat", False),
    (namespaces("chat"), "chat:1", True),
    (namespaces("chat", "chat"), "chat:1", True),
    (namespaces(), "chat:1", False),
    (namespaces(), "room", False),
    (namespaces(""), ":1", False),
    # All given constraints must hold.
    (Filter(channel_prefix="private-", channel_suffix="-live"), "private-a-live", True),
    (Filter(channel_prefix="private-", channel_suffix="-live"), "private-a", False),
    (Filter(channel_prefix="private-", channel_suffix="-live"), "a-live", False),
    (Filter(channel_prefix="abc", channel_suffix="cde"), "abcde", True),
    (Filter(channel_prefix="private-", channel_pattern=r"\d$"), "private-1", True),
    (Filter(channel_prefix="private-", channel_pattern=r"\d$"), "private-a", False),
    (Filter(channel_prefix="private-", channel_pattern=r"\d$"), "room-1", False),
    (Filter(channel_prefix="private-", channel_pattern="["), "private-1", False),
    (Filter(channel_suffix=":1", channel_namespace="chat"), "chat:1", True),
    (Filter(channel_suffix=":1", channel_namespace="chat"), "chat:2", False),
    (Filter(channel_suffix=":1", channel_namespace="chat"), "room:1", False),
    (Filter(channel_prefix="private-", channel_namespace="chat"), "private-chat:1", True),
    (Filter(channel_prefix="private-", channel_namespace="chat"), "chat:1", False),
    (Filter(channel_pattern="1", channel_namespaces=("chat",)), "chat:1", True),
    (Filter(channel_pattern="1", channel_namespaces=("chat",)), "chat:2", False),
    (Filter(channel_pattern="1", channel_namespaces=("chat",)), "room:1", False),
    (Filter(channel_namespace="chat", channel_namespaces=("chat", "orders")), "chat:1", True),
    (Filter(channel_namespace="chat", channel_namespaces=("chat", "orders")), "orders:1", False),
    (Filter(channel_namespace="chat", channel_namespaces=("orders",)), "chat:1", False),
    (Filter("private-", "-1", "x", "chat", ("chat", "orders")), "private-chat:x-1", True),
    (Filter("private-", "-1", "x", "chat", ("chat", "orders")), "presence-chat:x-1", False),
    (Filter("private-", "-1", "x", "chat", ("chat", "orders")), "private-chat:x-2", False),
    (Filter("private-", "-1", "x", "chat", ("chat", "orders")), "private-chat:y-1", False),
    (Filter("private-", "-1", "x", "chat", ("chat", "orders")), "private-orders:x-1", False),
    (Filter("private-", "-1", "x", "chat", ("orders",)), "private-chat:x-1", False),
]


@pytest.mark.parametrize(
    ("rules", "channel", "expected"),
    FILTER_CASES,
    ids=[f"{n}-{ascii(channel)[1:-1]}" for n, (_, channel, _) in enumerate(FILTER_CASES, start=1)],
)
def test_filter(rules: Filter, channel: str, expected: bool) -> None:
    assert passes(rules, channel) is expected


def test_filter_table_has_a_hundred_distinct_cases() -> None:
    assert len(FILTER_CASES) >= 100
    assert len(set(FILTER_CASES)) == len(FILTER_CASES)


class TestEvents:
    def test_event_type_must_match_exactly(self) -> None:
        events = [event("a", name) for name in ("member_added", "Member_added", "member_add", "member_added ")]
        assert match(job(*events), [webhook(None, "member_added")]) == [
            Match(webhook(None, "member_added"), (events[0],))
        ]

    def test_wildcard_event_type_matches_nothing(self) -> None:
        assert match(job(event("a")), [webhook(None, "*"), webhook(None, "channel_*")]) == []

    def test_matched_events_keep_the_order_of_the_job(self) -> None:
        events = [event(channel) for channel in ("c:1", "x", "a:1", "c:1")]
        (found,) = match(job(*events), [webhook(namespaces("a", "c"))])
        assert [any(kept is given for kept in found.events) for given in events] == [True, False, True, True]
        assert [kept.channel for kept in found.events] == ["c:1", "a:1", "c:1"]

    def test_event_must_match_both_type_and_filter(self) -> None:
        events = [event("private-1", "member_added"), event("private-1"), event("room")]
        (found,) = match(job(*events), [webhook(prefix("private-"))])
        assert found.events == (events[1],)

    def test_missing_channel_matches_as_an_empty_one(self) -> None:
        assert passes(pattern("^$"), "")
        assert not passes(prefix("a"), "")


class TestWebhooks:
    def test_matches_keep_the_order_of_webhooks_and_omit_those_without_events(self) -> None:
        hooks = [
            webhook(prefix("b"), name="first"),
            webhook(None, "member_added", name="other-type"),
            webhook(prefix("x"), name="other-channel"),
            webhook(name="last"),
        ]
        found = match(job(event("a"), event("b")), hooks)
        assert [(entry.webhook.name, len(entry.events)) for entry in found] == [("first", 1), ("last", 2)]

    def test_two_webhooks_with_one_url_each_get_their_own_events(self) -> None:
        url = Secret("https://example.com/hook")
        hooks = [
            Webhook("one", frozenset({"channel_occupied"}), url=url),
            Webhook("two", frozenset({"channel_vacated"}), url=url),
        ]
        found = match(job(event("a"), event("a", "channel_vacated")), hooks)
        assert [[entry.name for entry in part.events] for part in found] == [["channel_occupied"], ["channel_vacated"]]

    def test_invalid_pattern_affects_only_its_own_webhook(self) -> None:
        found = match(job(event("a")), [webhook(pattern("["), name="broken"), webhook(name="sound")])
        assert [entry.webhook.name for entry in found] == ["sound"]

    def test_job_without_events_matches_nothing(self) -> None:
        assert match(job(), [webhook(), webhook(Filter())]) == []

    @pytest.mark.parametrize("text", ["^compiled-once", "[compiled-once"])
    def test_pattern_is_compiled_once_even_if_invalid(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        compiled: list[str] = []

        def counted(given: str) -> Search:
            compiled.append(given)
            return compile_pattern(given)

        monkeypatch.setattr(matching, "compile_pattern", counted)
        for _ in range(3):
            # An equal filter counts as the same, so a re-read file does not compile again.
            match(job(event("a"), event("b")), [webhook(pattern(text)), webhook(pattern(text))])
        assert compiled == [text]

    def test_each_channel_is_searched_once_however_many_events_it_has(self) -> None:
        searched: list[str] = []

        def finds(_: str, channel: str) -> bool:
            searched.append(channel)
            return True

        [found] = match(job(*[event("a"), event("b")] * 50), [webhook(pattern("^[ab]"))], finds)
        assert (sorted(searched), len(found.events)) == (["a", "b"], 100)


def test_filter_with_many_namespaces_is_not_cached() -> None:
    matching._acceptor.cache_clear()
    for number in range(10):
        names = [f"n{number}-{each}" for each in range(1_000)]
        assert passes(Filter(channel_namespaces=tuple(names)), f"{names[-1]}:a")
    assert matching._acceptor.cache_info().currsize == 0


class TestCheckFilter:
    @pytest.mark.parametrize(
        "rules", [Filter(), prefix("["), suffix("("), pattern("^a$"), pattern(""), namespaces(), namespace("")]
    )
    def test_valid_filter_has_no_fault(self, rules: Filter) -> None:
        assert check_filter(rules) is None

    def test_fault_names_key_construct_and_position_in_one_line(self) -> None:
        fault = check_filter(Filter(channel_prefix="secret-", channel_pattern="private-(?!x)\n"))
        assert fault is not None
        assert fault.startswith("channel_pattern: ")
        assert fault.endswith(" at line 1, character 9: (?!")
        assert "\n" not in fault
        assert "private-" not in fault


def brute_force(rules: Filter, heads: Sequence[str]) -> bool:
    """Try channels of a part of the prefix, a type with a namespace, and the suffix."""
    start, end = rules.channel_prefix or "", rules.channel_suffix or ""
    cuts = [start[:cut] for cut in range(len(start) + 1)]
    return any(passes(rules, f"{cut}{head}{end}") for cut in cuts for head in heads)


class TestContradiction:
    @pytest.mark.parametrize(
        ("rules", "key"),
        [
            (namespaces(), "channel_namespaces:"),
            (Filter(channel_namespace="chat", channel_namespaces=()), "channel_namespaces:"),
            (Filter(channel_namespace="chat", channel_namespaces=("orders",)), "channel_namespace: not in"),
            (namespace(""), "channel_namespace:"),
            (namespace("a:b"), "channel_namespace:"),
            (namespaces("", ":"), "channel_namespace:"),
            (Filter(channel_prefix="orders", channel_namespace="chat"), "channel_prefix:"),
            (Filter(channel_prefix="private-orders:", channel_namespace="chat"), "channel_prefix:"),
            (Filter(channel_prefix="private-cache-ch", channel_namespace="cache-chat"), "channel_prefix:"),
            (Filter(channel_prefix="chat-", channel_namespaces=("chat", "orders")), "channel_prefix:"),
            (Filter(channel_prefix=":", channel_namespace="chat"), "channel_prefix:"),
        ],
    )
    def test_contradiction_of_an_impossible_filter_names_the_key(self, rules: Filter, key: str) -> None:
        reason = contradiction(rules)
        assert reason is not None
        assert reason.startswith(f"{key} ")
        assert "\n" not in reason

    @pytest.mark.parametrize(
        "rules",
        [
            Filter(),
            prefix("anything"),
            suffix(":"),
            namespace("chat"),
            namespaces("", "chat"),
            Filter(channel_prefix="private-", channel_namespace="chat"),
            Filter(channel_prefix="private-cache-c", channel_namespace="chat"),
            Filter(channel_prefix="chat:lobby", channel_namespace="chat"),
            Filter(channel_prefix="cache-chat:1", channel_suffix="2", channel_namespaces=("chat",)),
            Filter(channel_prefix="p", channel_namespace="chat"),
            Filter(channel_prefix="private-cache-", channel_namespace="cache-chat"),
        ],
    )
    def test_possible_filter_has_no_contradiction(self, rules: Filter) -> None:
        assert contradiction(rules) is None

    def test_contradiction_agrees_with_brute_force(self) -> None:
        names = ["", "a", "ab", "a:b", "cache-a", "private-a", "encrypted-a"]
        prefixes = [None, "", "a", "ab", "a:", "a:b", "b", ":", "x", "p", "private", "encrypted-a:"]
        prefixes += [f"{kind}{rest}" for kind in TYPE_PREFIXES for rest in ("", "a", "a:", "b")]
        heads = ["", *(f"{kind}{name}:" for kind in ("", *TYPE_PREFIXES) for name in names)]
        filters = [
            Filter(channel_prefix=start, channel_suffix=end, channel_namespaces=wanted)
            for start, end, wanted in itertools.product(
                prefixes, (None, "z"), (None, (), *((name,) for name in names), ("a", "cache-a"))
            )
        ]
        wrong = [rules for rules in filters if (contradiction(rules) is None) is not brute_force(rules, heads)]
        assert wrong == []
        assert 0 < sum(contradiction(rules) is None for rules in filters) < len(filters)


@pytest.mark.parametrize(
    ("types", "rules", "wanted"),
    [
        (None, None, ["room-1", "room-2"]),
        (None, Filter(channel_prefix="room-"), ["room-1", "room-2"]),
        (None, Filter(channel_prefix="other-"), []),
        (frozenset({"channel_occupied"}), None, ["room-1", "room-2"]),
        (frozenset({"cache_miss"}), None, []),
        (frozenset(), None, []),
        (frozenset({"channel_occupied"}), Filter(), ["room-1", "room-2"]),
        (frozenset({"channel_occupied"}), Filter(channel_suffix="-2"), ["room-2"]),
        (frozenset({"channel_occupied"}), Filter(channel_suffix="-3"), []),
    ],
)
def test_invalid_webhook_matches_events_by_its_readable_parts(
    types: frozenset[str] | None, rules: Filter | None, wanted: list[str]
) -> None:
    invalid = InvalidWebhook("orders", types, rules, "", "")
    assert [each.channel for each in possible_events(job(event("room-1"), event("room-2")), invalid)] == wanted
    assert not possible_events(job(), invalid)
