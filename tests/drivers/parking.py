"""What drivers do with the deliveries of a paused webhook, against their real broker.

A driver's test module inherits from `ParkingConformance` and gives the fixture `queue` of `conformance.py`.
"""

from __future__ import annotations

from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.drivers.base import Auditable, Claim, Driver, Hold, Parking, Requeue, Retry, Settlement
from tests.drivers.conformance import FAR, DriverUnderTest, bodies_of, is_idle, settle, take, take_all
from tests.helpers.jobs import jobs

ORDERS = WebhookKey("shop", "orders")
MAIL = WebhookKey("shop", "mail")


def hold(driver: Driver, claim: Claim, webhook: WebhookKey = ORDERS, state: bytes = b'{"held":1}') -> None:
    assert settle(driver, claim, Hold(state, *webhook))


def release_all(driver: Driver, *paused: WebhookKey) -> int:
    assert isinstance(driver, Parking)
    total = 0
    while moved := driver.release(paused):
        total += moved
    return total


def count_held(driver: Driver, *webhooks: WebhookKey) -> list[int]:
    assert isinstance(driver, Parking)
    return list(driver.held(webhooks))


class ParkingConformance:
    """Inherit from it, and give the fixture `queue`."""

    def test_held_delivery_is_not_claimed(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(*jobs(3))
        for claim in take_all(driver):
            hold(driver, claim)
        queue.advance(FAR)

        assert is_idle(driver)
        assert driver.depth() == {"ready": 0, "active": 0, "delayed": 0, "held": 3, "dead-letter": 0}
        assert count_held(driver, ORDERS, MAIL) == [3, 0]
        assert release_all(driver, ORDERS) == 0

    def test_released_delivery_is_unchanged(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(b"\x01not\nJSON")
        claim = take(driver)
        hold(driver, claim)

        assert release_all(driver) == 1

        again = take(driver)
        assert (again.id, again.body, again.state, again.lapses) == (claim.id, b"\x01not\nJSON", b'{"held":1}', 0)
        assert again.receipt != claim.receipt
        assert count_held(driver, ORDERS) == [0]
        assert settle(driver, again)

    def test_only_what_is_not_paused_is_released(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(*jobs(30))
        webhooks = [WebhookKey("shop", f"hook-{number}") for number in range(30)]
        for claim, webhook in zip(take_all(driver), webhooks, strict=True):
            hold(driver, claim, webhook, state=webhook.webhook.encode())

        assert release_all(driver, *webhooks[::2]) == 15
        assert {claim.state for claim in take_all(driver)} == {webhook.webhook.encode() for webhook in webhooks[1::2]}
        assert release_all(driver) == 15

    def test_a_share_of_a_split_is_held_and_the_others_are_not(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(b"job")
        claim = take(driver)
        assert settle(driver, claim, Hold(b"held", *ORDERS), Retry(b"later", 0), splits=True)

        other = take(driver)

        assert (other.id, other.state) == (f"{claim.id}.1", b"later")
        assert is_idle(driver)
        assert settle(driver, other)
        assert release_all(driver) == 1
        share = take(driver)
        assert (share.id, share.body, share.state) == (f"{claim.id}.0", b"job", b"held")
        assert settle(driver, share)

    def test_lapses_are_counted_on(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(b"job")
        assert settle(driver, take(driver), Requeue(lapsed=True))
        hold(driver, take(driver))
        release_all(driver)
        assert take(driver).lapses == 1

    def test_a_late_hold_keeps_nothing(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(b"job")
        late = take(driver)
        queue.advance(FAR)
        again = take(driver)

        assert driver.settle([Settlement(late, (Hold(b"late", *ORDERS),))]) == [False]
        assert count_held(driver, ORDERS) == [0]
        assert settle(driver, again)

    def test_audit_does_not_report_held_deliveries_as_lost(self, queue: DriverUnderTest) -> None:
        driver = queue.driver()
        queue.push(*jobs(4))
        first, *others = take_all(driver)
        hold(driver, first)
        if isinstance(driver, Auditable):
            assert driver.audit() == (0, 0, 0)
        for claim in others:
            assert settle(driver, claim, Retry(b"later", 1000))
        if isinstance(driver, Auditable):
            assert driver.audit() == (0, 0, 0)
        assert driver.depth()["delayed"] == 3

    def test_many_are_released_by_several_at_once(self, queue: DriverUnderTest) -> None:
        driver, other = queue.driver(), queue.driver()
        bodies = jobs(250)
        queue.push(*bodies)
        for claim in take_all(driver):
            hold(driver, claim)

        assert isinstance(driver, Parking)
        assert isinstance(other, Parking)
        moved = driver.release(()) + other.release(())
        moved += release_all(driver) + release_all(other)

        assert moved == len(bodies)
        assert sorted(bodies_of(take_all(driver))) == sorted(bodies)
