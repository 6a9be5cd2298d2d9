"""Only `revealed` shows the value of a secret."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from dataclasses import dataclass

import pytest

from sockudo_queue.core.secret import Secret

CANARY = "CANARY"


@dataclass(frozen=True)
class Holder:
    secret: Secret


@pytest.mark.parametrize(
    "show",
    [
        str,
        repr,
        "{}".format,
        "{!r:>20}".format,
        lambda secret: f"{secret}",
        lambda secret: f"{secret:>30}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - one of the ways
        lambda secret: repr([secret, {"k": secret}]),
        lambda secret: repr(Holder(secret)),
        lambda secret: json.dumps({"k": secret}, default=str),
        lambda secret: repr(ValueError(secret)),
        lambda secret: "".join(traceback.format_exception(ValueError(secret))),
    ],
)
def test_every_way_to_text_gives_a_mask(show: object) -> None:
    assert callable(show)
    shown = show(Secret(CANARY))

    assert "***" in shown
    assert CANARY not in shown


def test_revealed_gives_the_value() -> None:
    assert Secret(CANARY).revealed == CANARY


def test_secret_cannot_be_pickled_or_copied() -> None:
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(Secret(CANARY))
    with pytest.raises(TypeError):
        copy.deepcopy(Secret(CANARY))
    with pytest.raises(TypeError):
        json.dumps(Secret(CANARY))
    assert not hasattr(Secret(CANARY), "__dict__")


def test_secret_equals_only_secrets_with_the_same_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert not Secret("")
    assert Secret("a")
