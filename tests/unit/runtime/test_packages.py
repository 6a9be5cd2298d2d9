"""A package whose `__init__` is postponed: its modules alone, and the package as a whole."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sockudo_queue.runtime.packages import hidden, postpone_init

PACKAGE = "postponed_package"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return a package with two modules; its `__init__` imports one of them and counts how often it runs."""
    directory = tmp_path / PACKAGE
    directory.mkdir()
    (directory / "__init__.py").write_text(
        "import sys\nsys.runs += 1\nfrom . import late\nfrom .heavy import weight\n__version__ = '1.2'\n"
    )
    (directory / "late.py").write_text("import time\ntime.sleep(0.05)\n")
    (directory / "heavy.py").write_text("weight = 7\n")
    (directory / "light.py").write_text("import postponed_package\ncolour = 'blue'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "runs", 0, raising=False)
    yield PACKAGE
    for name in [each for each in sys.modules if each.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def imported(name: str) -> Any:
    return importlib.import_module(name)


def runs() -> Any:
    return vars(sys)["runs"]


def test_module_is_imported_without_the_rest_of_its_package(package: str) -> None:
    postpone_init(package)

    assert imported(f"{package}.light").colour == "blue"
    assert imported(package).light.colour == "blue"
    assert (runs(), f"{package}.heavy" in sys.modules) == (0, False)


def test_first_name_of_the_package_runs_its_init_once(package: str) -> None:
    postpone_init(package)
    light = imported(f"{package}.light")

    found: ModuleType = imported(package)

    assert (found.weight, found.__version__, found.light, runs()) == (7, "1.2", light, 1)
    assert imported(f"{package}.heavy").weight == 7
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = found.colour
    assert runs() == 1


def test_other_threads_wait_until_the_init_has_run(package: str) -> None:
    postpone_init(package)
    found = imported(package)

    with ThreadPoolExecutor(4) as pool:
        weights = list(pool.map(lambda _: found.weight, range(4)))

    assert (weights, runs()) == ([7] * 4, 1)


def test_init_that_fails_runs_again_at_the_next_use(package: str, tmp_path: Path) -> None:
    source = tmp_path / PACKAGE / "__init__.py"
    source.write_text("import sys\nsys.runs += 1\nif sys.runs == 1: raise OSError('no free descriptor')\nname = 3\n")
    postpone_init(package)
    found = imported(package)
    with pytest.raises(OSError, match="no free descriptor"):
        _ = found.name

    assert (found.name, runs()) == (3, 2)


def test_imported_and_unknown_packages_are_left_alone(package: str) -> None:
    before = imported(package)

    postpone_init(package)
    postpone_init("no_such_package_anywhere")

    assert imported(package) is before
    assert (runs(), "no_such_package_anywhere" in sys.modules) == (1, False)


def test_hidden_package_cannot_be_imported_until_the_end_of_the_block(package: str) -> None:
    with pytest.raises(ModuleNotFoundError), hidden(package):
        imported(f"{package}.heavy")

    assert imported(f"{package}.heavy").weight == 7


def test_imported_package_is_not_hidden(package: str) -> None:
    before = imported(package)

    with hidden(package):
        assert imported(f"{package}.light").colour == "blue"

    assert imported(package) is before
