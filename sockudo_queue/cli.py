"""The command line: sub-commands, options and exit codes.

Exit codes: 0 stopped as requested, 1 a second signal arrived or a claim could not be returned to the queue (for
commands: negative result, or only partly done), 2 invalid settings, 3 could not start, or the queue server cannot be
used, 4 too many thread crashes, or the main thread failed.

The modules of a command are imported when it runs, so that "version" and "health" start fast. The texts of the help are
imported when a help is printed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

from sockudo_queue import __version__
from sockudo_queue.core.ages import age_seconds
from sockudo_queue.errors import AppStoreUnavailable, BrokerError, OutputError, SettingsError, StartError
from sockudo_queue.runtime import signal_mask, streams

if TYPE_CHECKING:
    from sockudo_queue.daemon import Daemon

EXIT_NO: Final = 1
EXIT_BAD_SETTINGS: Final = 2
EXIT_COULD_NOT_START: Final = 3
FLUSH_SECONDS: Final = 1.0
MIN_RATE: Final = 0.001
"""Letters per second. A lower rate would mean pauses that are longer than a system can sleep."""

MAX_PAGE_SIZE: Final = 10_000
"""Entries of one answer, which are sorted in memory."""
OUTCOMES: Final = ("delivered", "retryable", "permanent", "dead-letter")

_PROGRAM: Final = "sockudo-queue"
_VERSION: Final = f"{_PROGRAM} {__version__}"

Command = Callable[[argparse.Namespace], int]
_LETTER_ID: Final = "id of a dead letter; the id of a job selects all its dead letters"


class _OptionalCommand(argparse.HelpFormatter):
    """Puts a sub-command that may be omitted into brackets, which argparse does not."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        text = super()._format_args(action, default_metavar)
        return text if action.required or action.nargs != argparse.PARSER else f"[{text}]"


