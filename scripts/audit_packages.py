"""Reports the findings of pip-audit, and what it could not check: audit_packages.py REPORT ERRORS.

REPORT is its JSON, missing if it failed; ERRORS is its standard error. The exit code is 0 if no advisory names a
package, 1 if one does, and otherwise 3 if some or all packages could not be checked.
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
        last = errors.strip().rpartition("\n")[2] or "no error message"
        return [f"packages: NOT CHECKED, pip-audit could not fetch advisories: {last}"], 3
    vulnerable = [_vulnerability(package, known) for package in packages for known in package.get("vulns", ())]
    unknown = [package for package in packages if "skip_reason" in package]
    if unknown:
        names = "all" if len(unknown) == len(packages) else ", ".join(package["name"] for package in unknown)
        missing = (
            f"packages: NOT CHECKED, {len(unknown)} of {len(packages)} ({names}), because the index has no "
            f"advisories here; the first reason is: {unknown[0]['skip_reason']}"
        )
        return [*vulnerable, missing], 1 if vulnerable else 3
    return vulnerable or [f"packages: no advisory names any of the {len(packages)}"], 1 if vulnerable else 0


def _vulnerability(package: dict[str, Any], known: dict[str, Any]) -> str:
    others = "".join(f", {alias}" for alias in known.get("aliases", ()))
    fixed = ", ".join(known.get("fix_versions", ())) or "no version yet"
    return f"packages: VULNERABLE: {package['name']} {package['version']}: {known['id']}{others}; fixed in {fixed}"


def main() -> int:
    """Print the result of the two files."""
    report, errors = map(Path, sys.argv[1:3])
    lines, code = judge(report.read_text() if report.exists() else "", errors.read_text())
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
