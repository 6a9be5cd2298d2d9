"""A settings file found in the working directory: which commands use it, and which files are refused."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from sockudo_queue import cli

LISTENING = 0.2  # seconds: a refusal sends nothing, so there is nothing to wait for


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """A port that the file of the working directory calls Redis, and would send a variable to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANARY_KEY", "CANARY")
    monkeypatch.delenv("QUEUE_CONFIG_FILE", raising=False)
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(LISTENING)
    url = f"redis://x:${{CANARY_KEY}}@127.0.0.1:{server.getsockname()[1]}/0"
    (tmp_path / "config.json").write_text(json.dumps({"queue": {"redis": {"url_override": url}}}))
    tmp_path.chmod(0o755)
    return server


def _make_writable(file: Path) -> None:
    file.chmod(0o666)


def _open_directory(file: Path) -> None:
    file.parent.chmod(0o1777)


def _give_away(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(file, 65_534, -1)


@pytest.mark.parametrize("spoil", [_make_writable, _open_directory, _give_away])
@pytest.mark.parametrize("command", [["stats"], ["dead-letters", "list"], ["check"]], ids=lambda words: words[0])
def test_a_file_that_others_could_have_written_is_refused(
    listener: socket.socket, capsys: pytest.CaptureFixture[str], spoil: object, command: list[str]
) -> None:
    file = Path.cwd() / "config.json"
    assert callable(spoil)
    spoil(file)
    with listener:
        assert cli.run(command) == 2
        with pytest.raises(TimeoutError):
            listener.accept()
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file}: was found in the working directory, but " in line
    assert "--config" in line


def test_a_file_of_ones_own_is_named_on_standard_error(
    listener: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    listener.close()
    assert cli.run(["dead-letters", "list"]) == 3
    assert f"using the settings file {Path.cwd() / 'config.json'}" in capsys.readouterr().err


def test_a_file_that_was_named_is_taken_as_it_is(listener: socket.socket, capsys: pytest.CaptureFixture[str]) -> None:
    listener.close()
    Path("config.json").chmod(0o666)
    assert cli.run(["dead-letters", "list", "--config", "config.json"]) == 3
    assert "using the settings" not in capsys.readouterr().err