class _Parser(argparse.ArgumentParser):
    """Accepts options and other arguments in any order.

    By itself argparse gives all positional arguments what stands before the first flag, and so an optional one nothing:
    `verify SIGNATURE --app ID FILE` would be refused.
    """

    _is_inside = _needs_command = False
    _commands: Mapping[str, Any] = {}

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.color = False  # From Python 3.14 on argparse colours help, with rules of its own for when.

    def add_commands(self, metavar: str, *, required: bool = True) -> argparse._SubParsersAction[Any]:
        """Add sub-commands, of which one must be given if `required`."""
        if not required:
            self.formatter_class = _OptionalCommand
        added: argparse._SubParsersAction[Any] = self.add_subparsers(required=required, metavar=metavar)
        self._commands, self._needs_command = added.choices, required
        return added

    def format_help(self) -> str:
        """Add description, examples and exit codes to what `argparse` writes, which would join their lines."""
        from sockudo_queue.commands.usage import PROGRAM, USAGES

        command = self.prog.removeprefix(_PROGRAM).strip()
        usage = USAGES.get(command) if command else PROGRAM
        if usage is None:
            return super().format_help()
        self.description = usage.description
        return f"{super().format_help()}\n{usage.epilog(_PROGRAM)}\n"

    def _print_message(self, message: str, file: Any = None) -> None:
        """As in `argparse`, which ignores a help that cannot be written."""
        if file is sys.stdout:
            streams.write(message)
        else:
            streams.write_error(message)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in `argparse`, whose parsing in any order calls this again and supports neither commands nor `--`."""
        given = sys.argv[1:] if args is None else list(args)
        if self._needs_command:  # else a word may be the value of an option
            self._refuse_unknown_command(given)
        if self._is_inside or self._commands or "--" in given:
            return super().parse_known_args(given, namespace)
        self._is_inside = True
        try:
            return self.parse_known_intermixed_args(given, namespace)
        finally:
            self._is_inside = False

    def _refuse_unknown_command(self, given: Sequence[str]) -> None:
        """Suggest the most similar command; argparse would list all of them."""
        word = next((each for each in given if not each.startswith("-")), None)
        if word is None or word in self._commands:
            return
        import difflib  # here, since it costs "health" and the others milliseconds

        nearest = difflib.get_close_matches(word, self._commands, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"the commands are {', '.join(self._commands)}"
        self.error(f"no such command: {word!r}; {hint}")


def main() -> NoReturn:
    """Run one sub-command and leave with its exit code."""
    streams.set_up()
    # A plugin could read every setting, and pydantic would look for one in all installed packages.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    code = run(None)
    # Threads may still sit in attempts that hang, and closing a libcurl handle whose resolver hangs takes seconds.
    os._exit(code)


def run(arguments: Sequence[str] | None) -> int:
    """Run one sub-command and return its exit code; errors are written to standard error."""
    try:
        try:
            code = _answer(arguments)
        finally:  # also before an error is reported: `main` ends the process without a flush
            streams.flush()
    except SettingsError as error:
        for fault in error.faults:
            _print_error(fault)
        code = EXIT_BAD_SETTINGS
    except BrokerError as error:
        whose = "" if str(error).startswith("SQS") else "the queue server: "  # SQS's faults name it themselves
        _print_error(f"{whose}{error}")
        code = EXIT_COULD_NOT_START
    except (StartError, AppStoreUnavailable) as error:
        _print_error(str(error))
        code = EXIT_COULD_NOT_START
    except OutputError as error:
        _print_error(str(error))
        code = EXIT_NO
    except KeyboardInterrupt:
        _print_error("interrupted")
        code = EXIT_NO
    except BrokenPipeError:  # the reader has closed the pipe, like "head"
        code = EXIT_NO
    return code


def _answer(arguments: Sequence[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    try:
        options = _parser(only_run=bool(given) and given[0] == "run").parse_args(given)
    except SystemExit as end:  # argparse has already written the help or the error
        return int(end.code or 0)
    if options.command is not _run:
        signal_mask.restore_signals()
    return int(options.command(options))


def _parser(*, only_run: bool = False) -> argparse.ArgumentParser:
    """Return the parser of all commands, or of `run` alone: all of them take 2 % of the daemon's start."""
    parser = _Parser(prog=_PROGRAM)
    parser.add_argument("--version", action="version", version=_VERSION, help="print the version")
    commands = parser.add_commands("COMMAND")
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument("--config", metavar="FILE", help="settings file, JSON or TOML; can be Sockudo's own file")
    strict = argparse.ArgumentParser(add_help=False)
    strict.add_argument("--strict", action="store_true", help="treat unknown settings and invalid webhooks as errors")
    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument("--json", action="store_true", help="write JSON instead of text")
    run = commands.add_parser("run", parents=[configured, strict], help="deliver webhooks until stopped")
    run.set_defaults(command=_run)
    if only_run:
        return parser
    check = commands.add_parser(
        "check", parents=[configured, strict, machine], help="check the settings, the queue server and every endpoint"
    )
    check.add_argument("--probe", action="store_true", help="also send each webhook one signed POST without events")
    check.add_argument("--alert", action="store_true", help="send a test alert to QUEUE_ALERT_URL")
    check.add_argument(
        "--acl", action="store_true", help="print the ACL command that creates Sockudo 5's Redis user, and exit"
    )
    check.set_defaults(command=_tool("check", "check"))
    push = commands.add_parser("push", parents=[configured, machine], help="add jobs to the queue, as Sockudo would")
    push.add_argument(
        "file",
        nargs="?",
        default="-",
        metavar="FILE",
        help="file with one job per line, as JSON; - is standard input (default)",
    )
    push.set_defaults(command=_tool("push", "push"))
    _add_dead_letters(commands, configured, machine)
    _add_attempts(commands, configured, machine)
    _add_operators(commands, configured, machine)
    stats = commands.add_parser(
        "stats", parents=[configured, machine], help="show the queue, dead letters and webhooks"
    )
    stats.add_argument(
        "--url",
        action="append",
        metavar="URL",
        help="ask the daemon at this URL, not the one in the settings; can be given several times",
    )
    stats.set_defaults(command=_tool("stats", "stats"))
    _add_tests(commands, configured, machine)
    demo = commands.add_parser("demo", help="run a demo with two receivers and without Redis")
    demo.set_defaults(command=_demo)
    health = commands.add_parser("health", parents=[machine], help="check whether the daemon on this host is alive")
    health.add_argument(
        "--ready", action="store_true", help="check whether it is ready (/readyz) instead of alive (/livez)"
    )
    health.set_defaults(command=_health)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(command=_version)
    return parser


