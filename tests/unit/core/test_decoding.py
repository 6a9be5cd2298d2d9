"""Input that msgspec cannot decode raises one of the errors that callers catch."""

from __future__ import annotations

import msgspec
import pytest

from sockudo_queue.core.decoding import DECODE_ERRORS


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", msgspec.MsgspecError),
        (b"{", msgspec.MsgspecError),
        (b'"\\ud800"', msgspec.MsgspecError),
        (b"[]", msgspec.MsgspecError),  # the wrong type
        (b'{"a":"\xff"}', UnicodeError),
        ('{"a":"\ud800"}', UnicodeError),
        (b'{"a":' + b"[" * 100_000, RecursionError),
    ],
)
def test_input_that_cannot_be_decoded_raises_a_decode_error(text: bytes | str, error: type[Exception]) -> None:
    with pytest.raises(DECODE_ERRORS) as caught:
        msgspec.json.decode(text, type=dict[str, object])
    assert isinstance(caught.value, error)
