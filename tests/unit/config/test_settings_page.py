"""The example file and the page of settings agree with the models."""

from __future__ import annotations

import json
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from sockudo_queue.config import Settings
from sockudo_queue.config.documents import Document
from sockudo_queue.config.options import OPTIONS
from tests.helpers.settings import read

ROOT = Path(__file__).parents[3]
EXAMPLE = (ROOT / "config.example.json").read_bytes()


def test_the_example_holds_every_setting_and_no_other(tmp_path: Path) -> None:
    outcome = read(tmp_path, EXAMPLE, strict=True)
    assert outcome.warnings == ()
    document = json.loads(EXAMPLE)
    assert {key for key in _leaves(document) if not key.startswith("app_manager.array.")} == {
        option.key for option in OPTIONS
    }


def test_the_example_holds_the_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path, EXAMPLE).good.settings
    # Sockudo knows no null for its number of workers, so the example writes the number that null means here.
    defaults = Settings()
    unset = {"concurrency": defaults.workers}
    assert settings == defaults.model_copy(
        update={
            "redis": defaults.redis.model_copy(update=unset),
            "redis_cluster": defaults.redis_cluster.model_copy(update=unset),
            "sqs": defaults.sqs.model_copy(update=unset),
        }
    )


def test_the_example_shows_every_key_of_a_webhook(tmp_path: Path) -> None:
    (app,) = read(tmp_path, EXAMPLE).apps
    assert [webhook.name for webhook in app.webhooks] == ["orders", "archive"]


def test_the_page_of_settings_is_current() -> None:
    page: str = generator().page()
    assert (ROOT / "docs" / "settings.md").read_text() == page, "run scripts/settings-page"
    for option in OPTIONS:
        assert all(f"`{name}`" in page for name in (option.key, *option.variables))


def test_example_file_is_current() -> None:
    assert generator().example() == EXAMPLE.decode(), "run scripts/settings-page"


def generator() -> Any:
    """Return the script that writes both files."""
    loader = SourceFileLoader("settings_page", str(ROOT / "scripts" / "settings_page.py"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    script = module_from_spec(spec)
    loader.exec_module(script)
    return script


def _leaves(value: Any, prefix: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {prefix}
    return {leaf for key, each in value.items() for leaf in _leaves(each, f"{prefix}.{key}".removeprefix("."))}


def test_a_document_never_shows_what_it_holds() -> None:
    assert "CANARY" not in repr(Document(Path("c.json"), {"a": "CANARY"}))