def _add_dead_letters(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], *parents: argparse.ArgumentParser
) -> None:
    letters = commands.add_parser("dead-letters", help="list, show, replay and purge dead letters")
    assert isinstance(letters, _Parser), "commands are made by the class of their parser"
    verbs = letters.add_commands("VERB")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--webhook", metavar="NAME", help="only deliveries to this webhook")
    chosen.add_argument("--app", metavar="ID", help="only dead letters of this app")
    chosen.add_argument("--reason", metavar="WORD", help="only dead letters with this reason, for example exhausted")
    chosen.add_argument("--older-than", metavar="AGE", type=_age, help="only dead letters older than this, such as 2h")
    chosen.add_argument("--newer-than", metavar="AGE", type=_age, help="only dead letters newer than this, such as 15m")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("ids", nargs="*", metavar="ID", help=_LETTER_ID)
    named.add_argument("--all", action="store_true", help="select all dead letters")
    listing = verbs.add_parser("list", parents=[*parents, chosen], help="list dead letters, the newest last")
    listing.add_argument(
        "--limit", metavar="N", type=_limit, help="list the newest N; 0 means all (default: 50; with --json: no limit)"
    )
    listing.set_defaults(command=_tool("dead_letters", "list_dead_letters"))
    show = verbs.add_parser("show", parents=parents, help="show a dead letter without secrets")
    show.add_argument("id", metavar="ID", help=_LETTER_ID)
    show.add_argument(
        "--raw",
        metavar="FILE",
        help="write the job's bytes to a new file, the app's secret included; - is standard output",
    )
    show.set_defaults(command=_tool("dead_letters", "show"))
    replay = verbs.add_parser("replay", parents=[*parents, chosen, named], help="deliver dead letters again")
    replay.add_argument("--to", metavar="NAME", help="deliver to this webhook instead of the original one")
    replay.add_argument("--rate", metavar="N", type=_rate, help="replay at most N dead letters per second")
    replay.add_argument("--dry-run", action="store_true", help="only count what would be replayed")
    replay.set_defaults(command=_tool("replays", "replay"))
    purge = verbs.add_parser("purge", parents=[*parents, chosen, named], help="delete dead letters after confirmation")
    purge.add_argument("--yes", action="store_true", help="skip the confirmation")
    purge.set_defaults(command=_tool("replays", "purge"))


