"""Files and pipes are read to their end; a pipe that nothing is written to is given up."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sockudo_queue.apps.stores.sql import verifying_context
from sockudo_queue.config import PostgresSettings, TlsSettings, file_reading
from sockudo_queue.config.documents import read_bytes
from sockudo_queue.config.file_reading import RegularFile, read_limited
from sockudo_queue.config.secret_files import FileSecret, read_secret_file
from sockudo_queue.delivery.certificates import file_faults
from sockudo_queue.delivery.connections import HandleOptions
from sockudo_queue.drivers.redis.connections import TlsVerification
from sockudo_queue.errors import SettingsError


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(file_reading, "WRITER_SECONDS", 0.2)
    path = tmp_path / "settings.json"
    os.mkfifo(path)
    return path


def test_pipe_without_a_writer_is_given_up(pipe: Path) -> None:
    with pytest.raises(SettingsError, match=r"settings.json: cannot be read: nothing was written to it for 0.2 s"):
        read_bytes(pipe)
    with pytest.raises(ValueError, match="the file cannot be read: nothing was written"):
        read_secret_file(str(pipe))


def test_pipe_whose_writer_stalls_is_given_up(pipe: Path) -> None:
    writer = os.open(pipe, os.O_RDWR)
    try:
        os.write(writer, b"{")
        with pytest.raises(SettingsError, match="nothing was written"):
            read_bytes(pipe)
    finally:
        os.close(writer)


def test_pipe_is_read_to_its_end(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_reading, "WRITER_SECONDS", 10.0)
    content = b'{"a":1}' * 50_000
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    assert read_bytes(pipe) == content
    writer.join()


def test_pipe_that_the_shell_makes_is_read() -> None:
    script = "import sys; from pathlib import Path; from sockudo_queue.config.documents import read_bytes as r; "
    script += "print(r(Path(sys.argv[1])))"
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" <(echo first) && echo second | "$0" -c "$1" /dev/stdin', sys.executable, script],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.splitlines() == ["b'first\\n'", "b'second\\n'"], done.stderr


def test_no_more_is_read_than_one_byte_above_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 1000)
    assert read_limited(file, 1000) == b"x" * 1000
    assert read_limited(file, 999) == b"x" * 1000
    assert read_limited(file, 10) == b"x" * 11
    assert len(read_limited(Path("/dev/zero"), 100_000)) == 100_001


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        read_bytes(tmp_path)


def test_pipe_in_the_place_of_a_certificate_is_refused_before_a_library_opens_it(pipe: Path) -> None:
    named = str(pipe)
    faults = list(file_faults(HandleOptions(ca_file=named, client_cert_file=named)))
    assert len(faults) == 2
    assert all("it is not a regular file" in fault for fault in faults)
    with pytest.raises(SettingsError, match="ca_path: the file cannot be read: it is not a regular file"):
        TlsVerification(TlsSettings(ca_path=named), check_name=True).check("database.redis.master_tls")
    with pytest.raises(SettingsError, match="ssl_ca: cannot be read: it is not a regular file"):
        verifying_context(PostgresSettings(ssl_ca=named), "database.postgres")


def test_pipe_in_the_place_of_a_file_is_not_waited_for_when_it_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("first")
    secret = FileSecret("first", str(path))
    with RegularFile(str(path)) as held:
        path.unlink()
        os.mkfifo(path)
        assert Path(held).read_text() == "first"
    began = time.monotonic()
    assert secret.current() == "first"
    with pytest.raises(OSError, match="it is not a regular file"):
        read_limited(path, 10, regular=True)
    with pytest.raises(OSError, match="it is not a regular file"):
        TlsVerification(TlsSettings(ca_path=str(path)), check_name=True).context()
    assert time.monotonic() - began < 1
