"""When colours and cursor control are used."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sockudo_queue.runtime import streams

NAMES = ("NO_COLOR", "FORCE_COLOR", "TERM")


@pytest.fixture
def terminal() -> Iterator[int]:
    leader, follower = os.openpty()
    yield follower
    os.close(leader)
    os.close(follower)


@pytest.fixture
def file() -> Iterator[int]:
    descriptor = os.open(os.devnull, os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("variables", "on_terminal", "in_file"),
    [
        ({"TERM": "xterm"}, True, False),
        ({}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
        ({"TERM": "xterm", "FORCE_COLOR": "0"}, False, False),
        ({"TERM": "xterm", "FORCE_COLOR": ""}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
    ],
)
def test_colours_follow_the_environment_and_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
    terminal: int,
    file: int,
    variables: dict[str, str],
    on_terminal: bool,
    in_file: bool,
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (streams.has_colours(terminal), streams.has_colours(file)) == (on_terminal, in_file)
    assert streams.can_draw(terminal) == (variables.get("TERM") != "dumb")
    assert not streams.can_draw(file)