def _add_attempts(commands: argparse._SubParsersAction[Any], *parents: argparse.ArgumentParser) -> None:
    attempts = commands.add_parser("attempts", parents=[*parents], help="search the attempt history")
    attempts.set_defaults(command=_tool("attempt_history", "list_attempts"))
    attempts.add_argument("--webhook", metavar="NAME", help="only entries of this webhook")
    attempts.add_argument("--app", metavar="ID", help="only entries for this app")
    attempts.add_argument("--job", metavar="ID", help="only entries for this job")
    attempts.add_argument("--channel", metavar="NAME", help="only entries with an event of this channel")
    attempts.add_argument("--event", metavar="TYPE", help="only entries with an event of this type")
    attempts.add_argument("--outcome", choices=OUTCOMES, help="only entries with this outcome")
    attempts.add_argument("--status", metavar="N", type=_status, help="only entries with this HTTP status")
    attempts.add_argument(
        "--reason",
        metavar="WORD",
        help="only entries with this reason, such as status-503; the name of a class, such as status, selects all its "
        "reasons",
    )
    attempts.add_argument(
        "--since",
        metavar="TIME",
        type=_moment,
        help="only entries after this time, such as 15m (ago) or 2026-03-01T12:00Z",
    )
    attempts.add_argument(
        "--until", metavar="TIME", type=_moment, help="only entries before this time, in the same form"
    )
    attempts.add_argument(
        "--limit", metavar="N", type=_page_limit, default=50, help="show the newest N entries (default: 50)"
    )
    attempts.add_argument(
        "--page", metavar="TOKEN", help="show older entries; TOKEN is printed below a page if there are more"
    )
    attempts.add_argument("--follow", action="store_true", help="print new entries until interrupted")
    # Options before the verb must not be overwritten by the defaults of the verb.
    again = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    again.add_argument("--config", metavar="FILE", help="settings file, JSON or TOML; can be Sockudo's own file")
    again.add_argument("--json", action="store_true", help="write JSON instead of text")
    verbs = attempts.add_commands("VERB", required=False)
    show = verbs.add_parser("show", parents=[again], help="show the recorded attempts of a job, by webhook")
    show.add_argument("show_job", metavar="JOB", help="id of the job, as in the header X-Sockudo-Job-Id")
    show.set_defaults(command=_tool("attempt_history", "show"))
    purge = verbs.add_parser("purge", parents=[again], help="delete the entries of an app")
    purge.add_argument("--app", dest="purged_app", metavar="ID", required=True, help="id of the app")
    purge.add_argument("--yes", action="store_true", help="skip the confirmation")
    purge.set_defaults(command=_tool("attempt_history", "purge"))


def _add_operators(commands: argparse._SubParsersAction[Any], *parents: argparse.ArgumentParser) -> None:
    for name, function, text in (
        ("pause", "pause", "hold the deliveries of a webhook until it is resumed"),
        ("resume", "resume", "end the pause of a webhook"),
        ("try-now", "try_now", "close the circuit breaker of a webhook"),
    ):
        command = commands.add_parser(name, parents=parents, help=text)
        command.add_argument("app", metavar="APP", help="id of the app")
        command.add_argument("webhook", metavar="WEBHOOK", help="name of the webhook")
        command.set_defaults(command=_tool("operators", function), prog=name)


def _add_tests(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], *parents: argparse.ArgumentParser
) -> None:
    secret = argparse.ArgumentParser(add_help=False)
    secret.add_argument(
        "--secret-file", metavar="FILE", help="file with the app's secret, if the settings file has none"
    )
    test = commands.add_parser("send-test", parents=[*parents, secret], help="send a test event to an app's webhooks")
    test.add_argument("app", metavar="APP", help="id of the app")
    test.add_argument("event", nargs="?", metavar="EVENT", help="event type (default: one that the webhook wants)")
    test.add_argument(
        "--webhook",
        metavar="NAME",
        help="call only this webhook; with --queue, send an event that it wants (other webhooks that want it get it "
        "too)",
    )
    test.add_argument(
        "--channel", metavar="NAME", help="channel of the event (default: one that the filter of the webhook accepts)"
    )
    test.add_argument(
        "--queue",
        action="store_true",
        help="send through the queue and the daemon, to every webhook that wants the event",
    )
    test.add_argument("--key", metavar="KEY", help="the app's key, if the settings file has none")
    test.set_defaults(command=_tool("send_test", "send_test"))
    signed = argparse.ArgumentParser(add_help=False)
    signed.add_argument("--app", metavar="ID", help="id of the app whose secret is used")
    signed.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="file with the body; - is standard input (default)"
    )
    sign = commands.add_parser("sign", parents=[*parents, secret, signed], help="print the signature of a body")
    sign.set_defaults(command=_tool("signatures", "sign"))
    verify = commands.add_parser("verify", parents=[*parents, secret], help="verify the signature of a body")
    verify.add_argument("signature", metavar="SIGNATURE", help="value of the header X-Pusher-Signature")
    verify.add_argument("--app", metavar="ID", help="id of the app whose secret is used")
    verify.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="file with the body; - is standard input (default)"
    )
    verify.set_defaults(command=_tool("signatures", "verify"))


