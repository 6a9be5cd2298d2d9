"""Says what pip-audit has found, and what it could not look at: audit_packages.py REPORT ERRORS.

REPORT is its JSON, missing where it failed; ERRORS is what it wrote on standard error. The exit code is 0 where no
advisory names a package, 1 where one does, and else 3 where nobody could tell about some of them or about any.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def judge(report: str, errors: str) -> tuple[list[str], int]:
    """Return the lines to show and the exit code."""
    packages: list[dict[str, Any]] = json.loads(report)["dependencies"] if report.strip() else []
    if not packages:
        last = errors.strip().rpartition("\n")[2] or "it says nothing"
        return [f"packages: NOT LOOKED AT, pip-audit could not ask for advisories: {last}"], 3
    holes = [_hole(package, known) for package in packages for known in package.get("vulns", ())]
    unknown = [package for package in packages if "skip_reason" in package]
    if unknown:
        names = "all" if len(unknown) == len(packages) else ", ".join(package["name"] for package in unknown)
        missing = (
            f"packages: NOT LOOKED AT, {len(unknown)} of {len(packages)} ({names}), since the index gives no "
            f"advisories here; of the first it says: {unknown[0]['skip_reason']}"
        )
        return [*holes, missing], 1 if holes else 3
    return holes or [f"packages: no advisory names any of the {len(packages)}"], 1 if holes else 0


def _hole(package: dict[str, Any], known: dict[str, Any]) -> str:
    others = "".join(f", {alias}" for alias in known.get("aliases", ()))
    mended = ", ".join(known.get("fix_versions", ())) or "no version yet"
    return f"packages: HOLE in {package['name']} {package['version']}: {known['id']}{others}; mended in {mended}"


def main() -> int:
    """Print the judgement of the two files."""
    report, errors = map(Path, sys.argv[1:3])
    lines, code = judge(report.read_text() if report.exists() else "", errors.read_text())
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
