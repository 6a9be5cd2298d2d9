"""A test that is renamed must not leave its group, or begin to fork its daemons, without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.conftest import GROUPS, WHOLE_STARTS

ROOT: Final = Path(__file__).parents[2]
FILES: Final = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")]


@pytest.mark.parametrize("start", [*GROUPS, *WHOLE_STARTS])
def test_start_of_an_id_is_that_of_some_test(start: str) -> None:
    path, _, name = start.partition("::")
    kind = "class" if name.startswith("Test") else "def"
    found = [each for each in FILES if each.startswith(path)]
    assert any(f"{kind} {name}" in (ROOT / each).read_text() for each in found), start
