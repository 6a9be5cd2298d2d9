"""What is held of a queue of SQS, by tables: groups, turns, lapses."""

from __future__ import annotations

from sockudo_queue.drivers.sqs.buffer import Message, Record, Shelf
from sockudo_queue.drivers.sqs.messages import Received


def message(name: str, group: str | None = None, *, until: float = 30.0, due: float = 0.0) -> Message:
    made = Message(Received(name, f"h-{name}", b"", name, b"", 0, 0, 0, 1, 0, 0, group, None), f"h-{name}", 0.0, until)
    made.records.append(Record(made, name, b"", 0, 0, due))
    return made


def take_all(shelf: Shelf, now: float = 1.0) -> list[str]:
    return [record.id for record in iter(lambda: shelf.take(now), None)]


def test_without_groups_everything_can_be_claimed() -> None:
    shelf = Shelf()
    for name in "abc":
        shelf.add(message(name), 1.0)

    assert shelf.claimable(1.0) == 3
    assert take_all(shelf) == ["a", "b", "c"]
    assert set(shelf.claimed) == {"a/1", "b/1", "c/1"}


def test_of_a_group_only_the_first_can_be_claimed() -> None:
    shelf = Shelf()
    messages = [message(name, name[0]) for name in ("a1", "a2", "b1", "b2")]
    for each in messages:
        shelf.add(each, 1.0)

    assert take_all(shelf) == ["a1", "b1"]
    shelf.remove(messages[0], 1.0)
    assert take_all(shelf) == ["a2"]
    assert shelf.claimable(1.0) == 0


def test_a_delayed_record_holds_up_its_group_and_no_other() -> None:
    shelf = Shelf()
    first, second, other = message("a1", "a"), message("a2", "a"), message("b1", "b")
    for each in (first, second, other):
        shelf.add(each, 1.0)
    record = shelf.take(1.0)
    assert record is not None
    shelf.end(record)
    again = Record(first, "a1", b"s", record.claims, 0, due=5.0)
    first.records.append(again)
    shelf.keep(again, 1.0)

    assert take_all(shelf, 1.0) == ["b1"]
    assert shelf.until_due(1.0) == 4.0
    assert take_all(shelf, 5.0) == ["a1"]
    assert "a1/2" in shelf.claimed


def test_a_lost_message_takes_those_behind_it_along() -> None:
    shelf = Shelf()
    messages = [message(f"a{n}", "a") for n in range(4)]
    for each in messages:
        shelf.add(each, 1.0)
    shelf.take(1.0)

    assert shelf.lose(messages[1]) == messages[2:]
    assert list(shelf.messages) == ["a0"]
    assert shelf.lose(messages[0]) == []
    assert not shelf.claimed
    assert not shelf.messages


def test_what_has_lapsed_is_not_handed_out() -> None:
    shelf = Shelf()
    shelf.add(message("old", until=1.0), 0.0)
    shelf.add(message("new", until=9.0), 0.0)

    assert take_all(shelf, 1.0) == ["new"]
    assert list(shelf.messages) == ["new"]


def test_what_was_put_back_goes_first_and_ready_and_due_take_turns() -> None:
    shelf = Shelf()
    for name in ("r1", "r2", "r3"):
        shelf.add(message(name), 1.0)
    for name in ("d1", "d2", "d3"):
        shelf.add(message(name, due=2.0), 1.0)
    back = message("back")
    shelf.messages[back.id] = back
    shelf.keep(back.records[0], 1.0, first=True)

    order = take_all(shelf, 2.0)

    assert order[0] == "back"
    assert [name[0] for name in order[1:]] in (list("rdrdrd"), list("drdrdr"))


def test_a_receipt_is_never_given_twice() -> None:
    shelf = Shelf()
    seen = set()
    for _ in range(3):
        again = message("a")
        shelf.add(again, 1.0)
        record = shelf.take(1.0)
        assert record is not None
        seen.add(record.receipt)
        shelf.lose(again)

    assert len(seen) == 3


def test_news_grow_with_whatever_can_be_claimed() -> None:
    shelf = Shelf()
    shelf.add(message("a", "g"), 1.0)
    before = shelf.news
    shelf.add(message("b", "g"), 1.0)
    assert shelf.news == before
    shelf.remove(shelf.messages["a"], 1.0)
    assert shelf.news > before
