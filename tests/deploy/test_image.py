"""The Dockerfile has what the image needs; scripts/image builds and tests it with a container engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.deploy import sources
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.waiting import eventually

TEXT: Final = sources.DOCKERFILE.read_text().replace("\\\n", " ")
FINAL: Final = TEXT.rpartition("\nFROM ")[2]


def instruction(name: str) -> str:
    """Return the last one of this name in the stage that becomes the image."""
    found: list[str] = re.findall(rf"^{name} (.*)$", FINAL, re.MULTILINE)
    return found[-1]


def test_it_runs_as_a_number_that_is_not_root_and_is_process_1() -> None:
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", instruction("USER"))
    assert json.loads(instruction("ENTRYPOINT")) == ["sockudo-queue"]  # the exec form: no shell takes the signals
    assert json.loads(instruction("CMD")) == ["run"]
    assert json.loads(instruction("HEALTHCHECK").partition("CMD ")[2]) == ["sockudo-queue", "health"]


def test_new_revision_rebuilds_no_layer() -> None:
    assert "ARG REVISION" in FINAL
    assert not re.search(r"^(RUN|COPY) ", FINAL[FINAL.index("ARG ") :], re.MULTILINE)


def test_the_labels_name_the_source_the_base_and_the_time() -> None:
    """All of them by arguments, since only the build knows."""
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="\$\{(\w+)\}', FINAL))
    assert labels.keys() >= {
        "source",
        "url",
        "documentation",
        "created",
        "version",
        "revision",
        "base.name",
        "base.digest",
    }
    assert {f"ARG {argument}" for argument in labels.values()} <= {
        line.partition("=")[0] for line in FINAL.splitlines() if line.startswith("ARG ")
    }


def test_the_base_is_an_argument_and_not_alpine() -> None:
    assert re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE) == ["${BASE}", "${BASE}"]
    [base] = re.findall(r"^ARG BASE=(\S+)", TEXT, re.MULTILINE)
    assert base.endswith("slim")
    assert "debian" in base


def test_everything_that_is_installed_has_a_hash_and_nothing_is_compiled() -> None:
    for command in re.findall(r"\S*/pip[^&\n]* install [^&\n]*", TEXT):
        if "/wheel/" in command:  # our own, made in the step before
            assert "--no-deps" in command
        else:
            assert "--require-hashes" in command
            assert "--only-binary=:all:" in command
    assert "--no-build-isolation" in TEXT  # what builds our wheel is locked too
    assert not re.search(r"\b(gcc|build-essential|python3-dev)\b", TEXT)


def test_the_locks_hold_what_the_image_is_made_of() -> None:
    project = tomllib.loads((sources.ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    # The database libraries too: users cannot install anything in a container.
    needed = [*project["project"]["dependencies"], *extras["mysql"], *extras["postgres"]]
    assert names(needed) <= locked("image.txt")
    assert names(project["build-system"]["requires"]) <= locked("build.txt")


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~ ]", requirement)[0].lower() for requirement in requirements}


def locked(name: str) -> set[str]:
    lines = (sources.ROOT / "requirements" / name).read_text().splitlines()
    return {line.partition("==")[0] for line in lines if "==" in line}


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    allowed = [line[1:] for line in (sources.ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        source for copy in re.findall(r"^COPY (?!--from)(.*)$", TEXT, re.MULTILINE) for source in copy.split()[:-1]
    ]
    assert sorted(copied) == sorted(allowed)
    for source in copied:
        assert (sources.ROOT / source).exists(), source
    for private in (".git", ".venv", "tests", "config.json"):
        assert not any(fnmatch(private, pattern) for pattern in allowed)


@pytest.mark.parametrize(
    ("runs", "fault"),
    [
        ("exit 125", "FAILED: the engine cannot run the image here"),
        ("echo /usr/bin/cc", "FAILED: a compiler or pip is in the image: /usr/bin/cc"),
    ],
)
def test_image_check_distinguishes_a_failing_engine_from_a_found_compiler(
    tmp_path: Path, runs: str, fault: str
) -> None:
    done = trial(tmp_path, runs)
    assert (done.returncode, done.stderr) == (1, f"{fault}\n")


@pytest.mark.parametrize("name", ["cc", "gcc", "pip"])
def test_image_check_searches_each_name(tmp_path: Path, name: str) -> None:
    """With the shell of Debian, whose `command -v` looks at one name only."""
    shell = shutil.which("dash") or pytest.skip("dash is not here")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / name).touch(0o755)
    done = trial(tmp_path, f'for text; do :; done; PATH="{programs}" {shell} -c "$text"')
    fault = f"FAILED: a compiler or pip is in the image: {programs / name}\n"
    assert (done.returncode, done.stderr) == (1, fault)


def test_image_check_reads_a_log_to_its_end(tmp_path: Path) -> None:
    """The engine still writes when the line is found, and must not be taken for one that failed."""
    log = """echo '"outcome":"delivered"'; head --bytes 1000000 /dev/zero"""
    done = trial(tmp_path, "", f"exec) echo sockudo-queue run;; wait) echo 0;; image) echo 202000000;; logs) {log};;")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == [
        "SIGTERM drained it: the delivery in flight was completed, exit code 0",
        "202 MB unpacked",
    ]


def trial(directory: Path, runs: str, other: str = "") -> subprocess.CompletedProcess[str]:
    """Try the image with an engine that does only this when it is to run something, and `other` cases of the shell."""
    engine = directory / "engine"
    engine.write_text(f'#!/bin/sh\ncase "$1" in run) {runs or ":"};; {other} esac\n')
    engine.chmod(0o755)
    return subprocess.run(
        [sources.ROOT / "scripts" / "image"],
        env={**os.environ, "ENGINE": str(engine)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_sigterm_stops_it_as_process_1() -> None:
    """The kernel gives process 1 only signals that it asks for."""
    unshare = shutil.which("unshare")
    alone = [unshare or "", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if unshare is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("process namespaces are not allowed here")
    daemon = DaemonProcess(config(app(webhook("http://127.0.0.1:9/"))), {"QUEUE_DRIVER": "memory"})
    plain = daemon.command
    daemon.command = lambda: [*alone, *plain()]  # type: ignore[method-assign]  # the same, as process 1 of its own world
    with daemon:
        daemon.wait_ready()
        [first] = psutil.Process(daemon.pid).children()
        status = (sources.ROOT / f"/proc/{first.pid}/status").read_text()
        assert re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE), status
        os.kill(first.pid, signal.SIGTERM)
        assert daemon.wait(10) == 0
        eventually(lambda: daemon.events("daemon.stopped"))
