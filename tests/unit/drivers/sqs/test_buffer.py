"""The buffer of received messages: groups, order, lapses."""

from __future__ import annotations

from sockudo_queue.drivers.sqs.buffer import Message, MessageBuffer, Record
from sockudo_queue.drivers.sqs.messages import ReceivedMessage


def message(name: str, group: str | None = None, *, until: float = 30.0, due: float = 0.0) -> Message:
    made = Message(
        ReceivedMessage(name, f"h-{name}", b"", name, b"", 0, 0, 0, 1, 0, 0, group, None), f"h-{name}", 0.0, until
    )
    made.records.append(Record(made, name, b"", 0, 0, due))
    return made


def take_all(buffer: MessageBuffer, now: float = 1.0) -> list[str]:
    return [record.id for record in iter(lambda: buffer.take(now), None)]


def test_messages_without_groups_are_all_claimable() -> None:
    buffer = MessageBuffer()
    for name in "abc":
        buffer.add(message(name), 1.0)

    assert buffer.claimable(1.0) == 3
    assert take_all(buffer) == ["a", "b", "c"]
    assert set(buffer.claimed) == {"a/1", "b/1", "c/1"}


def test_only_the_first_message_of_a_group_is_claimable() -> None:
    buffer = MessageBuffer()
    messages = [message(name, name[0]) for name in ("a1", "a2", "b1", "b2")]
    for each in messages:
        buffer.add(each, 1.0)

    assert take_all(buffer) == ["a1", "b1"]
    buffer.remove(messages[0], 1.0)
    assert take_all(buffer) == ["a2"]
    assert buffer.claimable(1.0) == 0


def test_a_delayed_record_holds_up_its_group_and_no_other() -> None:
    buffer = MessageBuffer()
    first, second, other = message("a1", "a"), message("a2", "a"), message("b1", "b")
    for each in (first, second, other):
        buffer.add(each, 1.0)
    record = buffer.take(1.0)
    assert record is not None
    buffer.end(record)
    again = Record(first, "a1", b"s", record.claims, 0, due=5.0)
    first.records.append(again)
    buffer.keep(again, 1.0)

    assert take_all(buffer, 1.0) == ["b1"]
    assert buffer.until_due(1.0) == 4.0
    assert take_all(buffer, 5.0) == ["a1"]
    assert "a1/2" in buffer.claimed


def test_lost_message_removes_those_behind_it_in_its_group() -> None:
    buffer = MessageBuffer()
    messages = [message(f"a{n}", "a") for n in range(4)]
    for each in messages:
        buffer.add(each, 1.0)
    buffer.take(1.0)

    assert buffer.lose(messages[1]) == messages[2:]
    assert list(buffer.messages) == ["a0"]
    assert buffer.lose(messages[0]) == []
    assert not buffer.claimed
    assert not buffer.messages


def test_lapsed_message_is_not_claimable() -> None:
    buffer = MessageBuffer()
    buffer.add(message("old", until=1.0), 0.0)
    buffer.add(message("new", until=9.0), 0.0)

    assert take_all(buffer, 1.0) == ["new"]
    assert list(buffer.messages) == ["new"]


def test_records_put_back_go_first_then_ready_and_due_ones_alternate() -> None:
    buffer = MessageBuffer()
    for name in ("r1", "r2", "r3"):
        buffer.add(message(name), 1.0)
    for name in ("d1", "d2", "d3"):
        buffer.add(message(name, due=2.0), 1.0)
    back = message("back")
    buffer.messages[back.id] = back
    buffer.keep(back.records[0], 1.0, first=True)

    order = take_all(buffer, 2.0)

    assert order[0] == "back"
    assert [name[0] for name in order[1:]] in (list("rdrdrd"), list("drdrdr"))


def test_receipt_is_never_reused() -> None:
    buffer = MessageBuffer()
    seen = set()
    for _ in range(3):
        again = message("a")
        buffer.add(again, 1.0)
        record = buffer.take(1.0)
        assert record is not None
        seen.add(record.receipt)
        buffer.lose(again)

    assert len(seen) == 3


def test_news_increases_when_a_record_becomes_claimable() -> None:
    buffer = MessageBuffer()
    buffer.add(message("a", "g"), 1.0)
    before = buffer.news
    buffer.add(message("b", "g"), 1.0)
    assert buffer.news == before
    buffer.remove(buffer.messages["a"], 1.0)
    assert buffer.news > before
