"""Writes docs/settings.md and config.example.json from the models; with --check, compares them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sockudo_queue.config.options import OPTIONS, Option
from sockudo_queue.config.wording import bounds_of, default_of, shown
from sockudo_queue.core.ceilings import (
    MAX_EVENT_TYPES,
    MAX_HEADERS,
    MAX_ID_LENGTH,
    MAX_JITTER,
    MAX_NAMESPACES,
    OVER_LIMIT_FACTOR,
)

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settings.md"
EXAMPLE = ROOT / "config.example.json"
GROUPS = (
    ("The queue", ("driver", "workers", "one_core", "claim_batch")),
    ("One Redis server", ("redis", "master_tls")),
    ("Redis Sentinel", ("sentinel",)),
    ("Redis cluster", ("redis_cluster",)),
    ("Amazon SQS", ("sqs",)),
    ("The memory driver", ("memory",)),
    ("Apps", ("apps",)),
    ("Apps in PostgreSQL", ("postgres",)),
    ("Apps in MySQL or MariaDB", ("mysql",)),
    ("Apps in DynamoDB", ("dynamodb",)),
    ("Leases, limits and stopping", ("reliability",)),
    ("Retries", ("retry",)),
    ("Deliveries", ("delivery",)),
    ("Ceilings", ("limits",)),
    ("The attempt history", ("history",)),
    ("Alerts", ("alerts",)),
    ("Metrics and logs", ("metrics", "logging")),
)
NOTES = {
    "Ceilings": f"""\
Each setting above limits one value of a job, a webhook or an app; [behaviour.md](behaviour.md#ceilings) describes the
effect in detail. These limits are fixed:

| value | limit | above it |
|---|---|---|
| `job_id`, `app_id` and `app_key` of a job | {MAX_ID_LENGTH} characters each | dead letter `unreadable` |
| headers of a webhook | {MAX_HEADERS} | the webhook is invalid |
| `event_types` of a webhook | {MAX_EVENT_TYPES} | the webhook is invalid |
| `channel_namespaces` of a webhook | {MAX_NAMESPACES} | the webhook is invalid |
| `retry.jitter` of a webhook | {MAX_JITTER}, or the daemon's own value if that is larger | lowered to the limit |
| webhooks of an app | {OVER_LIMIT_FACTOR} times `webhooks_per_app` | the whole app exceeds its limit |

`job_id` and `app_key` must be ASCII.
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
<!-- Written by scripts/settings-page; change sockudo_queue/config/models/ instead. -->

# Settings

Settings come from three sources. A later one takes precedence over an earlier one:

1. the defaults below;
2. a settings file;
3. environment variables.

**Settings file.** JSON or TOML, by its extension. It can be the Sockudo server's own file. The daemon uses the file
named by `--config` or `QUEUE_CONFIG_FILE`. Without these, it uses the first of `config/config.toml`,
`config/config.json` and `config.json` in the working directory. `config.example.json` contains every setting with its
default.

`${VAR}` and `${VAR:-default}` in the file are replaced by environment variables. The value is inserted as it is, even
if it contains quotes.

**Environment variables.**

- An empty variable counts as unset. So does one that starts with `tcp://`: Kubernetes sets such variables for a
  Service of that name.
- A variable marked † has a second form with the suffix `_FILE`: the path of a file that contains the value, for
  example `REDIS_URL_FILE=/run/secrets/redis`. One line break at the end of the file is ignored.
- Lists are separated by commas, or written as JSON.
- Booleans are `true`, `1`, `yes`, `on` and `false`, `0`, `no`, `off`.

**Invalid settings.** All errors are reported together, one line each, and the exit code is 2. The lines never contain
values. Unknown keys and variables are warnings. They are errors with `--strict`, and also if they can only be meant
for this daemon. A variable that may belong to another program counts as unknown if its name is almost that of a
setting (`REDIS_URLL`, `queue_workers`). All settings of Sockudo 5.2.0 are known names. An [invalid
webhook](behaviour.md#bad-input) does not affect anything else, unless `--strict` is given.

**Workers.** `QUEUE_WORKERS` applies to every driver. If it is unset, Sockudo's own `concurrency` of the driver is
used; 0 means the default here. On Redis, the daemon warns about a concurrency of 0: it stops the workers of a Sockudo
server up to 4.7, but disables all webhooks of a server from 5.0 on
([deployment.md](deployment.md#taking-over-from-sockudos-own-workers)).

**Apps** and their webhooks are in the file under `app_manager.array.apps`, or in Sockudo's database
([apps.md](apps.md)). Apps in the file are read again when the file changes and on SIGHUP. All other settings are read
only at the start, including the default retry policy and timeout of webhooks.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *(line for title, groups in GROUPS for line in _section(title, groups))])


def _section(title: str, groups: Sequence[str]) -> list[str]:
    head = [
        f"## {title}",
        "",
        "| variable | key in the file | default | unit, range | meaning |",
        "|---|---|---|---|---|",
    ]
    return [
        *head,
        *(_row(option) for option in OPTIONS if option.attribute.partition(".")[0] in groups),
        "",
        *([NOTES[title]] if title in NOTES else []),
    ]


def _row(option: Option) -> str:
    mark = " †" if option.secret else ""
    names = ", ".join(f"`{name}`{mark}" for name in option.variables) or "none"
    default = shown(default_of(option.attribute), masked=False)
    unit = next((unit for ending, unit in UNITS.items() if option.attribute.endswith(ending)), "")
    limits = ", ".join(part for part in (unit, bounds_of(option.attribute)) if part)
    return f"| {names} | `{option.key}` | {f'`{default}`' if default else 'unset'} | {limits} | {option.meaning} |"


def example() -> str:
    """Return the example file: every setting with its default, and the apps of the current file."""
    document: dict[str, Any] = {}
    for option in OPTIONS:
        _put(document, option.key, _plain(_example_value(option)))
    apps = json.loads(EXAMPLE.read_text())["app_manager"]["array"]
    _put(document, "app_manager.array", apps)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _example_value(option: Option) -> Any:
    # Sockudo does not accept null for its number of workers, so the example has the number that null means here.
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
    """Write both files, or compare them."""
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
