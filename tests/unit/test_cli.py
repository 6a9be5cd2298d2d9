"""The command line in this process: arguments, exit codes, and one line for each fault."""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sockudo_queue import __version__, cli
from sockudo_queue.commands.usage import PROGRAM, USAGES
from sockudo_queue.errors import (
    AppStoreUnavailable,
    BrokerRefused,
    BrokerUnavailable,
    OutputError,
    SettingsError,
    StartError,
)
from tests.helpers.commands import Commands, Ran


@pytest.fixture
def run(tmp_path: Path) -> Commands:
    return Commands(tmp_path, {}, {})


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version_is_one_line(run: Commands, arguments: list[str]) -> None:
    assert run(*arguments) == Ran(0, f"sockudo-queue {__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run", "--nonsense"], ["dead-letters"], ["verify"]])
def test_wrong_arguments_end_with_2_and_name_the_usage(run: Commands, arguments: list[str]) -> None:
    ran = run(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("usage: sockudo-queue")


def test_help_names_every_command(run: Commands) -> None:
    ran = run("--help")

    assert ran.code == 0
    for command in ("run", "check", "push", "dead-letters", "stats", "send-test", "sign", "verify", "demo", "health"):
        assert f"\n    {command}" in ran.out


def test_a_failed_start_leaves_the_garbage_collector_on(run: Commands) -> None:
    run.environment["QUEUE_DRIVER"] = "nonsense"

    for command in ("run", "check"):
        assert run(command).code == cli.EXIT_BAD_SETTINGS
        assert gc.isenabled()


def test_no_library_is_imported_without_need() -> None:
    """Each of them costs every start 15 to 300 ms."""
    program = (
        "import sys, sockudo_queue.cli\n"
        "def loaded(*names): return [name for name in names if name in sys.modules]\n"
        "print(loaded('sockudo_queue.commands.usage', 'pydantic', 'msgspec', 'dataclasses'))\n"
        "import sockudo_queue.commands.dead_letters, sockudo_queue.commands.operators\n"
        "print(loaded('requests', 'pycurl', 'redis', 'structlog', 'prettytable', 'wcwidth', 'tqdm'))\n"
        "import sockudo_queue.commands.check\n"
        "print(loaded('prometheus_client', 'werkzeug', 'structlog', 'redis'))\n"
        "import sockudo_queue.daemon\n"
        "pages = 'sockudo_queue.observability.status_page.'\n"
        "print(loaded('jinja2', 'boto3', 'opentelemetry', pages + 'page', pages + 'dead_letters_pages'))\n"
        "print(loaded('prettytable', 'wcwidth', 'tqdm'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == "[]\n" * 5


def test_no_command_loads_a_plugin_of_pydantic(tmp_path: Path) -> None:
    """It could read every setting, and looking for one takes time."""
    information = tmp_path / "spy-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: spy\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[pydantic]\nspy = spy:plugin\n")
    (tmp_path / "spy.py").write_text("import sys; sys.stderr.write('the plugin was loaded')\nplugin = object()\n")
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "QUEUE_DRIVER": "nonsense"}

    done = subprocess.run(
        [sys.executable, "-m", "sockudo_queue", "run"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env=environment,
    )

    assert done.returncode == cli.EXIT_BAD_SETTINGS
    assert "plugin" not in done.stderr


def lines_of_built_daemon(program: str, directory: Path, config: str = "{}") -> list[str]:
    """Return the output of a program in a process of its own that has built a daemon, which is not started."""
    (directory / "config.json").write_text(config)
    building = (
        "import os, sys; from sockudo_queue import cli\n"
        "daemon = cli._make_daemon(cli._parser(only_run=True).parse_args(['run']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{building}{program}\nsys.stdout.flush(); os._exit(0)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=directory,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return [line for line in done.stdout.splitlines() if not line.startswith('{"timestamp"')]


def test_daemon_for_a_redis_server_imports_only_what_it_needs(tmp_path: Path) -> None:
    """Each of them costs every start 4 to 45 ms."""
    program = (
        "names = ('redis.connection', 'redis.client', 'redis.cluster', 'redis.asyncio', 'tomllib', 'requests',\n"
        "    'urllib3', 'idna', 'prettytable', 'wcwidth', 'opentelemetry', 'sockudo_queue.drivers.redis.cluster',\n"
        "    'sockudo_queue.drivers.redis.sentinel')\n"
        "print([name for name in names if name in sys.modules])\n"
        "from redis import Redis; print(Redis.__module__)"
    )

    assert lines_of_built_daemon(program, tmp_path) == ["['redis.connection']", "redis.client"]


@pytest.mark.parametrize(
    ("link", "config"),
    [
        ("SentinelLink", '{"database": {"redis": {"sentinels": [{"host": "127.0.0.1", "port": 26379}]}}}'),
        ("ClusterLink", '{"queue": {"driver": "redis-cluster"}}'),
    ],
)
def test_daemon_imports_the_clients_that_find_servers(tmp_path: Path, link: str, config: str) -> None:
    program = "print(type(daemon._driver._link).__name__, 'redis.cluster' in sys.modules)"

    assert lines_of_built_daemon(program, tmp_path, config) == [f"{link} True"]


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ('{"queue": {"driver": "sqs"}, "app_manager": {"driver": "dynamodb"}}', "SqsDriver DynamodbStore"),
        ('{"app_manager": {"driver": "pgsql"}}', "RedisDriver PostgresStore"),
        ('{"app_manager": {"driver": "mysql"}}', "RedisDriver MysqlStore"),
    ],
)
def test_daemon_imports_what_its_driver_and_app_store_need(tmp_path: Path, config: str, kinds: str) -> None:
    """Other tests fork their daemons from a process that has imported all drivers."""
    program = "print(type(daemon._driver).__name__, type(daemon._refresher._store).__name__)"

    assert lines_of_built_daemon(program, tmp_path, config) == [kinds]


