"""The errors that msgspec raises for input that it cannot decode."""

from __future__ import annotations

from typing import Final

import msgspec

DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""Hostile input causes two errors besides those of msgspec: `UnicodeError` for bytes that are not UTF-8 and for a
`str` with half a surrogate pair, and `RecursionError` for brackets that are nested too deeply."""
