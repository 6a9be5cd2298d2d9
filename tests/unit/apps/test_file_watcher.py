"""Changed apps are read from their file; a broken or half-written file changes nothing and is reported once."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sockudo_queue.apps.file import load_with_apps
from sockudo_queue.apps.file_watcher import AppSource
from sockudo_queue.core.apps import StaticApps
from tests.helpers.configs import app, config, webhook
from tests.helpers.descriptors import no_descriptors_left

FIRST = config(app(webhook("https://one.example.test/"), app_id="shop"))
SECOND = config(app(webhook("https://two.example.test/"), app_id="shop"), app(app_id="other"))
NOW = 2_000_000_000.0


class Watched:
    """A file, its registry and its `AppSource`, with a clock that the test sets."""

    def __init__(self, directory: Path, first: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> None:
        self.path = directory / "config.json"
        self.now = NOW
        self.write(json.dumps(first))
        loaded, apps = load_with_apps(str(self.path), environment or {}, directory, False)
        self.registry = StaticApps(apps)
        self.source = AppSource(
            loaded.apps_document, loaded.settings, self.registry, environment or {}, clock=lambda: self.now
        )

    def write(self, content: str, age: float = 10) -> None:
        """Write the file with a modification time `age` seconds ago."""
        self.path.write_text(content)
        os.utime(self.path, (self.now - age, self.now - age))

    def host(self, app_id: str = "shop") -> str | None:
        """Return the host that the app's first webhook has in the registry."""
        found = self.registry.find(app_id)
        return found.webhooks[0].name.split(".")[0] if found and found.webhooks else None


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path, FIRST)


def test_unchanged_file_returns_nothing(watched: Watched) -> None:
    assert watched.source.poll() is None
    assert watched.source.poll() is None
    assert watched.host() == "one"


def test_changed_file_is_applied_at_the_next_poll(watched: Watched) -> None:
    watched.source.poll()
    watched.write(json.dumps(SECOND), age=1)
    result = watched.source.poll()
    assert result is not None
    assert (result.applied, result.lines) == (True, ())
    assert watched.host() == "two"
    assert watched.registry.find("other") is not None
    assert watched.source.poll() is None


def test_change_before_the_first_poll_is_applied(watched: Watched) -> None:
    watched.write(json.dumps(SECOND))
    result = watched.source.poll()
    assert result is not None
    assert watched.host() == "two"


def test_warnings_of_a_changed_file_are_returned(watched: Watched) -> None:
    watched.write(json.dumps(config(app(webhook("https://two.example.test/", channel_prefix="x"), app_id="shop"))))
    result = watched.source.poll()
    assert result is not None
    assert result.applied
    assert "it belongs inside filter" in result.lines[0]


def test_touched_file_with_the_same_content_returns_nothing(watched: Watched) -> None:
    watched.source.poll()
    watched.write(json.dumps(FIRST), age=5)
    assert watched.source.poll() is None


def test_replaced_file_of_the_same_size_and_time_is_applied(watched: Watched) -> None:
    watched.source.poll()
    draft = watched.path.with_suffix(".draft")
    draft.write_text(watched.path.read_text().replace("one.", "two."))
    os.utime(draft, (NOW - 10, NOW - 10))
    draft.replace(watched.path)
    assert watched.source.poll() is not None
    assert watched.host() == "two"


def test_recently_written_file_is_left_for_the_next_poll(watched: Watched) -> None:
    watched.source.poll()
    watched.write(json.dumps(SECOND), age=0.1)
    assert watched.source.poll() is None
    assert watched.host() == "one"
    watched.now += 1
    assert watched.source.poll() is not None
    assert watched.host() == "two"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "is not valid JSON"),
        ("", "is not valid JSON"),
        (json.dumps(config({"id": "shop", "webhooks": "CANARY"}, {"secret": "CANARY"})), "(and 1 more)"),
        ('{"app_manager": {"driver": "mysql"}}', "app_manager.driver in "),
        ('{"a": ' + "[" * 600 + "]" * 600 + "}", "is nested too deeply"),
        ('{"a": "${ABSENT}"}', "the variable ABSENT is not set"),
    ],
)
def test_broken_file_keeps_the_apps_and_returns_one_line(watched: Watched, content: str, line: str) -> None:
    watched.source.poll()
    watched.write(content)
    result = watched.source.poll()
    assert result is not None
    assert not result.applied
    (printable_lines,) = result.lines
    assert printable_lines.startswith("the previous apps stay in use: ")
    assert line in printable_lines
    assert "\n" not in printable_lines
    assert "CANARY" not in printable_lines
    assert watched.host() == "one"
    assert watched.source.poll() is None


def test_repeated_fault_is_returned_once_and_its_end_is_returned(watched: Watched) -> None:
    watched.source.poll()
    watched.write("{", age=10)
    assert watched.source.poll() is not None
    watched.write("{", age=9)
    assert watched.source.poll() is None
    watched.write(json.dumps(FIRST), age=8)
    result = watched.source.poll()
    assert result is not None
    assert result.applied
    assert watched.host() == "one"


def test_missing_file_keeps_the_apps(watched: Watched) -> None:
    watched.source.poll()
    watched.path.unlink()
    result = watched.source.poll()
    assert result is not None
    assert "cannot be read: No such file or directory" in result.lines[0]
    assert watched.source.poll() is None
    watched.write(json.dumps(SECOND))
    assert watched.source.poll() is not None
    assert watched.host() == "two"


def test_change_without_free_descriptors_is_applied_later(watched: Watched) -> None:
    watched.source.poll()
    watched.write(json.dumps(SECOND))
    with no_descriptors_left():
        refused = watched.source.poll()
        assert watched.source.poll() is None  # reported once
    assert refused is not None
    assert not refused.applied
    assert watched.host() == "one"
    taken = watched.source.poll()
    assert taken is not None
    assert taken.applied
    assert watched.host() == "two"
    assert watched.source.poll() is None


