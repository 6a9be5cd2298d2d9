"""A log line is always one parseable line, contains no secret, and never blocks its caller or raises."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from sockudo_queue.core.outcome import Verdict
from sockudo_queue.core.secret import Secret
from sockudo_queue.errors import BrokerUnavailable
from sockudo_queue.observability import logs
from sockudo_queue.observability.logs import chain, values
from sockudo_queue.observability.logs import writer as log_writer
from sockudo_queue.observability.logs.values import SHORT_TEXT
from tests.helpers.log_state import logging_put_back
from tests.helpers.waiting import eventually

CANARY: Final = "canary-7c41"
WAIT: Final = 5.0


class Unspeakable:
    """Converting it to text fails, and the error's text contains a secret."""

    def __repr__(self) -> str:
        raise RuntimeError(CANARY)

    __str__ = __repr__


class BrokenDict(dict[str, str]):
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError(CANARY)


@dataclass
class Holder:
    password: str = CANARY


def circular() -> list[Any]:
    items: list[Any] = [1]
    items.append(items)
    return items


def fail_after_another_fault() -> None:
    try:
        int(CANARY)
    except ValueError as error:
        raise TypeError(CANARY) from error


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """Leave the process's logging and hooks as they were."""
    with logging_put_back():
        yield


class Output:
    """A file as the target of log lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def set_up(self, level: str = "info", log_format: str = "json") -> Any:
        logs.set_up(level, log_format, self.descriptor)
        return logs.get_logger()

    def text(self) -> str:
        assert logs.flush(WAIT)
        return self.path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line, parse_constant=pytest.fail) for line in self.text().splitlines()]


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    made = Output(tmp_path / "out")
    yield made
    os.close(made.descriptor)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        if descriptor_is_open(descriptor):
            os.close(descriptor)


def descriptor_is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("text", "text"),
        (True, True),
        (None, None),
        (1.5, 1.5),
        (2**70, 2**70),
        (10**5000, "<int>"),
        (float("nan"), None),
        (float("inf"), None),
        ("\ud800", "\\ud800"),
        ("line\nend", "line\nend"),
        (Verdict.DELIVERED, "delivered"),
        (b"job", "<3 bytes>"),
        (memoryview(b"job"), "<3 bytes>"),
        (Secret(CANARY), "***"),
        ({"password": Secret(CANARY), "b": [b"", (1,)]}, {"password": "***", "b": ["<0 bytes>", [1]]}),
        ({Secret(CANARY): 1}, {"***": 1}),
        ({(1, "a"): 2}, {"[1, 'a']": 2}),
        ({1}, [1]),
        (deque([1]), [1]),
        (circular(), [1, [1, [1, "…"]]]),
        (list(range(40)), [*range(32), "…"]),
        ({str(n): n for n in range(33)}, {str(n): n for n in range(32)} | {"…": 1}),
        (BrokenDict(a="b"), "<BrokenDict>"),
        (Unspeakable(), "<Unspeakable>"),
        (Holder(), "<Holder>"),
        (object(), "<object>"),
        (ValueError(CANARY), "ValueError"),
        (BrokerUnavailable("no answer"), "BrokerUnavailable: no answer"),
        (datetime(2025, 1, 2, tzinfo=UTC), "2025-01-02 00:00:00+00:00"),
        (Decimal("1.50"), "1.50"),
        (Path("/x"), "/x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_makes_one_line(output: Output, value: Any, shown: Any) -> None:
    output.set_up().info("test.event", value=value, other=1)
    (line,) = output.lines()
    assert (line["event"], line["level"], line["value"], line["other"]) == ("test.event", "info", shown, 1)
    assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_terminal_control_characters_are_escaped(output: Output, log_format: str) -> None:
    odd = "a\u009b31mRED\u202e\u2028{}\u0085x\u007f\U000e0001é日"
    output.set_up(log_format=log_format).info("test.event", odd=odd)
    text = output.text()
    assert text.removesuffix("\n").isprintable()
    assert "é日" in text
    if log_format == "json":
        assert json.loads(text)["odd"] == odd


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_nothing_in_a_line_can_begin_another_or_show_a_secret(output: Output, log_format: str) -> None:
    values = {"a": "x\ny\r\x1b[2J\x9b", "b": [Secret(CANARY), "\n"], "c": "\ud800", "d": Unspeakable(), "e\n": Holder()}
    output.set_up(log_format=log_format).info("test.event\n", **values)
    text = output.text()
    assert text.count("\n") == 1
    assert not {"\r", "\x1b"} & set(text)
    assert CANARY not in text


def test_caller_fields_do_not_replace_timestamp_and_level(output: Output) -> None:
    output.set_up().info("test.event", timestamp="never", level=3)
    (line,) = output.lines()
    assert line["level"] == "info"
    assert line["timestamp"] != "never"


def test_waiting_line_keeps_no_long_text(output: Output) -> None:
    log, waiting = output.set_up(), list[bytes]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs._output, "info", waiting.append)
        log.info("test.event", app="x" * 1_000_000)
    assert json.loads(waiting[0])["app"] == "x" * SHORT_TEXT + "…"


def test_long_line_has_its_texts_cut(output: Output) -> None:
    log = output.set_up()
    log.info("test.event", text="é" * 9_000, nested={"deep": ["x" * 9_000]}, count=1)
    log.info("test.event", **{f"field{number}": "x" * 250 for number in range(100)})
    log.info("e" * 20_000)
    cut, bare, event = output.lines()
    assert cut["text"] == "é" * SHORT_TEXT + "…"
    assert cut["nested"] == {"deep": ["x" * SHORT_TEXT + "…"]}
    assert bare == {key: bare[key] for key in ("timestamp", "level", "event")} | {"truncated": True}
    assert len(event["event"]) == SHORT_TEXT + 1


def test_lines_below_the_level_are_not_logged(output: Output) -> None:
    log = output.set_up("warning")
    log.info("test.low")
    log.warning("test.high")
    assert [line["event"] for line in output.lines()] == ["test.high"]


def test_fields_are_read_when_they_are_logged(output: Output) -> None:
    log, items, waiting = output.set_up(), ["one"], list[bytes]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs._output, "info", waiting.append)
        log.info("test.event", items=items)
    items.append("two")
    assert json.loads(waiting[0])["items"] == ["one"]


def test_line_starts_with_time_level_and_event(output: Output) -> None:
    output.set_up().bind(app="shop").info("test.event", count=1)
    assert list(output.lines()[0]) == ["timestamp", "level", "event", "app", "count"]


def test_logger_adds_its_own_fields(output: Output) -> None:
    output.set_up()
    logs.get_logger(thread="worker-1").info("test.event", count=2)
    (line,) = output.lines()
    assert (line["thread"], line["count"]) == ("worker-1", 2)


def test_unexpected_error_shows_its_stack_but_no_message(output: Output) -> None:
    log = output.set_up()
    try:
        fail_after_another_fault()
    except TypeError:
        log.exception("test.failed")
    (line,) = output.lines()
    assert (line["level"], line["error"], line["cause"]) == ("error", "TypeError", "ValueError")
    assert all(place.startswith("observability/test_logs.py:") for place in line["stack"])
    assert CANARY not in output.text()


def test_expected_error_shows_its_message_but_no_stack(output: Output) -> None:
    log = output.set_up()
    error = BrokerUnavailable("no answer within 5 s")
    error.__cause__ = ConnectionError(CANARY)
    log.error("test.failed", exc_info=error)
    log.error("test.failed", exc_info=False)
    line, without = output.lines()
    assert (line["error"], line["cause"]) == ("BrokerUnavailable: no answer within 5 s", "ConnectionError")
    assert "stack" not in line
    assert "error" not in without
    assert CANARY not in output.text()


def test_library_warning_is_shown_without_its_values(output: Output) -> None:
    output.set_up("debug")
    library = logging.getLogger("library.pool")
    library.info("too low %s", CANARY)
    library.warning("Retrying after %r: %s", ConnectionError(CANARY), f"https://user:{CANARY}@host/")
    library.error(f"cannot reach https://user:{CANARY}@host/")
    try:
        fail_after_another_fault()
    except TypeError:
        library.exception("failed")
    library.warning({"odd": CANARY})
    warned, built, failed, odd = output.lines()
    assert (warned["event"], warned["level"], warned["logger"]) == ("library.warning", "warning", "library.pool")
    assert warned["message"] == "Retrying after %r: %s"
    assert warned["where"].startswith("observability/test_logs.py:")
    assert (built["message"], built["level"]) == (None, "error")
    assert (failed["message"], failed["error"]) == ("failed", "TypeError")
    assert odd["message"] is None
    assert CANARY not in output.text()


def test_second_set_up_does_not_duplicate_library_lines(output: Output) -> None:
    output.set_up()
    output.set_up("error")
    logging.getLogger("library").warning("once")
    logging.getLogger("library").error("twice")
    assert [line["message"] for line in output.lines()] == ["twice"]


def test_crashed_thread_logs_one_line(output: Output, capfd: pytest.CaptureFixture[str]) -> None:
    output.set_up()

    def fail() -> None:
        raise ValueError(CANARY)

    thread = threading.Thread(target=fail, name="lonely")
    thread.start()
    thread.join(WAIT)
    sys.excepthook(ValueError, ValueError(CANARY), None)
    in_thread, in_process = output.lines()
    assert (in_thread["event"], in_thread["thread"], in_thread["error"]) == ("thread.failed", "lonely", "ValueError")
    assert (in_process["event"], in_process["level"]) == ("process.failed", "critical")
    assert CANARY not in output.text()
    assert "".join(capfd.readouterr()) == ""


def test_lines_of_many_threads_are_whole_and_in_order(output: Output) -> None:
    log = output.set_up()

    def work(number: int) -> None:
        for count in range(500):
            log.info("test.event", number=number, count=count)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    lines = output.lines()
    for number in range(5):
        assert [line["count"] for line in lines if line["number"] == number] == list(range(500))


def test_lines_without_a_reader_are_dropped_and_counted(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "QUEUE_LIMIT", 300)
    reader, writer = pipe
    logs.set_up("info", "auto", writer)
    log = logs.get_logger()
    for count in range(3_000):
        log.info("test.event", count=count, text="x" * 200)
    assert not logs.flush(0.05)
    dropped = logs.dropped_lines()
    assert dropped > 1_500
    received = read_while(reader, lambda: logs.flush(WAIT))
    log.info("test.last")
    received += read_while(reader, lambda: logs.flush(WAIT))
    lines = [json.loads(line) for line in received.splitlines()]
    counts = [line["count"] for line in lines if line["event"] == "logs.dropped"]
    assert sum(counts) == dropped
    assert len(lines) - len(counts) == 3_001 - dropped
    assert lines[-1]["event"] == "test.last"


def test_non_blocking_pipe_loses_no_line(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    logs.set_up("info", "json", writer)
    log = logs.get_logger()
    for count in range(2_000):
        log.info("test.event", count=count, text="x" * 200)
    received = read_while(reader, lambda: logs.flush(WAIT))
    assert [json.loads(line)["count"] for line in received.splitlines()] == list(range(2_000))


def test_broken_pipe_loses_lines_but_not_the_thread(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    logs.set_up("info", "json", writer)
    log = logs.get_logger()
    for expected in (1, 2):
        log.info("test.event")
        assert logs.flush(WAIT)
        assert logs.dropped_lines() == expected
    assert logs._output.writer is not None
    assert logs._output.writer.thread.is_alive()


def test_line_lost_for_lack_of_memory_is_counted_and_the_next_is_written(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the thread ended, no line would ever be written again, and nothing would show that."""
    real, real_write, real_plain = values.encode, os.write, values.plain
    lost = {"while it is logged", "while it is encoded", "while it is written"}

    def once(where: str) -> None:
        if where in lost:
            lost.remove(where)
            raise MemoryError

    def encode(line: Mapping[str, Any]) -> bytes:
        once(f"{line.get('where')}" if line.get("where") == "while it is encoded" else "")
        return real(line)

    def write(descriptor: int, data: memoryview) -> int:
        once("while it is written" if b"while it is written" in bytes(data) else "")
        return real_write(descriptor, data)

    def plain(value: Any) -> Any:
        once("while it is logged")
        return real_plain(value)

    log = output.set_up()
    monkeypatch.setattr(chain, "encode", encode)
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(chain, "plain", plain)
    log.info("test.lost", where=Path("while it is logged"))
    for number, where in enumerate(("while it is encoded", "while it is written"), 2):
        log.info("test.lost", where=where)
        assert logs.flush(WAIT)
        assert logs.dropped_lines() == number
    log.info("test.event")
    lines = output.lines()
    assert not lost
    assert [line["event"] for line in lines] == ["logs.dropped", "logs.dropped", "test.event"]
    assert sum(line["count"] for line in lines[:2]) == 3
    assert logs.is_alive()


