"""The command line: sub-commands, flags and exit codes.

Exit codes: 0 stopped as asked, 1 a second signal came or something could not be put back, 2 bad settings,
3 could not start, 4 gave up after repeated deaths of its threads.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from sockudo_queue import __version__, logs
from sockudo_queue.app_documents import load_with_apps
from sockudo_queue.apps import App, StaticApps
from sockudo_queue.errors import SettingsError, StartError
from sockudo_queue.settings import Loaded

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
            print(f"sockudo-queue: {fault}", file=sys.stderr)  # noqa: T201 - before the log exists, for a person
        code = EXIT_BAD_SETTINGS
    except StartError as error:
        print(f"sockudo-queue: {error}", file=sys.stderr)  # noqa: T201 - the same
        code = EXIT_COULD_NOT_START
    logs.flush(FLUSH_SECONDS)
    sys.stderr.flush()
    # Threads may still sit in attempts that hang, and closing a libcurl handle whose resolver hangs takes seconds.
    os._exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sockudo-queue", description="Delivers Sockudo's webhooks off a queue.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="deliver webhooks until a signal comes")
    run.add_argument("--config", metavar="FILE", help="a JSON or TOML file; Sockudo's own will do")
    run.add_argument("--strict", action="store_true", help="refuse unknown settings instead of warning")
    run.set_defaults(command=_run)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(command=_version)
    return parser


def _run(options: argparse.Namespace) -> int:
    from sockudo_queue.daemon import Daemon  # here, so that "version" and "--help" answer at once

    loaded, apps = _load(options)
    logs.set_up(loaded.settings.logging.level, loaded.settings.logging.format)
    log = logs.get_logger()
    for warning in loaded.warnings:
        log.warning("settings.warning", text=warning)
    for note in loaded.notes:
        log.info("settings.note", text=note)
    return Daemon(loaded.settings, StaticApps(apps)).run()


def _load(options: argparse.Namespace) -> tuple[Loaded, tuple[App, ...]]:
    return load_with_apps({}, options.config, os.environ, Path.cwd(), options.strict)


def _version(_options: argparse.Namespace) -> int:
    sys.stdout.write(f"sockudo-queue {__version__}\n")
    sys.stdout.flush()
    return 0
