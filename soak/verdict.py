"""What a soak came to: the figures, whether they are as promised, and a report of both."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from soak.replicas import Replica, Sample

ROWS: Final = 10
MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that was counted."""

    minutes: float
    seed: int
    jobs: int
    deliveries: int
    lost: Sequence[tuple[str, int]]
    dead: Counter[str]
    twice: int
    excused: int
    left: int
    faults: Counter[str]
    replicas: Sequence[Replica]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One promise, what was seen of it, and whether it was kept."""

    promise: str
    seen: str
    kept: bool


def judge(outcome: Outcome) -> list[Judgement]:
    """Hold the figures against the promises."""
    replicas = outcome.replicas
    codes = [code for replica in replicas for code in replica.exit_codes]
    alarms = [line for replica in replicas for line in replica.alarms()]
    leaked = sorted({name for replica in replicas for name in replica.leaked()})
    deaths = [code for replica in replicas for code in replica.deaths]
    stop = max((replica.longest_stop for replica in replicas), default=0.0)
    lasting = replicas[0].samples
    return [
        Judgement(
            "nothing is lost", f"{len(outcome.lost)} deliveries {list(outcome.lost)[:5] or ''}", not outcome.lost
        ),
        Judgement("nothing is left over", f"{outcome.left} records", outcome.left == 0),
        Judgement(
            "twice only what was in hand at a fault",
            f"{outcome.twice} of {outcome.deliveries} deliveries, at most {outcome.excused} excused",
            outcome.twice <= outcome.excused,
        ),
        Judgement("an orderly stop ends with 0", f"{len(codes)} stops, codes {sorted(set(codes))}", set(codes) <= {0}),
        Judgement("a stop is bounded", f"the longest took {stop:.1f} s", stop < 20),
        Judgement("no thread dies, nothing unforeseen", f"{len(alarms)} lines {alarms[:3] or ''}", not alarms),
        Judgement("no daemon ends by itself", f"{len(deaths)} ends {deaths[:3] or ''}", not deaths),
        Judgement("secrets stay secret", f"{leaked or 'none'} in the output", not leaked),
        _flat("threads", lasting, lambda sample: sample.threads, 10, 0),
        _flat("descriptors", lasting, lambda sample: sample.descriptors, 15, 0),
        _flat("memory, MB", lasting, lambda sample: sample.rss / MEGABYTE, 8, 0.1),
    ]


def report(outcome: Outcome, judgements: Sequence[Judgement]) -> str:
    """Return it all in Markdown."""
    kept = all(judgement.kept for judgement in judgements)
    lines = [
        f"**{'Passed' if kept else 'FAILED'}**: {outcome.minutes:g} minutes, seed {outcome.seed}, "
        f"{len(outcome.replicas)} daemons, {outcome.jobs} jobs, {outcome.deliveries} deliveries, "
        f"{sum(outcome.faults.values())} faults.",
        "",
        "Faults: " + ", ".join(f"{name} {count}" for name, count in sorted(outcome.faults.items())) + ".",
        "Dead letters: "
        + (", ".join(f"{name} {count}" for name, count in sorted(outcome.dead.items())) or "none")
        + ".",
        "",
        "| promise | seen | |",
        "|---|---|---|",
        *[f"| {it.promise} | {it.seen} | {'kept' if it.kept else 'BROKEN'} |" for it in judgements],
        "",
        "The daemon that was never ended:",
        "",
        "| minute | threads | descriptors | memory, MB |",
        "|---|---|---|---|",
        *map(_row, _tenths(outcome.replicas[0].samples)),
    ]
    return "\n".join(lines) + "\n"


def _flat(
    name: str, samples: Sequence[Sample], value: Callable[[Sample], float], above: float, share: float
) -> Judgement:
    """Compare the end of a curve with its beginning, which is what comes after a tenth of warming up."""
    values = [value(sample) for sample in samples[len(samples) // 10 :]]
    third = max(len(values) // 3, 1)
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    return Judgement(f"flat: {name}", f"{first:.0f}, then {last:.0f}", last <= first * (1 + share) + above)


def _tenths(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    size = max(len(samples) // ROWS, 1)
    return [samples[start : start + size] for start in range(0, len(samples), size)][:ROWS]


def _row(part: Sequence[Sample]) -> str:
    threads, descriptors, memory = (
        statistics.median(values)
        for values in zip(*[(it.threads, it.descriptors, it.rss / MEGABYTE) for it in part], strict=True)
    )
    return f"| {part[-1].at / 60:.1f} | {threads:.0f} | {descriptors:.0f} | {memory:.0f} |"
