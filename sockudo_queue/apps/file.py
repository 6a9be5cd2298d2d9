"""Builds apps from Sockudo's `app_manager` section and the environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from sockudo_queue.apps.parsing.webhooks import Defaults, read_app
from sockudo_queue.config import (
    AppsDocument,
    ConfigProblems,
    LoadedSettings,
    Settings,
    collect,
    did_you_mean,
    printable_lines,
    secret_looks_odd,
)
from sockudo_queue.core.apps import App

READ_STORES: Final = ("dynamodb", "mysql", "pgsql")
# Sockudo's other stores, which this version cannot read.
_UNREAD_STORES: Final = ("scylladb", "surrealdb")


class ParsedApps(msgspec.Struct, frozen=True):
    """The apps that can be served, and warnings for the operator."""

    apps: tuple[App, ...]
    warnings: tuple[str, ...]


def parse_apps(document: AppsDocument, settings: Settings, *, strict: bool = False) -> ParsedApps:
    """Return the apps of a document. Raises SettingsError with one line for each fault."""
    problems = ConfigProblems(strict)
    apps = collect_apps(document, settings, problems)
    problems.raise_faults()
    return ParsedApps(apps, printable_lines(problems.warnings))


def load_with_apps(
    config_file: str | None,
    environment: Mapping[str, str],
    working_directory: Path,
    strict: bool,
) -> tuple[LoadedSettings, tuple[App, ...]]:
    """Read settings and apps, as `config.load` does. One SettingsError reports the faults of both."""
    problems = ConfigProblems(strict)
    loaded = collect(config_file, environment, working_directory, problems)
    # Without a readable file, a warning about missing apps would only repeat the first fault.
    apps = collect_apps(loaded.apps_document, loaded.settings, problems) if loaded.file_was_read else ()
    problems.raise_faults()
    return msgspec.structs.replace(loaded, warnings=printable_lines(problems.warnings)), apps


def collect_apps(document: AppsDocument, settings: Settings, problems: ConfigProblems) -> tuple[App, ...]:
    """Return the apps of a document and add faults and warnings to `problems`."""
    manager = document.app_manager if isinstance(document.app_manager, Mapping) else {}
    entries = _entries(manager, document, problems)
    _check_store(settings.apps.driver, entries, document, problems)
    defaults = Defaults(
        settings.retry, settings.delivery.request_timeout_ms, settings.limits.ceilings(), can_pause=True
    )
    apps: dict[str, App] = {}
    for app in _read_apps(entries, document, defaults, problems):
        if app.id in apps:
            problems.warnings.append(f"{document.path}: app {app.id!r} is defined twice; the later one is used")
        apps[app.id] = app
    # With a store, the server has written its default app there, and the store has its current state.
    default_app = document.environment.default_app_id
    if default_app is not None and settings.apps.driver == "memory":
        apps.setdefault(default_app, App(default_app, ()))
    if settings.apps.driver not in READ_STORES and not any(app.webhooks or app.invalid for app in apps.values()):
        problems.warnings.append(
            "no app has a webhook, so nothing will be delivered; configure them under app_manager.array.apps in the "
            "file"
        )
    return tuple(apps.values())


def _entries(manager: Mapping[str, Any], document: AppsDocument, problems: ConfigProblems) -> list[Any]:
    """Return the file's apps, or none where the environment makes Sockudo ignore them."""
    array = manager.get("array")
    entries = array.get("apps") if isinstance(array, Mapping) else array
    if entries is None:
        return []
    if not isinstance(array, Mapping) or not isinstance(entries, list):
        problems.faults.append(
            f'{document.path}: app_manager.array must be an object with a list: {{"apps": [{{"id": "shop", …}}]}}'
        )
        return []
    if entries and document.environment.skips_inline:
        problems.warnings.append(
            f"{document.environment.skips_inline}: because of this variable the apps in {document.path} are ignored, "
            "as in Sockudo; unset it for the daemon to deliver their webhooks"
        )
        return []
    return entries


def _check_store(store: str, entries: list[Any], document: AppsDocument, problems: ConfigProblems) -> None:
    if store not in _UNREAD_STORES:
        return
    where = "APP_MANAGER_DRIVER" if document.environment.driver else f"app_manager.driver in {document.path}"
    if entries:
        problems.warnings.append(
            f"{where}: apps that are only in {store} are ignored; those under app_manager.array.apps are used"
        )
    else:
        problems.faults.append(
            f"{where}: this version cannot read apps in {store}; put the apps with their webhooks under "
            "app_manager.array.apps of a file of the daemon's own, and set app_manager.driver to memory there"
        )


def _read_apps(
    entries: list[Any], document: AppsDocument, defaults: Defaults, problems: ConfigProblems
) -> Iterator[App]:
    for position, entry in enumerate(entries):
        app = _read_app(entry, f"{document.path}: app", position, defaults, problems)
        if app is not None:
            yield app


def _read_app(entry: Any, where: str, position: int, defaults: Defaults, problems: ConfigProblems) -> App | None:
    identity = entry.get("id") if isinstance(entry, Mapping) else None
    if not isinstance(identity, str) or not identity.strip():
        problems.faults.append(f'{where} {position + 1}: must be an object with an id; for example {{"id": "shop", …}}')
        return None
    where = f"{where} {identity!r}"
    _check_secret(entry.get("secret"), where, problems)
    return read_app(identity, _webhooks_of(entry, where, problems), where, defaults, problems)


def _check_secret(secret: object, where: str, problems: ConfigProblems) -> None:
    """Check the app's secret. Deliveries are signed with the job's secret, but the server takes that one from here."""
    if isinstance(secret, str) and not secret.strip():
        problems.faults.append(f"{where}: secret is empty, so signatures would prove nothing; set one")
    elif isinstance(secret, str) and (odd := secret_looks_odd(secret)):
        problems.warnings.append(f"{where}: the secret {odd}")


def _webhooks_of(entry: Mapping[str, Any], where: str, problems: ConfigProblems) -> Any:
    """Return the effective webhooks: those of the policy if there is one, else of the flat form."""
    for key in entry:
        if key not in ("webhooks", "policy") and did_you_mean(key, ("webhooks", "policy")):
            problems.unknown(f"{where}: no such key: {key}{did_you_mean(key, ('webhooks', 'policy'))}")
    policy = entry.get("policy")
    if policy is None:
        return entry.get("webhooks")
    if not isinstance(policy, Mapping):
        problems.faults.append(f'{where}: policy must be an object, for example {{"webhooks": []}}')
        return None
    if entry.get("webhooks") and entry["webhooks"] != policy.get("webhooks"):
        problems.warnings.append(f"{where}: webhooks beside policy are ignored, as Sockudo does; move them into policy")
    return policy.get("webhooks")
