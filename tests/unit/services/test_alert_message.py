"""The page about alerts lists exactly the types that exist, and the data of each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from sockudo_queue.core import alert
from sockudo_queue.services.alert_message import message_of

PAGE: Final = Path(__file__).parents[3] / "docs" / "alerts.md"
ALWAYS: Final = {"alerts_lost", "replica"}


def data_of(each: alert.Alert) -> set[str]:
    return set(json.loads(message_of(each, "host:1").body)["data"])


def samples() -> list[alert.Alert]:
    return [
        alert.breaker_opened("a", "b", 0.0, reason="r", failing_s=1, open_s=1),
        alert.breaker_closed("a", "b", 0.0, failing_s=1),
        alert.dead_letter("a", "b", 0.0, reason="r", last="l"),
        alert.loss(alert.DEAD_LETTERS_TRIMMED, 1, 0.0),
        alert.loss(alert.RECORDS_LOST, 1, 0.0),
        alert.loss(alert.JOBS_EVICTED, 1, 0.0),
        alert.broker_changed("r", 0.0),
        alert.broker_changed(None, 0.0),
        alert.source_changed("s", "r", 0.0),
        alert.source_changed("s", None, 0.0),
        alert.trial_alert(0.0),
    ]


def test_page_lists_every_type_with_its_data() -> None:
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|.*\| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    page = {name: set(re.findall(r"`([^`]+)`", fields)) | ALWAYS for name, fields in rows}
    assert page == {each.type: data_of(each) for each in samples()}
    assert page.keys() == set(alert.TYPES)


def test_every_message_has_its_own_id() -> None:
    assert message_of(samples()[0], "host:1").id != message_of(samples()[0], "host:1").id
