"""Run a soak and print its report; the exit code is 0 where every promise was kept.

scripts/soak [--minutes 10] [--seed N] [--rate JOBS_A_SECOND] [--report FILE]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from soak.faults import Faults
from soak.ledger import SettlementRecorder
from soak.producer import Producer
from soak.receivers import NAMES, Endpoint, endpoints
from soak.replicas import CANARIES, Replica
from soak.verdict import Outcome, judge, report
from tests.faults.queue import LISTS, own_key, records
from tests.helpers.jobs import numbers
from tests.helpers.queue_v2 import DEFAULT_BASE
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_server import RedisServer

REPLICAS: Final = 3
SAMPLE_INTERVAL: Final = 5.0
SETTLE_SECONDS: Final = 420.0
"""How long everything may take to come in once nothing fails: the budget of the last job's retries, and some."""


class Soak:
    """One run, from the first daemon to the verdict."""

    def __init__(
        self, server: RedisServer, replicas: list[Replica], hooks: dict[str, Endpoint], ledger: SettlementRecorder
    ) -> None:
        self._server = server
        self._replicas = replicas
        self._endpoints = hooks
        self._ledger = ledger
        self._began = time.monotonic()
        self._sampled = 0.0

    def run(self, minutes: float, seed: int, rate: float) -> Outcome:
        chance = random.Random(seed)
        faults = Faults(self._server, self._replicas, self._endpoints, self._ledger, chance)
        for replica in self._replicas:
            replica.start()
            replica.daemon.wait_ready(60)
        producer = Producer(self._server, self._ledger, rate)
        producer.start()
        while self._elapsed < minutes * 60:
            self._rest(chance.uniform(1, 5))
            self._tell(faults.one())
        producer.end()
        faults.heal()
        self._settle()
        for replica in self._replicas:
            replica.stop()
        return self._outcome(minutes, seed, faults)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if time.monotonic() - self._sampled > SAMPLE_INTERVAL:
                self._sample()
            time.sleep(min(left, 0.5))

    def _sample(self) -> None:
        self._sampled = time.monotonic()
        for replica in self._replicas:
            replica.sample(self._elapsed)
        for endpoint in self._endpoints.values():
            endpoint.forget()

    def _tell(self, fault: str) -> None:
        owed = len(self._ledger.missing())
        sys.stderr.write(f"{self._elapsed:7.1f} s  {self._ledger.jobs} jobs, {owed} deliveries owed  {fault}\n")

    def _settle(self) -> None:
        until = time.monotonic() + SETTLE_SECONDS
        with self._server.client() as client:
            while (self._ledger.missing() - _buried(client) or _left(client)) and time.monotonic() < until:
                self._rest(1.0)

    def _outcome(self, minutes: float, seed: int, faults: Faults) -> Outcome:
        with self._server.client() as client:
            buried, left, dead = _buried(client), _left(client), _reasons(client)
        return Outcome(
            minutes,
            seed,
            self._ledger.jobs,
            self._ledger.deliveries(),
            sorted(self._ledger.missing() - buried),
            dead,
            self._ledger.twice(),
            self._ledger.excused,
            left,
            faults.counts,
            self._replicas,
        )


def _left(client: Any) -> int:
    """Count the records that wait or are at work, on every form of the queue, at one moment."""
    # In one transaction: counted one after the other, a record that changes its place meanwhile would be in none.
    with client.pipeline(transaction=True) as counts:
        for part in ("wait", "inline-wait"):
            counts.llen(f"{DEFAULT_BASE}:{part}")
        for part in ("active", "delayed"):
            counts.zcard(f"{DEFAULT_BASE}:{part}")
        for source in LISTS:
            counts.llen(source)
            counts.llen(own_key(source, "ready"))
            for part in ("active", "delayed"):
                counts.zcard(own_key(source, part))
        return sum(counts.execute())


def _dead(client: Any) -> list[Any]:
    return [kept for source in (*LISTS, DEFAULT_BASE) for kept in records(client, "dead", source)]


def _buried(client: Any) -> set[tuple[str, int]]:
    """Return what was given up and kept, by receiver: it was not delivered, and it is not lost."""
    buried = set()
    for kept in _dead(client):
        hook = kept.state.get("webhook")
        buried |= {(name, number) for name in ([hook] if hook else NAMES) for number in numbers(kept.body)}
    return buried


def _reasons(client: Any) -> Counter[str]:
    return Counter(str(kept.state.get("reason")) for kept in _dead(client))


def main() -> int:
    arguments = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10.0)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    arguments.add_argument("--rate", type=float, default=20.0, help="jobs a second")
    arguments.add_argument("--report", type=Path, help="write the report here too")
    given = arguments.parse_args()
    ledger = SettlementRecorder(NAMES)
    with ExitStack() as stack:
        server = RedisServer(appendonly=True, appendfsync="always", password=CANARIES["redis"])
        stack.enter_context(server)
        hooks = stack.enter_context(endpoints(ledger, given.seed))
        replicas = []
        for number in range(1, REPLICAS + 1):
            proxy = stack.enter_context(RedisProxy(server.port))
            replicas.append(Replica(f"daemon-{number}", server.url, proxy, hooks))
            stack.callback(replicas[-1].daemon.close)
        outcome = Soak(server, replicas, hooks, ledger).run(given.minutes, given.seed, given.rate)
        judgements = judge(outcome)
    text = report(outcome, judgements)
    sys.stdout.write(text)
    if given.report:
        given.report.write_text(text)
    return 0 if all(judgement.kept for judgement in judgements) else 1


if __name__ == "__main__":
    sys.exit(main())