def test_writer_thread_survives_every_exception(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [SystemExit(), KeyError()]
    real = log_writer.Writer._take

    def take(writer: log_writer.Writer) -> list[bytes]:
        lines = real(writer)
        if faults and lines:
            raise faults.pop()
        return lines

    monkeypatch.setattr(log_writer, "FAILED_PAUSE", 0.01)
    monkeypatch.setattr(log_writer.Writer, "_take", take)
    log = output.set_up()
    for _ in range(2):
        log.info("test.lost")
        assert logs.flush(WAIT)
    eventually(lambda: not faults)
    log.info("test.event")
    lines = output.lines()
    assert [line["error"] for line in lines if line["event"] == "thread.crashed"]
    assert lines[-1]["event"] == "test.event"
    assert logs.is_alive()


def test_partly_written_line_does_not_corrupt_the_next(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    real, faults = os.write, iter([False, True])

    def write(descriptor: int, data: memoryview) -> int:
        match next(faults, None):
            case False:
                return real(descriptor, data[:10])
            case True:
                raise OSError("no space left")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    log = output.set_up()
    log.info("test.lost")
    assert logs.flush(WAIT)
    log.info("test.event")
    half, *lines = output.text().splitlines()
    assert len(half) == 10
    assert [json.loads(line)["event"] for line in lines] == ["logs.dropped", "test.event"]


def test_terminal_gets_colours_and_short_lines() -> None:
    outside, inside = os.openpty()
    try:
        logs.set_up("info", "auto", inside)
        logs.get_logger().warning("test.event", text="two words", plain="one", number=1, nothing=None)
        assert logs.flush(WAIT)
        text = os.read(outside, 4096).decode()
    finally:
        os.close(inside)
        os.close(outside)
    assert "\x1b[33m\x1b[1mwarning" in text
    assert "text='two words' plain=one number=1 nothing=None" in re.sub(r"\x1b\[\d*m", "", text)


def test_stack_is_on_separate_lines_in_pretty_format(output: Output) -> None:
    log = output.set_up(log_format="pretty")
    try:
        fail_after_another_fault()
    except TypeError:
        log.exception("test.failed", odd="\x1b[2J")
    line, *stack = output.text().splitlines()
    assert "error=TypeError cause=ValueError" in line
    assert all(place.startswith("    observability/test_logs.py:") for place in stack)
    assert len(stack) == 2
    assert "\x1b" not in line
    assert CANARY not in output.text()


def test_flush_before_set_up_does_nothing() -> None:
    assert logs.flush(0)
    assert logs.dropped_lines() == 0


def test_stack_has_the_lines_of_the_traceback(output: Output) -> None:
    log = output.set_up()
    try:
        json.loads("{")
    except ValueError as error:
        expected = traceback.extract_tb(error.__traceback__)
        log.exception("test.failed")
    (line,) = output.lines()
    assert [place.rpartition(":")[2] for place in line["stack"]] == [str(frame.lineno) for frame in expected]


def read_while(reader: int, action: Callable[[], bool]) -> bytes:
    """Read everything that arrives while an action runs, and the rest after it."""
    received = bytearray()
    os.set_blocking(reader, False)
    thread = threading.Thread(target=action)
    thread.start()
    while True:
        alive = thread.is_alive()
        try:
            received += os.read(reader, 65_536)
        except BlockingIOError:
            if not alive:
                return bytes(received)
            thread.join(0.001)