@pytest.mark.parametrize("fault", [ModuleNotFoundError("No module named 'idna'"), OSError(24, "Too many open files")])
def test_change_that_needs_a_module_that_cannot_be_imported_is_applied_later(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """`idna` is imported for the first URL that needs it. Its import may fail while descriptors are short, or while a
    package is being replaced."""

    def refuse(name: str, *_: object) -> None:
        if name == "idna":
            raise fault

    watched.source.poll()
    watched.write(json.dumps(config(app(webhook("https://b\u00fccher.example.test/"), app_id="shop"))))
    monkeypatch.delitem(sys.modules, "idna", raising=False)
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=refuse), *sys.meta_path])
    result = watched.source.poll()
    assert result is not None
    assert not result.applied
    assert result.lines[0].startswith("the previous apps stay in use: a module cannot be imported: ")
    assert watched.source.poll() is None
    assert watched.host() == "one"

    monkeypatch.undo()
    result = watched.source.poll()
    assert result is not None
    assert result.applied
    assert watched.host() == "xn--bcher-kva"


def test_reload_reads_the_file_whatever_its_age(watched: Watched) -> None:
    watched.write(json.dumps(SECOND), age=0)
    assert watched.source.reload().applied
    assert watched.host() == "two"
    assert watched.source.reload().applied
    watched.write("{", age=0)
    assert not watched.source.reload().applied
    assert not watched.source.reload().applied
    assert watched.host() == "two"


def test_replaced_symbolic_link_is_applied(tmp_path: Path) -> None:
    for name, document in (("one", FIRST), ("two", SECOND)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(document))
        os.utime(tmp_path / name / "config.json", (NOW, NOW))
    link = tmp_path / "current"
    link.symlink_to("one")
    loaded, apps = load_with_apps("current/config.json", {}, tmp_path, False)
    registry = StaticApps(apps)
    source = AppSource(loaded.apps_document, loaded.settings, registry, {}, clock=lambda: NOW + 60)
    assert source.poll() is None
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(link)
    assert source.poll() is not None
    assert registry.find("other") is not None


def test_environment_of_the_start_is_used_for_substitution(tmp_path: Path) -> None:
    document = config(app(webhook("https://${HOST}.example.test/"), app_id="shop"))
    watched = Watched(tmp_path, document, {"HOST": "one"})
    watched.write(json.dumps(document | {"x": 1}))
    assert watched.source.poll() is not None
    assert watched.host() == "one"


def test_source_without_a_file_returns_nothing(tmp_path: Path) -> None:
    loaded, apps = load_with_apps(None, {}, tmp_path, False)
    source = AppSource(loaded.apps_document, loaded.settings, StaticApps(apps), {})
    assert source.poll() is None
    assert source.reload().lines == ("there is no settings file, so no apps can be reloaded",)


def test_every_valid_edit_of_many_is_applied(watched: Watched) -> None:
    for number in range(20):
        watched.now += 1
        content = config(app(webhook(f"https://host{number}.example.test/"), app_id="shop"))
        watched.write("{" if number == 10 else json.dumps(content), age=0.5)
        result = watched.source.poll()
        assert result is not None
        assert result.applied == (number != 10)
        assert watched.host() == f"host{9 if number == 10 else number}"


def test_file_with_an_invalid_webhook_is_applied_and_the_webhook_reported(watched: Watched) -> None:
    one, two = webhook("https://two.example.test/"), webhook("ftp://CANARY@h/", name="orders")
    watched.write(json.dumps(config(app(one, two, app_id="shop"))))
    assert watched.source.reload().applied
    assert watched.host() == "two"
    ((app_id, (invalid,)),) = watched.source.invalid_webhooks.items()
    assert (app_id, invalid.name) == ("shop", "orders")
    assert "CANARY" not in repr(invalid)
    watched.write(json.dumps(config(app(one, app_id="shop"))))
    watched.source.reload()
    assert watched.source.invalid_webhooks == {}


def test_broken_file_shows_no_secret(watched: Watched) -> None:
    sound = app(webhook("https://CANARY@h/", headers={"X-A": "CANARY\n"}), app_id="shop", secret="CANARY")
    watched.write(json.dumps(config(sound, {"id": "other", "webhooks": "CANARY"})))
    result = watched.source.reload()
    assert not result.applied
    assert "CANARY" not in repr(result)
    assert "CANARY" not in repr(vars(watched.source)["_document"])


def test_pipe_in_the_place_of_the_file_is_never_waited_for(watched: Watched) -> None:
    watched.source.poll()
    watched.path.unlink()
    os.mkfifo(watched.path)
    os.utime(watched.path, (NOW - 10, NOW - 10))
    result = watched.source.poll()
    assert result is not None
    assert result.lines == (
        f"the previous apps stay in use: {watched.path}: is not a regular file, so it cannot be read again",
    )
    assert watched.source.poll() is None
    assert watched.source.reload().applied is False
    watched.path.unlink()
    watched.write(json.dumps(SECOND))
    assert watched.source.poll() is not None
    assert watched.host() == "two"


def test_pipe_is_read_only_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(json.dumps(FIRST),))
    writer.start()
    loaded, apps = load_with_apps(str(path), {}, tmp_path, False)
    writer.join()
    source = AppSource(loaded.apps_document, loaded.settings, StaticApps(apps), {}, clock=lambda: NOW)
    assert [one.id for one in apps] == ["shop"]
    os.utime(path, (NOW - 10, NOW - 10))
    result = source.poll()
    assert result is not None
    assert "cannot be read again" in result.lines[0]
    assert source.poll() is None