def _tool(module: str, name: str) -> Command:
    """Return a command of `sockudo_queue.commands` that is imported when it runs."""

    def run(options: argparse.Namespace) -> int:
        with _without_collections():
            command = getattr(import_module(f"sockudo_queue.commands.{module}"), name)
        return int(command(options))

    return run


def _age(text: str) -> float:
    """Read an age, for example 90s, 15m, 2h or 7d, into seconds."""
    try:
        return age_seconds(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None


def _moment(text: str) -> float:
    """Read a time as seconds since 1970: an age such as 15m, or a date and time by ISO 8601, UTC unless it says so."""
    try:
        return time.time() - _age(text)
    except argparse.ArgumentTypeError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        example = "must be an age such as 15m, or a time such as 2026-03-01T12:00Z"
        raise argparse.ArgumentTypeError(example) from None


def _status(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) == 3):
        raise argparse.ArgumentTypeError("must be a status of three digits; for example 503")
    return int(text)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError("must be a whole number, 0 for all; for example 200")
    return int(text)


def _page_limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= MAX_PAGE_SIZE):
        raise argparse.ArgumentTypeError(
            f"must be a whole number from 1 to {MAX_PAGE_SIZE}; --page shows older entries"
        )
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not MIN_RATE <= rate < 1e9:
        raise argparse.ArgumentTypeError(f"must be a number of at least {MIN_RATE}; for example 100")
    return rate


def _run(options: argparse.Namespace) -> int:
    signal_mask.block_signals()
    with _without_collections():
        from sockudo_queue.observability import logs

        daemon = _make_daemon(options)
        gc.freeze()  # Later collections need not look at the modules either.
    code = daemon.run()
    logs.flush(FLUSH_SECONDS)
    return code


@contextmanager
def _without_collections() -> Iterator[None]:
    """Collect no garbage during imports: modules live as long as the process, and it would take a tenth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _make_daemon(options: argparse.Namespace) -> Daemon:
    from sockudo_queue.apps.file import load_with_apps
    from sockudo_queue.apps.file_watcher import AppSource
    from sockudo_queue.config import working_directory
    from sockudo_queue.core.apps import StaticApps
    from sockudo_queue.daemon import Daemon
    from sockudo_queue.observability import logs
    from sockudo_queue.observability.tracing.factory import make_tracing
    from sockudo_queue.runtime.packages import hidden, postpone_init
    from sockudo_queue.runtime.service_manager import ServiceManager

    loaded, apps = load_with_apps(options.config, os.environ, working_directory(), options.strict)
    logs.set_up(loaded.settings.logging.level, loaded.settings.logging.format)
    log = logs.get_logger()
    for warning in loaded.warnings:
        log.warning("settings.warning", text=warning)
    for note in loaded.notes:
        log.info("settings.note", text=note)
    registry = StaticApps(apps)
    source = AppSource(loaded.apps_document, loaded.settings, registry, os.environ, strict=options.strict)
    tracing = make_tracing(os.environ, loaded.settings.driver, log)
    # It imports all clients of redis-py, also those for asyncio: 5 % of the start. One server needs a connection alone.
    postpone_init("redis")
    with hidden("opentelemetry"):  # redis-py imports its metrics wherever it is installed: 7 % of the start
        return Daemon(loaded.settings, registry, source, ServiceManager(os.environ), tracing)


def _demo(_options: argparse.Namespace) -> int:
    from sockudo_queue.commands.demo import story

    return story.run()


def _health(options: argparse.Namespace) -> int:
    from sockudo_queue.commands import probe

    answers, text = probe.ask(*probe.address(os.environ), path="/readyz" if options.ready else "/livez")
    _print_line(json.dumps({"ok": answers, "text": text}) if options.json else streams.visible(text))
    return 0 if answers else EXIT_NO


def _version(_options: argparse.Namespace) -> int:
    _print_line(_VERSION)
    return 0


def _print_line(line: str) -> None:
    streams.write(line + "\n")


def _print_error(line: str) -> None:
    streams.write_error(f"sockudo-queue: {streams.visible(line)}\n")
