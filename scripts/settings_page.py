"""Writes docs/settings.md and config.example.json from the table of settings and the models; with --check, compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sockudo_queue.config import options
from sockudo_queue.config.options import Option
from sockudo_queue.config.wording import bounds_of, default_of, shown
from sockudo_queue.core.ceilings import (
    LONGEST_ID,
    MOST_EVENT_TYPES,
    MOST_HEADERS,
    MOST_JITTER,
    MOST_NAMESPACES,
    OVER_LIMIT_FACTOR,
)

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settings.md"
EXAMPLE = ROOT / "config.example.json"
GROUPS = (
    ("The queue", options.QUEUE),
    ("One Redis server", options.REDIS),
    ("Redis Sentinel", options.SENTINEL),
    ("Redis cluster", options.CLUSTER),
    ("Amazon SQS", options.SQS),
    ("The memory driver", options.MEMORY),
    ("Apps", options.APPS),
    ("Apps in PostgreSQL", options.POSTGRES),
    ("Apps in MySQL or MariaDB", options.MYSQL),
    ("Apps in DynamoDB", options.DYNAMODB),
    ("Leases, limits and stopping", options.RELIABILITY),
    ("Retries", options.RETRY),
    ("Deliveries", options.DELIVERY),
    ("Ceilings", options.LIMITS),
    ("The attempt history", options.HISTORY),
    ("Metrics and logs", options.OBSERVATION),
)
NOTES = {
    "Ceilings": f"""\
Fixed ceilings: {LONGEST_ID} characters of a job's `job_id`, `app_id` and `app_key` each (over it: dead letter
`unreadable`); `job_id` and `app_key` must be ASCII;
{MOST_HEADERS} headers, {MOST_EVENT_TYPES} `event_types` and {MOST_NAMESPACES} `channel_namespaces` of a webhook (over
it: the webhook is invalid); {MOST_JITTER} for a webhook's own `retry.jitter`,
or the daemon's own if that is larger (more is lowered to it). An app with more webhooks than {OVER_LIMIT_FACTOR} times
`webhooks_per_app` is over its ceiling as a whole.
""",
}
UNITS = {
    "_ms": "milliseconds",
    "_kib": "KiB",
    "_seconds": "seconds",
    "visibility_timeout": "seconds",
    "_bytes": "bytes",
    "memory_capacity": "jobs",
    "cache_ttl": "seconds",
    "cache_capacity": "apps",
    "failed_retention": "dead letters",
    "history.length": "entries",
}
INTRODUCTION = """\
<!-- Written by scripts/settings-page; change the table in sockudo_queue/config/options.py instead. -->

# Settings

Settings come from three places, and a later one wins: the defaults below, a file, the environment.

**The file** is JSON or TOML (by its ending), and may be the Sockudo server's own. It is the one named by `--config` or
`QUEUE_CONFIG_FILE`, else the first of `config/config.toml`, `config/config.json` and `config.json` in the working
directory. `${VAR}` and `${VAR:-default}` stand for variables; a value is put in as it is, also one with quotes in it.
`config.example.json` holds every setting with its default.

**The environment.** An empty variable counts as unset. So does one that begins with `tcp://`, which is what Kubernetes
puts there for a Service of that name. A variable marked with † may instead be set with `_FILE` behind its name, to the
path of a file that holds the secret; one line end at the file's end is not part of it. Lists are separated by commas,
or written as JSON. Booleans are `true`, `1`, `yes`, `on` and `false`, `0`, `no`, `off`.

**Faults.** Everything that is wrong is told at once, one line each, and the exit code is 2. No line holds a value.
Unknown keys and variables are warned about, and are faults with `--strict` or where only this daemon could have been
meant. Of variables that may belong to other programs, those with almost the name of one that is read count as unknown
(`REDIS_URLL`, `queue_workers`). All names that Sockudo 5.2.0 reads are known.
A webhook that is [invalid](behaviour.md#bad-input) costs only itself, unless `--strict` is given.

**Ceilings** of a job, a webhook and an app are below; [behaviour.md](behaviour.md#ceilings) says what happens over one.

**Workers.** `QUEUE_WORKERS` counts on every driver. Without it Sockudo's own `concurrency` of the driver counts. A
concurrency of 0 means the default here. On Redis it is reported: it stops the workers of a Sockudo server up to 4.7 and
switches all webhooks of one from 5.0 on off ([deployment.md](deployment.md#taking-over-from-sockudos-own-workers)).

**Apps** and their webhooks stand in the file under `app_manager.array.apps`, or in a database of Sockudo's; see
[apps.md](apps.md). Those of the file are read again when it changes and on SIGHUP; every other setting, also the retry
and timeout that webhooks fall back to, is read at the start.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *(line for title, group in GROUPS for line in _section(title, group))])


def _section(title: str, group: Sequence[Option]) -> list[str]:
    head = [
        f"## {title}",
        "",
        "| variable | key in the file | default | unit, bounds | meaning |",
        "|---|---|---|---|---|",
    ]
    return [*head, *map(_row, group), "", *([NOTES[title]] if title in NOTES else [])]


def _row(option: Option) -> str:
    mark = " †" if option.secret else ""
    names = ", ".join(f"`{name}`{mark}" for name in option.variables) or "none"
    default = shown(default_of(option.attribute), masked=False)
    unit = next((unit for ending, unit in UNITS.items() if option.attribute.endswith(ending)), "")
    limits = ", ".join(part for part in (unit, bounds_of(option.attribute)) if part)
    return f"| {names} | `{option.key}` | {f'`{default}`' if default else 'unset'} | {limits} | {option.meaning} |"


def example() -> str:
    """Return the example file: every setting with its default, and the apps that the present file shows."""
    document: dict[str, Any] = {}
    for option in options.OPTIONS:
        _put(document, option.key, _plain(_example_value(option)))
    apps = json.loads(EXAMPLE.read_text())["app_manager"]["array"]
    _put(document, "app_manager.array", apps)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _example_value(option: Option) -> Any:
    # Sockudo knows no null for its number of workers, so the example has the number that null means here.
    return default_of("workers" if option.attribute.endswith(".concurrency") else option.attribute)


def _put(document: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    for section in sections:
        document = document.setdefault(section, {})
    document[name] = value


def _plain(value: Any) -> Any:
    match value:
        case tuple():
            return [_plain(each) for each in value]
        case BaseModel():
            return value.model_dump(mode="json")
        case None | bool() | int() | float() | Mapping():
            return value
    return shown(value, masked=False)


def main() -> int:
    """Write both, or compare them."""
    files = {PAGE: page(), EXAMPLE: example()}
    if "--check" in sys.argv[1:]:
        old = [path.name for path, text in files.items() if not path.exists() or path.read_text() != text]
        sys.stdout.write("".join(f"{name} is not current: run scripts/settings-page\n" for name in old))
        return 1 if old else 0
    for path, text in files.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
