"""Fixtures and hooks for every test: a clean environment, real servers, and no skipped tests in CI.

For the suites shared by all drivers, passed tests are counted per driver; in CI, too few fail the run.

Several processes may share a run (`scripts/test` starts them). The tests of one group then run one after another in one
of the processes: those that measure times, and those with large servers. All others run in any free process.
"""

from __future__ import annotations

import functools
import gc
import os
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis.utils
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.drivers.floors import FLOORS, driver_of, too_few
from tests.faults.measures import FIGURES, SCALE
from tests.helpers.aws_models import share_models
from tests.helpers.daemon import DaemonProcess
from tests.helpers.receiver import Receiver
from tests.helpers.redis_binaries import STARTED
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_server import RedisServer
from tests.helpers.sqs_server import CREDENTIALS, SqsServer

# Settings of the daemon and of its libraries: those of a developer's own environment must not affect a test.
_WIPED_PREFIXES: Final = ("QUEUE_", "REDIS_", "DATABASE_", "SOCKUDO_", "AWS_", "APP_MANAGER_", "CACHE_TTL_")
_WIPED_SUFFIX: Final = "_PROXY"
# The scale of the fault tests and their servers are settings of the tests, never of the daemon.
_KEPT: Final = "SOCKUDO_QUEUE_TEST_"

GROUPS: Final = {
    **{
        f"tests/faults/test_{name}.py": "times"
        for name in (
            "backlog",
            "ceilings",
            "hostile_receivers",
            "sqs",
            "tenants",
        )
    },
    "tests/faults/test_batches.py::test_batches_share": "times",
    "tests/faults/test_batches.py::test_jobs_that_wait": "times",
    "tests/faults/test_batches.py::test_replica_that_joins": "times",
    "tests/faults/test_isolation.py::test_a_backlog": "times",
    "tests/faults/test_isolation.py::test_five": "times",
    "tests/faults/test_isolation.py::test_one": "times",
    "tests/faults/test_outages.py::test_a_daemon_outlives_redis": "times",
    "tests/faults/test_outages.py::test_probes": "times",
    "tests/faults/test_unknown_apps.py::test_jobs": "times",
    "tests/e2e/test_idle.py": "times",
    "tests/drivers/test_sqs": "sqs",
    "tests/integration/test_sqs_": "sqs",
    "tests/integration/test_stored_data.py::TestSqs": "sqs",
    "tests/integration/test_paused.py::test_sqs_": "sqs",
    "tests/e2e/test_spans.py::test_a_collector_gets_one_connected_trace_for_each_job_on_sqs": "sqs",
    "tests/e2e/test_traces.py::test_every_attempt_on_sqs": "sqs",
    "tests/app_stores/": "databases",
    "tests/integration/test_stored_data.py::TestCluster": "stored-cluster",
    "tests/e2e/test_browser.py": "browser",
    "tests/integration/test_cluster_settings.py": "cluster-settings",
}
"""The beginning of a test's id, and its group. The groups are in the order of their durations, the longest first."""

SHORT: Final = ("tests/unit/", "tests/drivers/")
"""Tests so short that a process gets all of a class or module."""

WHOLE_STARTS: Final = (
    "tests/faults/test_ceilings.py",
    "tests/e2e/test_idle.py",
    "tests/e2e/test_limits.py",
    "tests/e2e/test_signal_masks.py",
    "tests/e2e/test_start.py",
    "tests/e2e/test_start_signals.py",
    "tests/faults/test_stopping.py::test_stops_during_the_start",
)
"""Tests of a start, a stop or the memory of a whole process: their daemons are not forked, see `DaemonProcess`."""

PASSED: Final = Counter[str]()
"""Passed tests of the suites shared by all drivers, by driver."""


