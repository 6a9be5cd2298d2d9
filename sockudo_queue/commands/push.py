"""`push`: add jobs from a file or standard input to the queue, as Sockudo would."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sockudo_queue.commands.context import EXIT_NO, EXIT_NO_BROKER, driver_of, load
from sockudo_queue.commands.terminal import Progress, plural, print_error, print_json, print_line
from sockudo_queue.core import job
from sockudo_queue.errors import BrokerError, BrokerRefused, MalformedJob, SettingsError


def push(options: argparse.Namespace) -> int:
    """Add one job per line; add nothing unless every line is a deliverable job."""
    loaded, _ = load(options)
    if loaded.settings.driver == "memory":
        ingress = loaded.settings.memory
        print_error(
            "push: with the driver memory, jobs exist only in the running daemon; POST them to "
            f"http://{ingress.ingress_host}:{ingress.ingress_port}/jobs instead"
        )
        return EXIT_NO
    bodies = []
    for number, line in _lines(options.file):
        try:
            job.decode(line)
        except MalformedJob as fault:
            print_error(f"push: line {number}: {fault}; nothing was pushed")
            return EXIT_NO
        bodies.append((number, line))
    pushed = 0
    progress = Progress("pushed", len(bodies), silent=options.json)
    with driver_of(loaded) as driver:
        for number, body in bodies:
            try:
                driver.put(body)
            except BrokerError as error:
                progress.end()
                print_error(_stopped(pushed, len(bodies), number, error))
                if options.json:
                    print_json({"pushed": pushed, "of": len(bodies), "stopped_at_line": number})
                return EXIT_NO if pushed else EXIT_NO_BROKER
            pushed += 1
            progress.at(pushed)
    progress.end()
    if options.json:
        print_json({"pushed": pushed, "of": pushed})
    else:
        print_line(f"pushed {plural(pushed, 'job')}")
    return 0


def _stopped(pushed: int, total: int, number: int, error: BrokerError) -> str:
    """Return how many jobs are on the queue. Without an answer, the state of the current job is unknown."""
    in_hand = (
        f"the job in line {number} was not"
        if isinstance(error, BrokerRefused)
        else f"it is unknown whether the job in line {number} was, because the answer is missing"
    )
    return f"push: {pushed} of {plural(total, 'job')} were pushed, and {in_hand}; continue from that line. {error}"


def _lines(name: str) -> Iterator[tuple[int, bytes]]:
    """Return the lines that are not empty, with their numbers."""

    def of(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
        return ((number, line) for number, line in enumerate(map(bytes.strip, stream), 1) if line)

    if name == "-":
        yield from of(sys.stdin.buffer)
        return
    try:
        with Path(name).open("rb") as stream:
            yield from of(stream)
    except OSError as error:
        raise SettingsError([f"push: {name} cannot be read: {error.strerror}"]) from None
