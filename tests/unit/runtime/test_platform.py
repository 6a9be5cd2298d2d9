"""The supported operating systems, and the error on others."""

from __future__ import annotations

import pytest

from sockudo_queue.runtime.platform import unsupported


def test_linux_is_supported() -> None:
    assert unsupported("linux") == ""


@pytest.mark.parametrize(
    ("platform", "name"), [("darwin", "macOS"), ("win32", "Windows"), ("freebsd14", "freebsd14"), ("cygwin", "Cygwin")]
)
def test_unsupported_system_gets_a_hint_to_use_the_container(platform: str, name: str) -> None:
    line = unsupported(platform)

    assert f"this is {name};" in line
    assert "docker run" in line
    assert "\n" not in line
