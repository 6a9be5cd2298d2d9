"""Class names are unique, and none is a name that was replaced."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

CLASS: Final = re.compile(r"^ *class (\w+)[:(\[]", re.MULTILINE)
PACKAGE: Final = Path(__file__).parents[2] / "sockudo_queue"
GIVEN_UP: Final = frozenset(
    [
        "Asked",
        "Back",
        "Board",
        "Cemetery",
        "Connected",
        "Crew",
        "Dead",
        "Death",
        "Dispatch",
        "Ending",
        "Findings",
        "Flushed",
        "Form",
        "Found",
        "FoundLetters",
        "Grave",
        "Holdings",
        "HttpSender",
        "Intake",
        "Keeper",
        "Key",
        "Lately",
        "Later",
        "Leash",
        "Ledger",
        "Lent",
        "LetterDeath",
        "LetterDetails",
        "LetterDisplay",
        "LetterFilter",
        "LetterPage",
        "LetterPosition",
        "LetterSummary",
        "LetterTools",
        "LetterTry",
        "LetterWork",
        "LettersView",
        "Level",
        "Line",
        "Loaded",
        "LookUp",
        "LookUps",
        "Loss",
        "Mark",
        "Memory",
        "Merged",
        "Outbound",
        "Outgoing",
        "Part",
        "PastDeath",
        "Pending",
        "Place",
        "Placement",
        "Prefetching",
        "Purged",
        "PutOff",
        "Received",
        "Send",
        "Services",
        "Share",
        "Shares",
        "Shelf",
        "Signs",
        "Standing",
        "State",
        "Stored",
        "StoredApps",
        "Surroundings",
        "SurroundingsWatch",
        "Tended",
        "Tending",
        "Terms",
        "Trouble",
        "Trust",
        "Turn",
        "Turns",
        "View",
        "Ways",
        "Workplace",
    ]
)
"""See the glossary for the names that replaced them."""


def classes() -> Mapping[str, Sequence[str]]:
    """Return where each name of a class stands; private ones count without their underscore."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in CLASS.findall(path.read_text("utf-8")):
            found[name.lstrip("_")].append(str(path.relative_to(PACKAGE)))
    return found


def test_no_class_has_the_name_of_another() -> None:
    assert {name: places for name, places in classes().items() if len(places) > 1} == {}


def test_no_two_names_of_classes_differ_by_an_s() -> None:
    known = classes()

    assert [name for name in known if f"{name}s" in known] == []


def test_no_class_has_a_name_that_was_given_up() -> None:
    known = classes()

    assert len(known) > 200
    assert {name: known[name] for name in GIVEN_UP & known.keys()} == {}
