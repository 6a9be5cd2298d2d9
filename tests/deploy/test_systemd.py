"""The systemd unit is valid, hardened, and fits the daemon's own limits and exit codes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from sockudo_queue.cli import EXIT_BAD_SETTINGS
from sockudo_queue.config import Settings
from tests.deploy import sources

UNIT: Final = sources.ROOT / "deploy" / "systemd" / "sockudo-queue.service"
PROGRAM: Final = "/opt/sockudo-queue/bin/sockudo-queue"
EXPOSURE_LIMIT: Final = "15"  # 1.5 of 10 points


def value(name: str, text: str | None = None) -> str:
    [found] = re.findall(rf"^{name}=(.*)$", text or UNIT.read_text(), re.MULTILINE)
    return str(found)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not on this machine; Debian's package systemd has it")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


def verify(directory: Path, text: str) -> str:
    """Return what systemd says of a unit; the program that it names need not be installed here."""
    copy = directory / UNIT.name
    copy.write_text(text.replace(PROGRAM, shutil.which("true") or "/bin/true"))
    done = analyze("verify", copy)
    return done.stderr or ("" if done.returncode == 0 else f"exit code {done.returncode}")


def test_unit_passes_systemd_analyze(tmp_path: Path) -> None:
    assert verify(tmp_path, UNIT.read_text()) == ""
    assert "ProtectHom" in verify(tmp_path, UNIT.read_text().replace("ProtectHome=", "ProtectHom="))


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE_LIMIT}", UNIT)
    assert done.returncode == 0, done.stdout[-200:]
    bare = tmp_path / UNIT.name
    bare.write_text(re.sub(r"^(Protect|Private|SystemCall).*$", "", UNIT.read_text(), flags=re.MULTILINE))
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE_LIMIT}", bare).returncode != 0


def test_the_stop_has_time_to_drain() -> None:
    assert int(value("TimeoutStopSec")) * 1000 >= Settings().reliability.shutdown_timeout_ms + 5_000


def test_invalid_settings_cause_no_restart_and_a_crash_does() -> None:
    assert value("Restart") == "on-failure"
    assert value("RestartPreventExitStatus") == str(EXIT_BAD_SETTINGS)


def test_it_waits_for_the_notification_of_the_program_that_pages_name() -> None:
    assert value("Type") == "notify"
    assert value("ExecStart").split()[:2] == [PROGRAM, "run"]
    assert PROGRAM in (sources.ROOT / "docs" / "deployment.md").read_text()


def test_documented_installation_needs_no_folder_that_a_minimal_system_lacks(tmp_path: Path) -> None:
    # Debian's systemd brings /etc/systemd/system, but not /etc/sysusers.d.
    system, checkout, programs = tmp_path / "system", tmp_path / "checkout", tmp_path / "programs"
    (system / "etc" / "systemd" / "system").mkdir(parents=True)
    shutil.copytree(UNIT.parent, checkout / "deploy" / "systemd")
    (checkout / "config.json").write_text("{}")
    programs.mkdir()
    pip = system / "opt" / "sockudo-queue" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    for program in (programs / "python3", programs / "systemctl", programs / "systemd-sysusers", pip):
        program.symlink_to(shutil.which("true") or "/bin/true")
    commands = re.sub(r"(^|(?<= ))(?=/(etc|opt)/)", str(system), documented_commands(), flags=re.MULTILINE)
    commands = commands.replace("-g sockudo-queue", f"-g {os.getgid()}")
    absolute = set(re.findall(r"(?<![\w.…:/])/[^\s'\";&|)]+", re.sub(r"#.*", "", commands))) - {"/dev/null"}
    assert {path for path in absolute if not path.startswith(str(tmp_path))} == set(), "it must not leave the folder"
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=checkout,
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    installed = {str(path.relative_to(system)) for path in (system / "etc").rglob("*") if path.is_file()}
    assert installed == {
        "etc/sockudo-queue/config.json",
        "etc/sockudo-queue/environment",
        "etc/systemd/system/sockudo-queue.service",
        "etc/sysusers.d/sockudo-queue.conf",
    }


def documented_commands() -> str:
    page = (sources.ROOT / "docs" / "deployment.md").read_text()
    section = page[page.index("\n## systemd\n") :]
    found = re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]
