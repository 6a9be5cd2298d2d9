"""The command line: sub-commands, flags and exit codes.

Exit codes: 0 stopped as asked, 1 a second signal came or something could not be put back (for tools: the answer is no),
2 bad settings, 3 could not start, 4 gave up after repeated deaths of its threads.

What a command needs is imported when it runs, so that "version" and "health" answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn

from sockudo_queue import __version__, signals
from sockudo_queue.errors import BrokerError, MalformedJob, SettingsError, StartError

if TYPE_CHECKING:
    from sockudo_queue.apps import App
    from sockudo_queue.settings import Loaded

EXIT_NO: Final = 1
EXIT_BAD_SETTINGS: Final = 2
EXIT_COULD_NOT_START: Final = 3
FLUSH_SECONDS: Final = 1.0


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one sub-command and leave with its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code = int(options.command(options))
    except SettingsError as error:
        for fault in error.faults:
            _complain(fault)
        code = EXIT_BAD_SETTINGS
    except (StartError, BrokerError) as error:
        _complain(str(error))
        code = EXIT_COULD_NOT_START
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads may still sit in attempts that hang, and closing a libcurl handle whose resolver hangs takes seconds.
    os._exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sockudo-queue", description="Delivers Sockudo's webhooks off a queue.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument("--config", metavar="FILE", help="a JSON or TOML file; Sockudo's own will do")
    strict = argparse.ArgumentParser(add_help=False)
    strict.add_argument("--strict", action="store_true", help="refuse unknown settings instead of warning")
    run = commands.add_parser("run", parents=[configured, strict], help="deliver webhooks until a signal comes")
    run.set_defaults(command=_run)
    check = commands.add_parser("check", parents=[configured], help="check the settings and ask the broker")
    check.set_defaults(command=_check, strict=True)
    push = commands.add_parser("push", parents=[configured], help="put jobs on the queue, as Sockudo would")
    push.add_argument("file", nargs="?", default="-", metavar="FILE", help="one job a line; - reads standard input")
    push.set_defaults(command=_push, strict=False)
    demo = commands.add_parser("demo", help="show it at work: the daemon, two receivers, no Redis")
    demo.set_defaults(command=_demo)
    health = commands.add_parser("health", help="ask the daemon on this host whether it is alive")
    health.add_argument("--ready", action="store_true", help="ask whether it is ready instead")
    health.set_defaults(command=_health)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(command=_version)
    return parser


def _run(options: argparse.Namespace) -> int:
    signals.block_signals()
    from sockudo_queue import logs
    from sockudo_queue.app_source import AppSource
    from sockudo_queue.apps import StaticApps
    from sockudo_queue.daemon import Daemon

    loaded, apps = _load(options)
    logs.set_up(loaded.settings.logging.level, loaded.settings.logging.format)
    log = logs.get_logger()
    for warning in loaded.warnings:
        log.warning("settings.warning", text=warning)
    for note in loaded.notes:
        log.info("settings.note", text=note)
    registry = StaticApps(apps)
    source = AppSource(loaded.apps_document, loaded.settings, registry, os.environ, strict=options.strict)
    code = Daemon(loaded.settings, registry, source).run()
    logs.flush(FLUSH_SECONDS)
    return code


def _check(options: argparse.Namespace) -> int:
    """Each line begins with ok, warning or error; settings that cannot be used end it with exit code 2."""
    from sockudo_queue.daemon import make_driver

    loaded, apps = _load(options)
    for warning in loaded.warnings:
        _say(f"warning  {warning}")
    for note in loaded.notes:
        _say(f"ok       {note}")
    webhooks = sum(len(app.webhooks) for app in apps)
    _say(f"ok       settings: from {', '.join(loaded.sources) or 'defaults'}; {len(apps)} apps, {webhooks} webhooks")
    driver = make_driver(loaded.settings)
    try:
        driver.ping()
        counts = ", ".join(f"{count} {state}" for state, count in driver.depth().items())
    except BrokerError as error:
        _say(f"error    broker: {driver.name}: {error}")
        return EXIT_NO
    _say(f"ok       broker: {driver.name} answers; {counts}")
    return 0


def _push(options: argparse.Namespace) -> int:
    """Nothing is pushed unless every line is a job that can be delivered."""
    from sockudo_queue import job
    from sockudo_queue.daemon import make_driver

    loaded, _ = _load(options)
    if loaded.settings.driver == "memory":
        door = loaded.settings.memory
        _complain(
            "push: with the driver memory jobs live in the running daemon; "
            f"POST them to http://{door.ingress_host}:{door.ingress_port}/jobs instead"
        )
        return EXIT_NO
    bodies = []
    for number, line in enumerate(_lines(options.file), 1):
        try:
            job.decode(line)
        except MalformedJob as fault:
            _complain(f"push: line {number}: {fault}; nothing was pushed")
            return EXIT_NO
        bodies.append(line)
    driver = make_driver(loaded.settings)
    for body in bodies:
        driver.put(body)
    _say(f"pushed {len(bodies)}")
    return 0


def _demo(_options: argparse.Namespace) -> int:
    from sockudo_queue.demo import story

    return story.run()


def _health(options: argparse.Namespace) -> int:
    from sockudo_queue import probe

    answers, text = probe.ask(*probe.address(os.environ), "/readyz" if options.ready else "/livez")
    _say(text)
    return 0 if answers else EXIT_NO


def _version(_options: argparse.Namespace) -> int:
    _say(f"sockudo-queue {__version__}")
    return 0


def _load(options: argparse.Namespace) -> tuple[Loaded, tuple[App, ...]]:
    from sockudo_queue.app_documents import load_with_apps

    return load_with_apps({}, options.config, os.environ, Path.cwd(), options.strict)


def _lines(name: str) -> Iterator[bytes]:
    def of(stream: BinaryIO) -> Iterator[bytes]:
        return (line for line in (line.strip() for line in stream) if line)

    if name == "-":
        yield from of(sys.stdin.buffer)
        return
    try:
        with Path(name).open("rb") as stream:
            yield from of(stream)
    except OSError as error:
        raise SettingsError([f"push: {name} cannot be read: {error.strerror}"]) from None


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _complain(line: str) -> None:
    sys.stderr.write(f"sockudo-queue: {line}\n")
