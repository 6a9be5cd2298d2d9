"""The proxy knows where commands and replies end."""

from __future__ import annotations

import pytest

from tests.helpers.resp import command_name, end_of_command, end_of_value

VALUES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":42\r\n",
    b"$5\r\na\r\nbc\r\n",
    b"$0\r\n\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n",
    b"%1\r\n+key\r\n*1\r\n#t\r\n",
    b">2\r\n+message\r\n$2\r\n\r\n\r\n",
]


@pytest.mark.parametrize("value", VALUES)
def test_end_of_value_is_found_only_when_it_is_complete(value: bytes) -> None:
    assert end_of_value(value + b"+next\r\n") == len(value)
    assert [end_of_value(value[:size]) for size in range(len(value))] == [None] * len(value)


def test_commands() -> None:
    command = b"*2\r\n$7\r\nevalsha\r\n$3\r\nabc\r\n"

    assert end_of_command(command + b"*1\r\n") == len(command)
    assert end_of_command(command[:-1]) is None
    assert command_name(command) == "EVALSHA"
    assert command_name(b"ping\r\n") == "PING"


def test_other_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="Redis protocol"):
        end_of_value(b"HTTP/1.1 200 OK\r\n")
