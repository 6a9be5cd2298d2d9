"""The chain of causes of an error."""

from __future__ import annotations

from sockudo_queue.errors import causes


def test_causes_are_yielded_from_the_last_error_to_the_first() -> None:
    last, cause, context = KeyError(), ValueError(), OSError()
    last.__cause__, last.__context__ = cause, TypeError()
    cause.__context__ = context

    assert [*causes(last)] == [last, cause, context]
    assert [*causes(None)] == []
