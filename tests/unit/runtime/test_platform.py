"""Which systems the program runs on, and what it says on the others."""

from __future__ import annotations

import pytest

from sockudo_queue.runtime.platform import unsupported


def test_linux_is_supported() -> None:
    assert unsupported("linux") == ""


@pytest.mark.parametrize(
    ("platform", "name"), [("darwin", "macOS"), ("win32", "Windows"), ("freebsd14", "freebsd14"), ("cygwin", "Cygwin")]
)
def test_other_system_is_named_with_the_way_by_container(platform: str, name: str) -> None:
    line = unsupported(platform)

    assert f"this is {name};" in line
    assert "docker run" in line
    assert "\n" not in line
