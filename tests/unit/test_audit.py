"""Results of scripts/audit: packages that are vulnerable, clean or not checked, and exceptions in our own code."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "audit_packages.py"
# ruff looks for passwords in more places than bandit.
ONLY_RUFF: Final = {"105"}
SOUND = {"name": "redis", "version": "8.1.0", "vulns": []}
HOLE = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.1", "3.0"], "description": "…"}
HOLED = {"name": "idna", "version": "2.0", "vulns": [HOLE]}
UNKNOWN = {"name": "six", "skip_reason": "Dependency not found on PyPI and could not be audited: six (1.17.0)"}


def judge(report: str, errors: str = "") -> tuple[list[str], int]:
    loader = SourceFileLoader("audit_packages", str(SCRIPT))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    script = module_from_spec(spec)
    loader.exec_module(script)
    lines, code = script.judge(report, errors)
    return list(lines), int(code)


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([SOUND], 0, ["no advisory names any of the 1"]),
        ([SOUND, HOLED], 1, ["VULNERABLE: idna 2.0: PYSEC-2026-1, CVE-2026-1; fixed in 2.1, 3.0"]),
        ([UNKNOWN], 3, ["NOT CHECKED, 1 of 1 (all)"]),
        ([SOUND, UNKNOWN], 3, ["NOT CHECKED, 1 of 2 (six)"]),
        ([SOUND, HOLED, UNKNOWN], 1, ["VULNERABLE: idna 2.0", "NOT CHECKED, 1 of 3 (six)"]),
    ],
)
def test_each_answer_has_its_lines_and_exit_code(packages: list[Any], code: int, words: list[str]) -> None:
    lines, seen = judge(json.dumps({"dependencies": packages, "fixes": []}))
    assert seen == code
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))


@pytest.mark.parametrize("report", ["", json.dumps({"dependencies": [], "fixes": []})])
def test_missing_answer_is_reported_as_not_checked(report: str) -> None:
    lines, code = judge(report, "Traceback\n  File\nConnectionError: no such host\n")
    assert code == 3
    assert lines == ["packages: NOT CHECKED, pip-audit could not fetch advisories: ConnectionError: no such host"]


def test_exceptions_from_security_rules_of_ruff_apply_to_bandit_too() -> None:
    bandit = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["bandit"]
    needless = {name.removeprefix("B") for name in bandit["skips"]} | ONLY_RUFF
    missing = []
    for path in sorted((ROOT / "sockudo_queue").rglob("*.py")):
        for line in path.read_text().splitlines():
            ruffs = line.partition("# noqa:")[2].partition(" - ")[0]
            bandits = line.partition("# nosec")[2]
            numbers = set(re.findall(r"\bS(\d{3})\b", ruffs)) - needless - set(re.findall(r"\bB(\d{3})\b", bandits))
            missing += [f"{path.name}: # nosec B{number}" for number in sorted(numbers)]
    assert missing == []
