"""The job bodies in `tests/data`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_JOBS: Final = Path(__file__).parents[1] / "data" / "jobs"


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job as one version of Sockudo writes it, and the expected body for a webhook that wants all of it."""

    version: str
    name: str
    body: bytes
    webhook_body: bytes

    def __str__(self) -> str:
        return f"{self.version}/{self.name}"


def job_files() -> list[JobFile]:
    """Return all job files; a parametrised test passes `ids=str`."""
    return [
        JobFile(path.parent.name, path.stem, path.read_bytes(), path.with_suffix(".webhook").read_bytes())
        for path in sorted(_JOBS.glob("*/*.job"))
    ]
