"""The examples of filters in docs/behaviour.md are correct."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import msgspec
import pytest

from sockudo_queue.core.apps import Filter, Webhook
from sockudo_queue.core.hmac_keys import hmac_key
from sockudo_queue.core.job import Event, Job
from sockudo_queue.core.matching import match

PAGE: Final = Path(__file__).parents[3] / "docs" / "behaviour.md"
EXAMPLE: Final = re.compile(r"^\| `(\{.*?\})` \| (.*?) \| (.*?)\|$", re.MULTILINE)
CHANNEL: Final = re.compile(r"`([^`]*)`")
EXAMPLES: Final = EXAMPLE.findall(PAGE.read_text())


def channels(cell: str) -> list[str]:
    """Return the channels of a cell; `""` is the empty one."""
    return ["" if channel == '""' else channel for channel in CHANNEL.findall(cell)]


def passes(rules: dict[str, str], channel: str) -> bool:
    event = Event("e", channel, msgspec.Raw(b"{}"))
    job = Job("k", "i", hmac_key("s"), 1, (event,), None, 0)
    return bool(match(job, [Webhook("w", frozenset({"e"}), filter=Filter(**rules))]))  # type: ignore[arg-type]


def test_every_documented_example_is_found() -> None:
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize(("rules", "matching", "others"), EXAMPLES)
def test_documented_example_is_correct(rules: str, matching: str, others: str) -> None:
    assert all(passes(json.loads(rules), channel) for channel in channels(matching))
    assert not any(passes(json.loads(rules), channel) for channel in channels(others))
