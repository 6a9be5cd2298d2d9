"""Fuzz every target for its share of the time and print the results; the exit code is 1 if there is a finding.

    scripts/fuzz [--minutes 10] [--target NAME]

Bytes that violate a property are kept in `.fuzz/findings`; copy them to `tests/data/fuzz/TARGET` for the tests.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from fuzz.targets import TARGETS, seeds

HOME: Final = Path(__file__).parents[1] / ".fuzz"
MAX_BYTES: Final = 8192
SLOWEST_SECONDS: Final = 10
_DONE: Final = re.compile(r"Done (\d+) runs in (\d+) second")
_COVERED: Final = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")


def fuzz(name: str, seconds: int) -> tuple[str, bool]:
    """Fuzz one target; return a line about it, and whether there was no finding."""
    corpus, findings = HOME / "corpus" / name, HOME / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    for seed in seeds(name):
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    flags = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        f"-timeout={SLOWEST_SECONDS}",
        "-rss_limit_mb=2048",
    ]
    command = [sys.executable, "-m", "fuzz.one", name, str(corpus), f"-artifact_prefix={findings}/{name}-", *flags]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    done, covered = _DONE.search(run.stderr), _COVERED.findall(run.stderr)
    if run.returncode or done is None or not covered:
        return f"{name:9} FOUND, exit code {run.returncode}:\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}", False
    runs, edges, kept = int(done[1]), covered[-1][0], covered[-1][2]
    return (
        f"{name:9} {runs:>9} runs, {runs // max(int(done[2]), 1):>6}/s, {edges:>5} edges, {kept:>5} inputs kept",
        True,
    )


def main() -> int:
    arguments = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10.0)
    arguments.add_argument("--target", choices=TARGETS, action="append")
    given = arguments.parse_args()
    names = given.target or list(TARGETS)
    seconds = max(round(given.minutes * 60 / len(names)), 1)
    fine = True
    for name in names:
        line, good = fuzz(name, seconds)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        fine = fine and good
    sys.stdout.write("nothing found\n" if fine else f"found; see {HOME / 'findings'}\n")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