def pytest_configure() -> None:
    share_models()
    # A shell ignores SIGINT for background commands, and so would every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in list(os.environ):
        if not name.startswith(_KEPT) and (name.startswith(_WIPED_PREFIXES) or name.upper().endswith(_WIPED_SUFFIX)):
            del os.environ[name]
    # redis-py reads the metadata of its package for each client and each connection, which takes most of their time.
    redis.utils.get_lib_version = functools.cache(redis.utils.get_lib_version)


def pytest_collection_finish() -> None:
    """Leave the collected tests out of garbage collections, which would take half a second each."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    DaemonProcess.whole_start = item.nodeid.startswith(WHOLE_STARTS)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """A server shared by all tests, emptied before each; a test that stops or configures a server uses `own_redis`."""
    with shared_redis.client() as client:
        client.flushall()
        client.script_flush()
    return shared_redis


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server for one test, which may kill it; it writes every command to disk before it answers."""
    with RedisServer(appendonly=True, appendfsync="always") as server:
        yield server


@pytest.fixture
def redis_proxy(redis_server: RedisServer) -> Iterator[RedisProxy]:
    """A proxy in front of `redis_server`."""
    with RedisProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def shared_sqs() -> Iterator[SqsServer]:
    with SqsServer() as server:
        yield server


@pytest.fixture
def sqs_server(shared_sqs: SqsServer, monkeypatch: pytest.MonkeyPatch) -> SqsServer:
    """SQS, shared by all tests; each test uses a queue name of its own. The credentials are in the environment."""
    shared_sqs.run_clock()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return shared_sqs


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


class _ByGroup(LoadScopeScheduling):  # type: ignore[misc] # pytest-xdist has no types
    """Assigns each group of GROUPS to one process, the longest groups first, then every other test to any process.

    The short tests of the units and drivers are assigned by class or module, so that fixtures are set up and reports
    are handled once for many of them. pytest-xdist's own marks are not used: it writes them into test ids, which
    pytest 9.2 and later do not allow.
    """

    def _split_scope(self, nodeid: str) -> str:
        group = next((group for start, group in GROUPS.items() if nodeid.startswith(start)), None)
        if group is None and nodeid.startswith(SHORT):
            group = nodeid.partition("[")[0].rpartition("::")[0]
        return group or nodeid

    def _assign_work_unit(self, node: Any) -> None:
        group = next((group for group in dict.fromkeys(GROUPS.values()) if group in self.workqueue), None)
        if group is not None:
            self.workqueue.move_to_end(group, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _ByGroup(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    driver = driver_of(report.nodeid)
    if driver in FLOORS and report.when == "call" and report.passed:
        PASSED[driver] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the results of a worker process to the main process, which fails the run if too few driver tests passed."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output |= {"figures": list(FIGURES), "servers": dict(STARTED)}
    elif _lacking(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    output: dict[str, Any] = getattr(node, "workeroutput", {})  # a crashed process sent no output
    FIGURES.extend(output.get("figures", ()))
    STARTED.update(output.get("servers", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if PASSED:
        terminalreporter.section("suites of all drivers")
    for driver, passed in sorted(PASSED.items()):
        terminalreporter.write_line(f"{driver}: {passed} passed")
    for line in _lacking(config):
        terminalreporter.write_line(line, red=True)
    if FIGURES:
        terminalreporter.section(f"figures at scale {SCALE:g}")
    for line in FIGURES:
        terminalreporter.write_line(line)
    if STARTED:
        terminalreporter.section("servers used")
    for server, starts in sorted(STARTED.items()):
        terminalreporter.write_line(f"{server}: started {starts} times")


def _lacking(config: pytest.Config) -> list[str]:
    """Return a line for each driver with too few passed tests, if all driver tests were selected."""
    picked = config.option.keyword or config.option.markexpr or config.option.collectonly
    folders = [config.invocation_params.dir / argument for argument in config.args]
    takes_all = not picked and any((Path(__file__).parent / "drivers").is_relative_to(folder) for folder in folders)
    return too_few(PASSED) if takes_all and os.environ.get("CI") else []


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Fail skipped tests in CI: a skipped test checks nothing, which is acceptable on a laptop only."""
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