@pytest.mark.parametrize(
    "rest", [["--strict", "--config", "a.json"], ["--help"], ["--nonsense"], ["more"], ["-x", "-"]]
)
def test_parser_of_run_alone_parses_like_the_whole_one(rest: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def parsed(parser: argparse.ArgumentParser) -> tuple[object, str, str]:
        try:
            result: object = parser.parse_args(["run", *rest])
        except SystemExit as end:
            result = end.code
        return result, *capsys.readouterr()

    assert parsed(cli._parser(only_run=True)) == parsed(cli._parser())


def parsers(parser: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command, and every command of a command, with its parser."""
    parser = parser or cli._parser()
    for name, child in parser._commands.items():
        yield (*path, name), child
        yield from parsers(child, (*path, name))


def test_every_command_has_a_usage_and_every_usage_a_command() -> None:
    assert {" ".join(path) for path, _ in parsers()} == set(USAGES)


@pytest.mark.parametrize("path", [(), *[path for path, _ in parsers()]], ids=" ".join)
def test_help_has_description_examples_and_exit_codes(run: Commands, path: tuple[str, ...]) -> None:
    usage = USAGES[" ".join(path)] if path else PROGRAM

    ran = run(*path, "--help")

    assert ran.code == 0
    assert usage.description in " ".join(ran.out.split())
    assert "\nexamples:\n  sockudo-queue " in ran.out
    assert "\nexit codes:\n  0  " in ran.out


def test_examples_in_help_can_be_parsed() -> None:
    for usage in USAGES.values():
        for example in usage.examples:
            arguments = example.partition(" <")[0].replace("VERB", "list").split()
            if "--help" not in arguments:
                assert cli._parser().parse_args(arguments).command


@pytest.mark.parametrize(
    ("command", "last"), [("attempts", "[VERB ...]"), ("dead-letters", "VERB ..."), ("dead-letters replay", "[ID ...]")]
)
def test_usage_shows_which_arguments_are_required(run: Commands, command: str, last: str) -> None:
    usage = run(*command.split(), "--help").out.partition("\n\n")[0]

    assert usage.endswith(f" {last}")
    assert usage.count("VERB") == last.count("VERB")


@pytest.mark.parametrize("columns", [60, 160])
def test_description_in_help_fits_the_terminal(run: Commands, columns: int) -> None:
    run.environment["COLUMNS"] = str(columns)

    description = run("dead-letters", "replay", "--help").out.partition("\n\n")[2].partition("\n\n")[0]

    assert max(map(len, description.splitlines())) <= columns
    assert len(description.splitlines()) == (1 + len(USAGES["dead-letters replay"].description) // (columns - 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chek"], "no such command: 'chek'; did you mean check?"),
        (["dead-leters", "list"], "no such command: 'dead-leters'; did you mean dead-letters?"),
        (["dead-letters", "reply"], "no such command: 'reply'; did you mean replay?"),
        (["dead-letters", "xyz"], "no such command: 'xyz'; the commands are list, show, replay, purge"),
        (["\x1b[2Jrun"], "no such command: '\\x1b[2Jrun'; did you mean run?"),
    ],
)
def test_unknown_command_is_answered_with_the_nearest_one(run: Commands, arguments: list[str], message: str) -> None:
    ran = run(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1].endswith(f"error: {message}")


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (SettingsError(["one", "two"]), 2, ["sockudo-queue: one", "sockudo-queue: two"]),
        (BrokerUnavailable("refused"), 3, ["sockudo-queue: the queue server: refused"]),
        (BrokerRefused("SQS refuses the key"), 3, ["sockudo-queue: SQS refuses the key"]),
        (StartError("no port"), 3, ["sockudo-queue: no port"]),
        (AppStoreUnavailable("no database"), 3, ["sockudo-queue: no database"]),
        (OutputError("the disk is full"), 1, ["sockudo-queue: the disk is full"]),
        (KeyboardInterrupt(), 1, ["sockudo-queue: interrupted"]),
        (BrokenPipeError(), 1, []),
    ],
)
def test_error_gives_one_line_and_its_exit_code(
    run: Commands, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, lines: list[str]
) -> None:
    def fail(_options: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(cli, "_version", fail)

    ran = run("version")

    assert (ran.code, ran.err.splitlines()) == (code, lines)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("7D", 604_800), ("1w", 604_800)]
)
def test_age_is_read_into_seconds(text: str, seconds: float) -> None:
    assert cli._age(text) == seconds


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (cli._age, "15"),
        (cli._age, "-1h"),
        (cli._age, "h"),
        (cli._age, "\u0663h"),
        (cli._age, "9999999999h"),
        (cli._limit, "-1"),
        (cli._limit, "1.5"),
        (cli._limit, "\u0663"),
        (cli._rate, "0"),
        (cli._rate, "nan"),
        (cli._rate, "inf"),
        (cli._rate, "fast"),
    ],
)
def test_number_out_of_bounds_is_refused(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be a"):
        read(text)


def test_flags_and_arguments_come_in_any_order() -> None:
    options = cli._parser().parse_args(["verify", "SIGNATURE", "--app", "shop", "body.json"])

    assert (options.signature, options.app, options.file) == ("SIGNATURE", "shop", "body.json")


def test_output_before_a_failure_is_written() -> None:
    """`main` ends the process without a flush, so what was printed before the failure would be gone."""
    script = (
        "import sys; from sockudo_queue import cli, errors; from sockudo_queue.commands import terminal\n"
        "def fail(options): terminal.print_line('said'); raise errors.BrokerUnavailable('gone')\n"
        "cli._version = fail; cli.main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, "version"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (ran.returncode, ran.stdout) == (3, "said\n")
    assert "gone" in ran.stderr
