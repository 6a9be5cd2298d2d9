"""The texts of `--help` for each command: description, examples and exit codes.

Add a command to `cli.py` and here; a test fails if one of the two is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

_BAD_SETTINGS: Final = "a setting or an argument is invalid"
_NO_QUEUE: Final = "the queue server cannot be used; nothing was done"
_CUT_SHORT: Final = "the queue server cannot be used; the output says what was done before"
_NO_STORE: Final = "the queue server or the app database cannot be used; nothing was done"


class Usage(NamedTuple):
    """The help of one command in addition to its arguments. `examples` leave out the program's name.

    No dataclass: their import costs `health` 8 ms.
    """

    description: str
    examples: tuple[str, ...]
    exit_codes: Mapping[int, str]

    def epilog(self, program: str) -> str:
        """Return examples and exit codes for the end of the help."""
        examples = [f"  {program} {each}".rstrip() for each in self.examples]
        codes = [f"  {code}  {meaning}" for code, meaning in self.exit_codes.items()]
        return "\n".join(["examples:", *examples, "", "exit codes:", *codes])


PROGRAM: Final = Usage(
    "Takes webhook jobs of a Sockudo server from its queue and delivers them to your endpoints.",
    ("check --config config.json", "run --config config.json", "COMMAND --help"),
    {
        0: "success, or stopped as requested",
        1: "negative result, or only partly done",
        2: _BAD_SETTINGS,
        3: "could not start, or the queue server cannot be used",
        4: "run only: too many thread crashes",
    },
)

USAGES: Final[Mapping[str, Usage]] = {
    "run": Usage(
        "Deliver webhooks until SIGTERM or SIGINT. The daemon then finishes the attempts in flight and exits. SIGHUP "
        "reloads the apps. Environment variables take precedence over the file.",
        ("run --config config.json", "run --strict"),
        {
            0: "stopped as requested",
            1: "a second SIGTERM or SIGINT arrived, or a claim could not be returned to the queue",
            2: _BAD_SETTINGS,
            3: "could not start: a port is in use, or the system allows too few threads or file descriptors",
            4: "too many thread crashes",
        },
    ),
    "check": Usage(
        "Check the settings, the queue server, the apps and every endpoint, as a daemon with the same settings would "
        "use them. Nothing is sent to an endpoint without --probe, nor to QUEUE_ALERT_URL without --alert.",
        ("check --config config.json", "check --probe", "check --alert", "check --json"),
        {0: "no error was found", 1: "an error was found", 2: "run would refuse these settings"},
    ),
    "push": Usage(
        "Add jobs to the queue, as Sockudo would. If a line is not a deliverable job, nothing is added.",
        ("push jobs.jsonl", "push --config config.json - < jobs.jsonl"),
        {
            0: "all jobs are on the queue",
            1: "a line is not a job, the driver is memory, or only some jobs were added",
            2: _BAD_SETTINGS,
            3: "the queue server cannot be used; no job was confirmed",
        },
    ),
    "dead-letters": Usage(
        "List, show, replay and purge jobs that could not be delivered.",
        ("dead-letters list", "dead-letters VERB --help"),
        {0: "success", 1: "nothing was selected, an id was not found, or not everything was done"}
        | {2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "dead-letters list": Usage(
        "List dead letters, the newest last, and count them by reason. If several filters are given, all must match.",
        ("dead-letters list --webhook orders --newer-than 2h", "dead-letters list --json --limit 0"),
        {0: "success, even if there are none", 1: "commands cannot reach the dead letters of this driver"}
        | {2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "dead-letters show": Usage(
        "Show one dead letter and its history, without secrets. With the id of a job, show all its dead letters.",
        ("dead-letters show 2f6c.0", "dead-letters show 2f6c.0 --raw body.json"),
        {0: "success", 1: "there is no such dead letter", 2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "dead-letters replay": Usage(
        "Deliver dead letters again, only to the webhooks that did not get them. Select them by id, by filters or with "
        "--all. A replay can be interrupted and repeated: each dead letter is taken once.",
        ("dead-letters replay --webhook orders --dry-run", "dead-letters replay --all --rate 50"),
        {
            0: "success",
            1: "no id, filter or --all was given, an id was not found, or none of the ids could be replayed",
            2: _BAD_SETTINGS,
            3: "the queue server or the app database cannot be used; the output says what was done before",
        },
    ),
    "dead-letters purge": Usage(
        "Permanently delete dead letters after confirmation. Select them by id, by filters or with --all.",
        ("dead-letters purge --older-than 7d", "dead-letters purge --all --yes"),
        {
            0: "success",
            1: "no id, filter or --all was given, an id was not found, or the deletion was not confirmed",
            2: _BAD_SETTINGS,
            3: _CUT_SHORT,
        },
    ),
    "attempts": Usage(
        "Search the attempt history and show the newest entries in chronological order. A missing entry does not prove "
        "that nothing was delivered: the lines above the answer say what is recorded, and since when.",
        ("attempts --channel private-orders-7 --since 2h", "attempts --webhook orders --status 503 --follow"),
        {
            0: "success, even if there are no entries",
            1: "commands cannot search the history of this driver",
            2: _BAD_SETTINGS,
            3: _NO_QUEUE,
        },
    ),
    "attempts show": Usage(
        "Show all recorded attempts of a job for each webhook, and the result.",
        ("attempts show 3f0c5a",),
        {0: "success", 1: "there is no entry of the job", 2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "attempts purge": Usage(
        "Permanently delete the history entries of an app after confirmation.",
        ("attempts purge --app shop", "attempts purge --app shop --yes"),
        {0: "success", 1: "not confirmed, or a part of the history could not be searched, so entries may be left"}
        | {2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "pause": Usage(
        "Hold the deliveries of a webhook until it is resumed. Held deliveries are neither attempted nor turned "
        "into dead letters. All daemons of the queue apply this within 2 s, and also after a restart. With the "
        "drivers memory and sqs, pause the webhook in the app file.",
        ("pause shop orders", "pause shop orders --json"),
        {
            0: "success, even if it was already paused",
            1: "there is no such webhook, or not supported with this driver",
        }
        | {2: _BAD_SETTINGS, 3: _NO_STORE},
    ),
    "resume": Usage(
        "Deliver to a paused webhook again. Held deliveries start to go out within 2 s, the oldest first. This needs "
        "the driver redis or redis-cluster.",
        ("resume shop orders",),
        {
            0: "success, even if it was not paused",
            1: "there is no such webhook, the app file pauses it, or not supported with this driver",
        }
        | {2: _BAD_SETTINGS, 3: _NO_STORE},
    ),
    "try-now": Usage(
        "Close the circuit breaker of a webhook in all daemons, for example after its endpoint was fixed, so that new "
        "deliveries are attempted without waiting for the breaker. This needs the driver redis or redis-cluster.",
        ("try-now shop orders",),
        {
            0: "success; all daemons close it within 2 s",
            1: "there is no such webhook, or not supported with this driver",
        }
        | {2: _BAD_SETTINGS, 3: _NO_STORE},
    ),
    "stats": Usage(
        "Show queue depth, dead letters by reason, and the state of each webhook. The figures come from the queue "
        "server and from the daemon; if one does not answer, the other is still shown.",
        ("stats --config config.json", "stats --url http://10.0.0.7:9602 --url http://10.0.0.8:9602"),
        {0: "success, even if a daemon does not answer", 2: _BAD_SETTINGS, 3: "the queue server cannot be used"},
    ),
    "send-test": Usage(
        "Send a signed test event to the webhooks of an app and show each response. It has the format of a real event; "
        "its job id begins with test-.",
        ("send-test shop --config config.json", "send-test shop channel_occupied --webhook orders --queue"),
        {0: "every webhook accepted the event, or it is on the queue", 1: "a webhook failed, or none wants the event"}
        | {2: _BAD_SETTINGS, 3: _NO_STORE},
    ),
    "sign": Usage(
        "Print the signature of a body, as in the header X-Pusher-Signature.",
        ("sign --app shop body.json", "sign --secret-file secret - < body.json"),
        {0: "success", 2: _BAD_SETTINGS, 3: "the app database cannot be used"},
    ),
    "verify": Usage(
        "Verify the signature of a body, and name the likely cause if it is wrong.",
        ("verify SIGNATURE --app shop body.json",),
        {0: "the signature is valid", 1: "the signature is wrong", 2: _BAD_SETTINGS}
        | {3: "the app database cannot be used"},
    ),
    "demo": Usage(
        "Run a demo on this host: the daemon, two receivers and a few jobs, without Redis.",
        ("demo",),
        {0: "all results were as expected", 1: "a result was not as expected, or the demo was interrupted"},
    ),
    "health": Usage(
        "Check whether the daemon on this host is alive. To be fast enough for a health check, this reads only "
        "QUEUE_METRICS_HOST, QUEUE_METRICS_PORT and QUEUE_METRICS_TLS_CERT_FILE.",
        ("health", "health --ready"),
        {0: "the daemon is alive (or ready)", 1: "it is not, or does not answer"},
    ),
    "version": Usage("Print the version.", ("version",), {0: "success"}),
}
