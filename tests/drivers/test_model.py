"""Any operations in any order: each record is in exactly one state, and nothing is lost or duplicated."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from sockudo_queue.drivers.redis.lists import split_value
from sockudo_queue.drivers.redis.queue_v2_payload import opened
from sockudo_queue.drivers.redis.source import own_key
from tests.drivers.model import QueueMachine, Stored
from tests.drivers.redis_lists import SOURCES, RedisLists
from tests.drivers.redis_v2 import BASE, RedisV2
from tests.drivers.test_memory import MemoryUnderTest
from tests.faults.measures import SCALE, scaled
from tests.helpers.redis_server import RedisServer

STEPS: Final = 40


class ObservedMemory(MemoryUnderTest):
    can_step_back = False  # its clock never does

    def close(self) -> None:
        """Nothing of it outlives the test."""

    def stored(self) -> Stored:
        memory = self._memory
        waiting = [record for _, _, record in (*memory._back, *memory._delayed)] + list(memory._due)
        active = [record for _, record in memory._active.values()]
        dead = list(memory._dead.values())
        kept = [*active, *waiting, *dead]
        assert len({record.id for record in kept}) == len(kept)
        return Stored(
            Counter(record.body for record in memory._ready),
            {receipt: (record.body, record.state) for receipt, (_, record) in memory._active.items()},
            {record.id: (record.body, record.state) for record in waiting},
            {record.id: (record.body, record.state) for record in dead},
            {record.id: record.lapses for record in kept if record.lapses},
        )


class ObservedLists(RedisLists):
    can_step_back = True

    def close(self) -> None:
        self._cleanup.close()

    def stored(self) -> Stored:
        stored = Stored()
        for source in SOURCES:
            read_list(self.client, source, stored)
        return stored


def read_list(client: Any, source: str, stored: Stored) -> None:
    """Add what is stored of one list."""
    sets = ("active", "delayed", "dead")
    with client.pipeline(transaction=True) as pipeline:
        pipeline.lrange(source, 0, -1).lrange(own_key(source, "ready"), 0, -1)
        pipeline.hgetall(own_key(source, "records")).hgetall(own_key(source, "lapses"))
        for name in sets:
            pipeline.zrange(own_key(source, name), 0, -1)
        listed, ready, records, lapses, *members = pipeline.execute()
    stored.ready.update([*listed, *ready])
    ids: list[bytes] = []
    for name, receipts in zip(sets, members, strict=True):
        for receipt in receipts:
            record = receipt.rpartition(b"/")[0]
            ids.append(record)
            state, body = split_value(records[record])
            key = receipt if name == "active" else record
            getattr(stored, name)[key.decode()] = (body, state)
    assert len(set(ids)) == len(ids), "a record is in two states"
    assert set(ids) == set(records), "a record is in no state"
    stored.lapses |= {record.decode(): int(count) for record, count in lapses.items()}


class ObservedV2(RedisV2):
    """Queue V2, and a list beside it that takes what is put through a driver."""

    can_step_back = True

    def __init__(self, server: RedisServer, cleanup: ExitStack) -> None:
        super().__init__(server, cleanup)
        self._lists = RedisLists(server, cleanup)

    def close(self) -> None:
        self._cleanup.close()

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._lists.advance(seconds)

    def stored(self) -> Stored:
        sets = ("active", "delayed")
        with self.client.pipeline(transaction=True) as pipeline:
            for name in ("jobs", "tokens", "attempts"):
                pipeline.hgetall(self.key(name))
            pipeline.hgetall(own_key(BASE, "records")).lrange(self.key("wait"), 0, -1)
            for key in (*map(self.key, sets), own_key(BASE, "dead")):
                pipeline.zrange(key, 0, -1)
            jobs, words, attempts, records, waiting, active, delayed, dead = pipeline.execute()
        stored = Stored()
        read_list(self.client, SOURCES[0], stored)
        claims = {record.decode(): int(count) for record, count in attempts.items()}
        for record in waiting:
            stored.ready[opened(jobs[record], record.decode())[1]] += 1
        for name, ids in zip(sets, (active, delayed), strict=True):
            for record in ids:
                state, body = opened(jobs[record], record.decode())
                key = f"{record.decode()}/{words[record].decode()}" if name == "active" else record.decode()
                getattr(stored, name)[key] = (body, state)
                claims[record.decode()] -= name == "active"
        for receipt in dead:
            record = receipt.rpartition(b"/")[0]
            state, body = split_value(records[record])
            stored.dead[record.decode()] = (body, state)
        assert len({*waiting, *active, *delayed}) == len(waiting) + len(active) + len(delayed), "in two states"
        assert {*waiting, *active, *delayed} == set(jobs) == set(attempts), "in no state"
        assert set(words) == set(active)
        assert len(dead) == len(records)
        stored.lapses |= {record: count for record, count in claims.items() if count}
        return stored


def run(make_queue: Any, examples: int) -> None:
    """Let hypothesis generate `examples` sequences of steps, each on its own queue."""
    machine = type("Machine", (QueueMachine,), {"make_queue": staticmethod(make_queue)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            # Looking for the shortest steps that fail takes minutes; a full run has them.
            phases=set(Phase) if SCALE >= 1 else set(Phase) - {Phase.shrink, Phase.explain},
        ),
    )


def test_memory() -> None:
    run(ObservedMemory, scaled(2000, 50))


@pytest.mark.timeout(600)
def test_redis_lists(redis_server: RedisServer) -> None:
    with redis_server.client() as client:

        def make_queue() -> Any:
            client.flushall()
            return ObservedLists(redis_server, ExitStack())

        run(make_queue, scaled(500, 25))


@pytest.mark.timeout(600)
def test_redis_v2(redis_server: RedisServer) -> None:
    with redis_server.client() as client:

        def make_queue() -> Any:
            client.flushall()
            return ObservedV2(redis_server, ExitStack())

        run(make_queue, scaled(500, 25))
