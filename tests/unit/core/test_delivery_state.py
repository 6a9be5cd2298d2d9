"""The state of a record: encoding and decoding, and records of later versions."""

from __future__ import annotations

import json

import msgspec
import pytest
from msgspec.structs import replace

from sockudo_queue.core import delivery_state
from sockudo_queue.core.delivery_state import TRIES_LIMIT, DeliveryState, EarlierFailure, NewerRecord, Try

FULL = DeliveryState(
    job="j",
    app="a\n\u2028",
    webhook="https://example.com#2",
    attempts=7,
    budget_from=1_751_100_000_000,
    reserved=True,
    last="status-503",
    reason="exhausted",
    died=1_751_100_000_001,
    history=(EarlierFailure("refused", 1_751_000_000_000, 1, "status-404"),),
    tries=(Try(1_751_000_000_000, "status-404", 12), Try(1_751_100_000_000, "status-503", 10_000)),
)


class StateOfVersion010(msgspec.Struct, frozen=True, omit_defaults=True, rename={"version": "v"}):
    """The state before the field `tries` was added."""

    job: str
    app: str = ""
    webhook: str | None = None
    attempts: int = 0
    budget_from: int | None = None
    reserved: bool = False
    guesses: int = 0
    last: str | None = None
    reason: str | None = None
    died: int | None = None
    history: tuple[EarlierFailure, ...] = ()
    version: int = msgspec.field(default_factory=lambda: 1)


@pytest.mark.parametrize(
    "state",
    [DeliveryState(job="j"), FULL, DeliveryState(job="", webhook="😀"), DeliveryState(job="j~", attempts=10**9)],
)
def test_encoded_state_decodes_to_the_same_state(state: DeliveryState) -> None:
    assert delivery_state.decode(delivery_state.encode(state)) == state


def test_encoded_state_is_one_line_with_its_version() -> None:
    for state in (DeliveryState(job="j"), FULL):
        written = delivery_state.encode(state)
        assert b"\n" not in written
        assert not written.startswith(b"\x01")
        assert json.loads(written)["v"] == delivery_state.FORMAT_VERSION


def test_default_values_are_not_encoded() -> None:
    assert json.loads(delivery_state.encode(DeliveryState(job="j"))) == {"job": "j", "v": 1}


@pytest.mark.parametrize(
    "state",
    [
        b'{"job":"j","v":2}',
        b'{"v":99,"job":{"new":"form"}}',
        b'{"v":2}',
        b'{"v":99999999999999999999999,"job":"j"}',
        b"not JSON",
        b"",
        b"[]",
        b"null",
        b'{"v":"1","job":"j"}',
        b'{"v":1}',
        b'{"v":1,"job":5}',
        b'{"v":1,"job":"\xff"}',
        b'{"v":1,"job":"\\ud800"}',
        # With Queue V2 and SQS a state comes with the job: it must not inject headers, nor crash a thread by a number.
        b'{"v":1,"job":"j\\r\\nX-Evil: yes"}',
        b'{"v":1,"job":"j\\n"}',
        b'{"v":1,"job":"\\u0000"}',
        '{"v":1,"job":"é"}'.encode(),
        b'{"v":1,"job":"j","attempts":-1}',
        b'{"v":1,"job":"j","attempts":99999999999999999999}',
        b'{"v":1,"job":"j","guesses":-1}',
        b'{"v":1,"job":"j","budget_from":-99999999999999999999}',
        b'{"v":1,"job":"j","died":99999999999999999999}',
        b'{"v":1,"job":"j","history":[{"died":99999999999999999999}]}',
        b'{"v":1,"job":"j","first_try":"00-x"}',
        b'{"v":1,"job":"j","first_try":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"}',
        b"[" * 100_000,
        b'{"v":1,"job":"j","x":' + b"[" * 100_000,
    ],
)
def test_state_that_this_version_cannot_read_is_a_newer_record(state: bytes) -> None:
    with pytest.raises(NewerRecord) as caught:
        delivery_state.decode(state)
    assert "\n" not in str(caught.value)


def test_unknown_field_is_ignored() -> None:
    assert delivery_state.decode(b'{"job":"j","v":1,"later":[1,2]}') == DeliveryState(job="j")
    assert delivery_state.decode(b'{"job":"j"}') == DeliveryState(job="j")


def test_replay_resets_the_counters_and_keeps_the_history() -> None:
    again = delivery_state.replayed(FULL)
    assert (again.job, again.app, again.webhook) == (FULL.job, FULL.app, FULL.webhook)
    assert (again.attempts, again.budget_from, again.reserved, again.reason, again.died) == (0, None, False, None, None)
    assert again.history == (*FULL.history, EarlierFailure("exhausted", 1_751_100_000_001, 7, "status-503"))
    assert delivery_state.decode(delivery_state.encode(again)) == again


def test_replay_keeps_the_first_try() -> None:
    first_try = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    state = delivery_state.decode(delivery_state.encode(replace(FULL, first_try=first_try)))
    assert delivery_state.replayed(state).first_try == first_try


def test_replay_can_name_a_renamed_webhook() -> None:
    assert delivery_state.replayed(FULL, "new").webhook == "new"


def test_history_of_a_record_replayed_many_times_is_bounded() -> None:
    state = FULL
    for died in range(delivery_state.HISTORY_LIMIT + 5):
        state = replace(delivery_state.replayed(state), reason="exhausted", died=died)
    assert [death.died for death in state.history][-1] == delivery_state.HISTORY_LIMIT + 3
    assert len(state.history) == delivery_state.HISTORY_LIMIT


def test_state_with_tries_is_compatible_with_the_previous_version() -> None:
    before = msgspec.json.decode(delivery_state.encode(FULL), type=StateOfVersion010)
    assert (before.job, before.attempts, before.history) == (FULL.job, FULL.attempts, FULL.history)
    after = delivery_state.decode(msgspec.json.encode(replace(before, attempts=8)))
    assert after == replace(FULL, attempts=8, tries=())


def test_try_with_extra_elements_is_decoded() -> None:
    assert delivery_state.decode(b'{"job":"j","v":1,"tries":[[5,"dns",7,"new"],[6,"tls"]]}').tries == (
        Try(5, "dns", 7),
        Try(6, "tls", 0),
    )


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("status-503", 503),
        ("redirect-301", 301),
        ("read-timeout", None),
        ("status-", None),
        ("x-99999", None),
        ("", None),
    ],
)
def test_status_of_a_try_is_taken_from_the_end_of_its_reason(reason: str, status: int | None) -> None:
    assert Try(1, reason).status == status


def test_tries_are_kept_by_a_replay() -> None:
    assert delivery_state.replayed(FULL).tries == FULL.tries


def test_tries_take_at_most_the_documented_bytes() -> None:
    tries = tuple(Try(1_751_100_000_000 + n, "connect-timeout", 60_000) for n in range(TRIES_LIMIT))
    added = len(delivery_state.encode(DeliveryState("j", tries=tries))) - len(delivery_state.encode(DeliveryState("j")))
    escaped = 4 * TRIES_LIMIT + 4  # on Queue V2 a state is a string of JSON, with a backslash before each quote
    assert added + escaped <= 950
    assert added <= 850
