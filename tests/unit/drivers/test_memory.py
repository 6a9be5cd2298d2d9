"""What the memory driver does beyond the contract: its capacity, and its order under a clock that a test holds."""

from __future__ import annotations

from sockudo_queue.drivers.base import Claim, DeadLetter, Requeue, Retry, Settlement
from sockudo_queue.drivers.memory import MemoryDriver


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


def driver_of(
    clock: Clock | None = None, capacity: int = 100, dead_retention: int = 100, max_bytes: int = 1_000_000
) -> MemoryDriver:
    return MemoryDriver(
        capacity=capacity, max_bytes=max_bytes, lease_ms=1_000, dead_retention=dead_retention, now_ms=clock or Clock()
    )


def put(driver: MemoryDriver, count: int) -> None:
    for number in range(1, count + 1):
        driver.put(b"%d" % number)


def claim(driver: MemoryDriver, settled: Settlement | None = None) -> Claim:
    result = driver.next(settled)
    assert result.accepted
    assert result.claim is not None
    return result.claim


def bodies(driver: MemoryDriver) -> list[bytes]:
    found = []
    while (result := driver.next(None)).claim is not None:
        found.append(result.claim.body)
    return found


def test_above_the_capacity_the_oldest_ready_job_goes_and_is_counted() -> None:
    driver = driver_of(capacity=3)
    put(driver, 5)
    assert driver.evicted == 2
    assert bodies(driver) == [b"3", b"4", b"5"]


def test_oldest_ready_jobs_are_dropped_above_the_bytes() -> None:
    driver = driver_of(max_bytes=100)
    for number in range(5):
        driver.put(b"%d" % number * 40)
    assert (driver.evicted, driver.depth()["ready"]) == (3, 2)
    assert bodies(driver) == [b"3" * 40, b"4" * 40]


def test_dead_letters_have_at_most_half_of_the_bytes() -> None:
    driver = driver_of(max_bytes=100)
    for number in range(4):
        driver.put(b"%d" % number * 20)
    claims = [claim(driver) for _ in range(4)]
    driver.settle([Settlement(each, (DeadLetter(b"", "refused"),)) for each in claims])
    assert driver.next(None).trimmed == 2
    assert [letter.body[:1] for letter in driver.letters()] == [b"2", b"3"]


def test_bytes_of_a_job_count_once_for_all_its_deliveries() -> None:
    driver = driver_of(max_bytes=100)
    driver.put(b"a" * 60)
    driver.settle([Settlement(claim(driver), tuple(Retry(b"%d" % number, 1_000) for number in range(5)), splits=True)])
    driver.put(b"b" * 40)
    assert (driver.evicted, driver.depth()["ready"]) == (0, 1)


def test_job_above_the_bytes_costs_no_other_job() -> None:
    driver = driver_of(max_bytes=100)
    driver.put(b"a" * 60)
    driver.put(b"b" * 101)
    assert (driver.evicted, bodies(driver)) == (1, [b"a" * 60])


def test_bytes_are_freed_by_every_disposition_of_a_job() -> None:
    clock = Clock()
    driver = driver_of(clock, max_bytes=1_000)

    def dead_letter() -> None:
        driver.settle([Settlement(claim(driver), (DeadLetter(b"", "refused"),))])

    for _ in range(100):
        for _ in range(5):
            driver.put(b"x" * 90)
        driver.settle([Settlement(claim(driver), ())])
        driver.settle([Settlement(claim(driver), (Retry(b"a", 1), Retry(b"b", 1)), splits=True)])
        dead_letter()
        driver.purge(list(driver.letters()))
        dead_letter()
        clock.now += 10
        assert driver.drop_older(5) == 1
        dead_letter()
        letters = list(driver.letters())
        driver.replay(letters, [b""] * len(letters))
        for _ in range(3):
            driver.settle([Settlement(claim(driver), ())])
    assert sum(driver.depth().values()) == 0
    assert driver.evicted == 0


