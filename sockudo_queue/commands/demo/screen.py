"""Output of the demo: one line per event, coloured on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Final, TextIO

from sockudo_queue.runtime import streams

GREEN: Final = "32"
YELLOW: Final = "33"
RED: Final = "31"
BOLD: Final = "1"
DIM: Final = "2"


class Screen:
    """Prints to one stream. The clock of the lines starts with `start`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._colours = streams.has_colours(self._stream.fileno())
        self._started = time.monotonic()

    def start(self) -> None:
        self._started = time.monotonic()

    def print_line(self, text: str = "", colour: str = "") -> None:
        """Print a line as it is."""
        try:
            self._stream.write(self._in(colour, text) + "\n")
            self._stream.flush()
        except OSError as error:
            raise streams.unwritable(error) from None

    def happened(self, who: str, what: str, colour: str = "", note: str = "") -> None:
        """Print an event with its time and subject; the note has its own column."""
        moment = self._in(DIM, f"{time.monotonic() - self._started:5.2f} s")
        filled = f"{what:<58}" if note else what
        line = f"{moment}  {self._in(BOLD, f'{who:<9}')} {self._in(colour, filled)} {self._in(DIM, note)}"
        self.print_line(line.rstrip())

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and colour and text else text
