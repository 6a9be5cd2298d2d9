"""The texts of `--help` for each command: description, examples and exit codes.

Add a command to `cli.py` and here; a test fails if one of the two is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

_BAD_SETTINGS: Final = "a setting or an argument is invalid"
_NO_QUEUE: Final = "the queue server cannot be used; nothing was done"
_CUT_SHORT: Final = "the queue server cannot be used; the output says what was done before"
_STORE_CUT_SHORT: Final = "the queue server or the app database cannot be used; the output says what was done before"
_NO_STORE: Final = "the queue server or the app database cannot be used; nothing was done"
_NO_LETTERS: Final = "the driver is memory or none, so commands cannot read dead letters"
_NO_HISTORY: Final = "the driver is memory, sqs or none, so commands cannot read the history"
_NO_WEBHOOK: Final = "there is no such webhook, or the driver does not support this command"


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
    "Take webhook jobs of a Sockudo server from its queue and deliver them to your endpoints.",
    ("check --config config.json", "run --config config.json", "COMMAND --help"),
    {
        0: "success, or stopped as requested",
        1: "negative result, or only partly done",
        2: _BAD_SETTINGS,
        3: "could not start, or the queue server or the app database cannot be used",
        4: "run only: too many thread crashes, or the main thread failed",
    },
)

USAGES: Final[Mapping[str, Usage]] = {
    "run": Usage(
        "Deliver webhooks until SIGTERM or SIGINT. The daemon then finishes the attempts in flight and exits. SIGHUP "
        "reloads the apps and their webhooks. Environment variables take precedence over the settings file.",
        ("run --config config.json", "run --strict"),
        {
            0: "stopped by a signal",
            1: "a second SIGTERM or SIGINT arrived, or a claimed job could not be put back into the queue",
            2: _BAD_SETTINGS,
            3: "could not start: a port is in use, or the system allows too few threads or file descriptors",
            4: "ten threads crashed within a minute, or the main thread failed",
        },
    ),
    "check": Usage(
        "Check the settings, the queue server, the apps and every endpoint, as a daemon with the same settings would "
        "use them. Nothing is sent to an endpoint without --probe, nor to QUEUE_ALERT_URL without --alert.",
        ("check --config config.json", "check --probe", "check --alert", "check --json"),
        {
            0: "no error was found",
            1: "an error was found",
            2: "the command `run` would refuse these settings, or an argument is invalid",
        },
    ),
    "push": Usage(
        "Add jobs to the queue, as Sockudo would. If a line is not a valid job, nothing is added.",
        ("push jobs.jsonl", "push --config config.json - < jobs.jsonl"),
        {
            0: "all jobs are on the queue",
            1: "a line is not a valid job, the driver is memory, or only some jobs were added",
            2: _BAD_SETTINGS,
            3: "the queue server cannot be used; it did not confirm that any job was added",
        },
    ),
    "dead-letters": Usage(
        "List, show, replay and purge dead letters: jobs and deliveries that failed for good.",
        ("dead-letters list", "dead-letters VERB --help"),
        {
            0: "success",
            1: "no id, filter or --all was given; an id was not found; or not everything was done; see VERB --help",
            2: _BAD_SETTINGS,
            3: _STORE_CUT_SHORT,
        },
    ),
    "dead-letters list": Usage(
        "List dead letters, the newest last, and count them by reason. If several filters are given, all must match.",
        ("dead-letters list --webhook orders --newer-than 2h", "dead-letters list --json --limit 0"),
        {0: "success, even if there are none", 1: _NO_LETTERS} | {2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "dead-letters show": Usage(
        "Show one dead letter with its failed attempts, without secrets. With the id of a job, show all dead letters "
        "of the job.",
        ("dead-letters show 2f6c.0", "dead-letters show 2f6c.0 --raw body.json"),
        {0: "success", 1: f"there is no such dead letter; or {_NO_LETTERS}", 2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "dead-letters replay": Usage(
        "Deliver dead letters again, only to the webhooks that did not get them. Select them by id, by filters or with "
        "--all. An interrupted replay can be repeated; it then takes the dead letters that are left.",
        ("dead-letters replay --webhook orders --dry-run", "dead-letters replay --all --rate 50"),
        {
            0: "success",
            1: "no id, filter or --all was given; an id was not found; none of the ids could be replayed; or "
            f"{_NO_LETTERS}",
            2: _BAD_SETTINGS,
            3: _STORE_CUT_SHORT,
        },
    ),
    "dead-letters purge": Usage(
        "Permanently delete dead letters after confirmation. Select them by id, by filters or with --all.",
        ("dead-letters purge --older-than 7d", "dead-letters purge --all --yes"),
        {
            0: "success",
            1: "no id, filter or --all was given; an id was not found; the deletion was not confirmed; or "
            f"{_NO_LETTERS}",
            2: _BAD_SETTINGS,
            3: _CUT_SHORT,
        },
    ),
    "attempts": Usage(
        "Search the attempt history and show the newest matching entries in chronological order. Not every attempt "
        "is recorded: the lines above the entries say which attempts are, and since when. So a missing entry does not "
        "prove that there was no attempt.",
        ("attempts --channel private-orders-7 --since 2h", "attempts --webhook orders --status 503 --follow"),
        {
            0: "success, even if there are no entries",
            1: _NO_HISTORY,
            2: _BAD_SETTINGS,
            3: _NO_QUEUE,
        },
    ),
    "attempts show": Usage(
        "Show the newest 2,000 recorded attempts of a job, by webhook, and the result.",
        ("attempts show 3f0c5a",),
        {0: "success", 1: f"there is no entry for the job; or {_NO_HISTORY}", 2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "attempts purge": Usage(
        "Permanently delete the history entries of an app after confirmation.",
        ("attempts purge --app shop", "attempts purge --app shop --yes"),
        {
            0: "success",
            1: f"not confirmed; a part of the history could not be searched (entries may be left); or {_NO_HISTORY}",
        }
        | {2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "pause": Usage(
        "Hold the deliveries of a webhook until it is resumed. Held deliveries are neither attempted nor turned "
        "into dead letters. All daemons on the queue apply the pause within 2 s. It outlasts restarts. This needs "
        'the driver redis or redis-cluster; with memory or sqs, set "paused": true for the webhook in the app '
        "file.",
        ("pause shop orders", "pause shop orders --json"),
        {
            0: "success, even if it was already paused",
            1: _NO_WEBHOOK,
        }
        | {2: _BAD_SETTINGS, 3: _NO_STORE},
    ),
    "resume": Usage(
        "End the pause of a webhook. The deliveries that were held start to go out within 2 s, the oldest first. This "
        "needs the driver redis or redis-cluster.",
        ("resume shop orders",),
        {
            0: "success, even if it was not paused",
            1: "there is no such webhook, the app file pauses it, or the driver does not support this command",
        }
        | {2: _BAD_SETTINGS, 3: _NO_STORE},
    ),
    "try-now": Usage(
        "Close the circuit breaker of a webhook in all daemons. The breaker opens after repeated failures and then "
        "stops attempts for a while. Use this command after the endpoint was fixed, so that new deliveries are "
        "attempted immediately. Deliveries that were already deferred keep their start time. This needs the driver "
        "redis or redis-cluster.",
        ("try-now shop orders",),
        {
            0: "success; all daemons close it within 2 s",
            1: _NO_WEBHOOK,
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
        "Send a signed test event to the webhooks of an app and show each response. The event has the format of a real "
        "one; its job id begins with test-.",
        ("send-test shop --config config.json", "send-test shop channel_occupied --webhook orders --queue"),
        {
            0: "the event was accepted by every webhook that wants it, or (with --queue) was added to the queue",
            1: "a webhook did not accept the event, none wants it, or --queue does not support this driver",
        }
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
        "Check whether the daemon on this host is alive. To start fast, the command ignores the settings file and "
        "reads only the variables QUEUE_METRICS_HOST, QUEUE_METRICS_PORT and QUEUE_METRICS_TLS_CERT_FILE.",
        ("health", "health --ready"),
        {0: "the daemon is alive (or ready)", 1: "it is not alive (or ready), or does not answer"},
    ),
    "version": Usage("Print the version.", ("version",), {0: "success"}),
}
