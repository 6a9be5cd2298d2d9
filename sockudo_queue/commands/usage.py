"""What `--help` says about each command: what it does, how it is called, and what its exit codes mean.

A command is added to `cli.py` and here; a test fails where one of the two is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

_BAD_SETTINGS: Final = "a setting or an argument cannot be used"
_NO_QUEUE: Final = "the queue's server cannot be used; nothing was done"
_NO_STORE: Final = "the queue's server or the database of apps cannot be used; nothing was done"


class Usage(NamedTuple):
    """The help of one command beside its arguments. `examples` are what follows the program's name.

    No dataclass: their import costs `health` 8 ms.
    """

    description: str
    examples: tuple[str, ...]
    exit_codes: Mapping[int, str]

    def epilog(self, program: str) -> str:
        """Return examples and exit codes as they stand at the end of the help."""
        examples = [f"  {program} {each}".rstrip() for each in self.examples]
        codes = [f"  {code}  {meaning}" for code, meaning in self.exit_codes.items()]
        return "\n".join(["examples:", *examples, "", "exit codes:", *codes])


PROGRAM: Final = Usage(
    "Takes Sockudo's webhook jobs off the queue and delivers them to your endpoints.",
    ("check --config config.json", "run --config config.json", "COMMAND --help"),
    {
        0: "done, or stopped as requested",
        1: "the answer is no, or not everything was done",
        2: _BAD_SETTINGS,
        3: "could not start, or the queue's server cannot be used",
        4: "run only: gave up after repeated deaths of its threads",
    },
)

USAGES: Final[Mapping[str, Usage]] = {
    "run": Usage(
        "Deliver webhooks until a signal comes. SIGTERM and SIGINT stop it after the deliveries in progress; SIGHUP "
        "reads the apps of the file again. Settings come from the environment and a file; the environment wins.",
        ("run --config config.json", "run --strict"),
        {
            0: "stopped as requested",
            1: "a second signal came, or something could not be put back on the queue",
            2: _BAD_SETTINGS,
            3: "could not start: a port is taken, or the system gives too few threads or descriptors",
            4: "gave up after repeated deaths of its threads",
        },
    ),
    "check": Usage(
        "Check the settings, the queue's server, the apps and every endpoint, as a daemon with these settings would "
        "meet them. Nothing is sent to an endpoint without --probe, nor to QUEUE_ALERT_URL without --alert.",
        ("check --config config.json", "check --probe", "check --alert", "check --json"),
        {0: "no error was found", 1: "an error was found", 2: "run would refuse these settings"},
    ),
    "push": Usage(
        "Put jobs on the queue, as Sockudo would. Nothing is put unless every line is a job that can be delivered.",
        ("push jobs.jsonl", "push --config config.json - < jobs.jsonl"),
        {0: "all jobs are on the queue", 1: "not all jobs were put", 2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "dead-letters": Usage(
        "List, show, replay and purge jobs that could not be delivered.",
        ("dead-letters list", "dead-letters VERB --help"),
        {0: "done", 1: "nothing was found, or not everything was done", 2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "dead-letters list": Usage(
        "List dead letters, the newest last, with the number of each reason. Filters must all hold.",
        ("dead-letters list --webhook orders --newer-than 2h", "dead-letters list --json --limit 0"),
        {0: "listed, even if there are none", 1: "this driver keeps none that a command can reach"}
        | {2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "dead-letters show": Usage(
        "Show one dead letter with its history, without its secrets. A job's id shows every dead letter of the job.",
        ("dead-letters show 2f6c.0", "dead-letters show 2f6c.0 --raw body.json"),
        {0: "shown", 1: "there is no such dead letter", 2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "dead-letters replay": Usage(
        "Deliver again what dead letters still owe. Choose them by id, by filters or with --all. It can be interrupted "
        "and repeated: each dead letter is taken once.",
        ("dead-letters replay --webhook orders --dry-run", "dead-letters replay --all --rate 50"),
        {0: "replayed", 1: "nothing was chosen, or an id was not found", 2: _BAD_SETTINGS, 3: _NO_STORE},
    ),
    "dead-letters purge": Usage(
        "Remove dead letters for good, after asking. Choose them by id, by filters or with --all.",
        ("dead-letters purge --older-than 7d", "dead-letters purge --all --yes"),
        {0: "removed", 1: "nothing was chosen, not confirmed, or an id was not found", 2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "attempts": Usage(
        "Search the history of attempts, the newest first. No entry does not mean that nothing was delivered: the "
        "lines above the answer say what is recorded, and since when.",
        ("attempts --channel private-orders-7 --since 2h", "attempts --webhook orders --status 503 --follow"),
        {
            0: "found",
            1: "nothing was found, or the history cannot be searched from here",
            2: _BAD_SETTINGS,
            3: _NO_QUEUE,
        },
    ),
    "attempts show": Usage(
        "Show what became of a job: each webhook, each try, and how it ended.",
        ("attempts show 3f0c5a",),
        {0: "found", 1: "there is no entry of the job", 2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "attempts purge": Usage(
        "Remove the entries of an app for good, after asking.",
        ("attempts purge --app shop", "attempts purge --app shop --yes"),
        {0: "removed", 1: "not confirmed", 2: _BAD_SETTINGS, 3: _NO_QUEUE},
    ),
    "stats": Usage(
        "Show queue depth, dead letters by reason, and the state of each webhook. The queue's server and the daemon "
        "are both asked; if one does not answer, the other is still shown.",
        ("stats --config config.json", "stats --url http://10.0.0.7:9602 --url http://10.0.0.8:9602"),
        {0: "shown, even if a daemon does not answer", 2: _BAD_SETTINGS, 3: "the queue's server cannot be used"},
    ),
    "send-test": Usage(
        "Send a test event to the webhooks of an app, from here and signed as the daemon signs, and show each answer. "
        "The receiver cannot tell it from a real event but for the job id, which begins with test-.",
        ("send-test shop --config config.json", "send-test shop channel_occupied --webhook orders --queue"),
        {0: "every webhook accepted it, or it is on the queue", 1: "a webhook failed, or none wants the event"}
        | {2: _BAD_SETTINGS, 3: _NO_STORE},
    ),
    "sign": Usage(
        "Print the signature of a body, as the header X-Pusher-Signature holds it.",
        ("sign --app shop body.json", "sign --secret-file secret - < body.json"),
        {0: "printed", 2: _BAD_SETTINGS, 3: "the database of apps cannot be used"},
    ),
    "verify": Usage(
        "Check a signature against a body, and name the likely cause where it is wrong.",
        ("verify SIGNATURE --app shop body.json",),
        {0: "the signature is right", 1: "the signature is wrong", 2: _BAD_SETTINGS}
        | {3: "the database of apps cannot be used"},
    ),
    "demo": Usage(
        "Show everything at work on this host: the daemon, two receivers and a few jobs, without a Redis.",
        ("demo",),
        {0: "everything came out as expected", 1: "something did not, or it was interrupted"},
    ),
    "health": Usage(
        "Ask the daemon on this host whether it is alive. Only QUEUE_METRICS_HOST, QUEUE_METRICS_PORT and "
        "QUEUE_METRICS_TLS_CERT_FILE are read, so it is cheap enough for a health check.",
        ("health", "health --ready"),
        {0: "the daemon says yes", 1: "the daemon says no, or does not answer"},
    ),
    "version": Usage("Print the version.", ("version",), {0: "printed"}),
}