def test_claimed_delayed_and_dead_records_count_for_the_capacity_and_stay() -> None:
    driver = driver_of(capacity=4)
    put(driver, 4)
    first, second, _third = claim(driver), claim(driver), claim(driver)
    driver.settle([Settlement(first, (Retry(b"s", 50),)), Settlement(second, (DeadLetter(b"s", "refused"),))])
    put(driver, 3)
    assert driver.depth() == {"ready": 1, "active": 1, "delayed": 1, "held": 0, "dead-letter": 1}
    assert driver.evicted == 3
    assert bodies(driver) == [b"3"]


def test_full_memory_without_ready_jobs_drops_new_jobs() -> None:
    driver = driver_of(capacity=1)
    put(driver, 1)
    held = claim(driver)
    driver.put(b"late")
    assert driver.evicted == 1
    assert driver.next(Settlement(held)).claim is None


def test_a_split_makes_room_among_the_ready_jobs() -> None:
    driver = driver_of(capacity=3)
    put(driver, 3)
    parts = (Retry(b"a", 1), Retry(b"b", 1))
    driver.settle([Settlement(claim(driver), parts, splits=True)])
    assert driver.depth() == {"ready": 1, "active": 0, "delayed": 2, "held": 0, "dead-letter": 0}
    assert driver.evicted == 1


def test_dead_letters_above_their_retention_go_oldest_first_and_are_counted() -> None:
    driver = driver_of(dead_retention=2)
    put(driver, 3)
    held = [claim(driver) for _ in range(3)]
    assert driver.settle([Settlement(each, (DeadLetter(b"s", "refused"),)) for each in held]) == [True] * 3
    assert [driver.next(None).trimmed for _ in range(2)] == [1, 0]
    assert driver.depth()["dead-letter"] == 2


def test_ready_and_due_records_take_turns() -> None:
    clock = Clock()
    driver = driver_of(clock)
    put(driver, 2)
    driver.settle([Settlement(each, (Retry(b"late", 10),)) for each in (claim(driver), claim(driver))])
    clock.now += 10
    driver.put(b"3")
    driver.put(b"4")
    states = [claim(driver).state for _ in range(4)]
    assert sorted(states[:2]) == sorted(states[2:]) == [b"", b"late"]


def test_requeued_jobs_come_first_in_the_order_of_their_claims() -> None:
    clock = Clock()
    driver = driver_of(clock)
    put(driver, 4)
    held = []
    for _ in range(3):
        held.append(claim(driver))
        clock.now += 1
    driver.settle([Settlement(each, (Requeue(),)) for each in reversed(held)])
    assert bodies(driver) == [b"1", b"2", b"3", b"4"]


def test_a_renewed_lease_lapses_after_one_that_was_not() -> None:
    clock = Clock()
    driver = driver_of(clock)
    put(driver, 2)
    first, _second = claim(driver), claim(driver)
    clock.now += 999
    assert driver.renew([first]) == [True]
    clock.now += 1
    assert bodies(driver) == [b"2"]
    clock.now += 999
    assert bodies(driver) == [b"1"]
    assert driver.renew([first]) == [False]


def test_only_what_is_put_back_keeps_its_count_of_lapses() -> None:
    driver = driver_of()
    driver.put(b"1")
    driver.settle([Settlement(claim(driver), (Requeue(lapsed=True),))])
    again = claim(driver)
    assert again.lapses == 1
    driver.settle([Settlement(again, (Requeue(b"a"), Retry(b"b", 0)), splits=True)])
    assert {each.state: each.lapses for each in (claim(driver), claim(driver))} == {b"a": 1, b"b": 0}


def test_ids_differ_between_two_runs() -> None:
    one, other = driver_of(), driver_of()
    put(one, 1)
    put(other, 1)
    assert claim(one).id != claim(other).id
