"""`check`: test settings, queue and endpoints as a daemon would use them; each line says how to fix a problem."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from sockudo_queue.apps.stores.check import app_lines
from sockudo_queue.commands.alerts import alert_findings
from sockudo_queue.commands.context import EXIT_NO, driver_of, examine, load
from sockudo_queue.commands.endpoints import endpoint_findings
from sockudo_queue.commands.filters import filter_findings
from sockudo_queue.commands.pages import port_findings
from sockudo_queue.commands.peers import peer_findings
from sockudo_queue.commands.terminal import moment, plural, print_json, print_line, states
from sockudo_queue.config import UNIX, LoadedSettings, Settings, UnixSocket, redis_scheme, unix_socket
from sockudo_queue.core.apps import App
from sockudo_queue.core.ports import host_port
from sockudo_queue.delivery.guard import Service
from sockudo_queue.delivery.own_services import broker, brokers
from sockudo_queue.drivers.base import Controllable, Driver, Finding, FindingLevel, Inspectable, PeerAware
from sockudo_queue.drivers.factory import make_history, producer_rule_of, region_of
from sockudo_queue.errors import BrokerError, BrokerRefused, BrokerUnavailable, SettingsError
from sockudo_queue.history.store import SharedHistory

EXIT_BAD_SETTINGS: Final = 2
SETTINGS: Final = "settings"
PAUSED_SHOWN: Final = 20
_STORE_GROUPS: Final = frozenset({"apps", "mysql", "postgres", "dynamodb"})
_BROKER_GROUPS: Final = frozenset({"driver", "redis", "redis_cluster", "sentinel", "master_tls", "sqs"})
_DELIVERY_GROUPS: Final = frozenset({"delivery", "memory", "metrics", *_BROKER_GROUPS})  # the guard protects these

_ALERT_GROUPS: Final = frozenset({"alerts", "delivery"})


def check(options: argparse.Namespace) -> int:
    """Run all checks and print the findings; return 1 for an error, 2 for unusable settings."""
    if options.acl:
        return _print_rule(options)
    levels: Counter[tuple[FindingLevel, str]] = Counter()
    found: list[Finding] = []
    for finding in _findings(options):
        levels[finding.level, finding.subject] += 1
        found.append(finding)
        if not options.json:
            print_line(f"{finding.level:<8} {finding.subject}: {finding.text}")
    if options.json:
        _print_json(found)
    else:
        errors, warnings = _count(levels, FindingLevel.ERROR), _count(levels, FindingLevel.WARNING)
        print_line(f"{plural(errors, 'error')}, {plural(warnings, 'warning')}")
    if levels[FindingLevel.ERROR, SETTINGS]:
        return EXIT_BAD_SETTINGS
    return EXIT_NO if _count(levels, FindingLevel.ERROR) else 0


def _count(levels: Counter[tuple[FindingLevel, str]], level: FindingLevel) -> int:
    return sum(count for (each, _), count in levels.items() if each is level)


def _print_json(found: list[Finding]) -> None:
    lines = [{"level": str(level), "subject": subject, "text": text} for level, subject, text in found]
    counts = Counter(line["level"] for line in lines)
    print_json({"errors": counts["error"], "warnings": counts["warning"], "lines": lines})


def _print_rule(options: argparse.Namespace) -> int:
    print_line(producer_rule_of(load(options)[0].settings))
    return 0


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    """Yield findings as they come. The slow ones, which use the network, come last."""
    loaded, apps, faults = examine(options)
    for fault in faults:
        yield Finding(FindingLevel.ERROR, SETTINGS, fault)
    for warning in loaded.warnings:
        yield Finding(FindingLevel.WARNING, SETTINGS, warning)
    for note in loaded.notes:
        yield Finding(FindingLevel.OK, SETTINGS, note)
    webhooks = sum(len(app.webhooks) for app in apps)
    yield Finding(
        FindingLevel.OK,
        SETTINGS,
        f"from {', '.join(loaded.sources) or 'defaults'}; {plural(len(apps), 'app')}, {plural(webhooks, 'webhook')}",
    )
    yield from _where_usable("apps", _STORE_GROUPS, loaded, partial(_app_findings, loaded, apps))
    yield from filter_findings(apps)
    yield from _where_usable("pages", {"metrics"}, loaded, partial(port_findings, loaded.settings.metrics))
    servers: set[Service] = set()
    yield from _where_usable("broker", _BROKER_GROUPS, loaded, partial(_queue_findings, loaded, servers))
    yield from _where_usable(
        "endpoints", _DELIVERY_GROUPS, loaded, partial(endpoint_findings, loaded, apps, servers, probe=options.probe)
    )
    yield from _where_usable(
        "alerts", _ALERT_GROUPS, loaded, partial(alert_findings, loaded.settings, send=options.alert)
    )


def _where_usable(
    subject: str, groups: Collection[str], loaded: LoadedSettings, findings: Callable[[], Iterator[Finding]]
) -> Iterator[Finding]:
    """Skip a check whose settings are invalid: with their defaults, it would check something else."""
    if not loaded.file_was_read:
        yield Finding(FindingLevel.WARNING, subject, "skipped because the settings file cannot be read")
    elif any(attribute.partition(".")[0] in groups for attribute in loaded.unusable):
        yield Finding(FindingLevel.WARNING, subject, "skipped because its settings are invalid")
    else:
        try:
            yield from findings()
        except SettingsError as error:
            for fault in error.faults:
                yield Finding(FindingLevel.ERROR, SETTINGS, fault)


def _app_findings(loaded: LoadedSettings, apps: tuple[App, ...]) -> Iterator[Finding]:
    for level, text in app_lines(loaded, apps):
        subject, _, rest = text.partition(": ")
        yield Finding(FindingLevel(level), subject, rest)


def _queue_findings(loaded: LoadedSettings, servers: set[Service]) -> Iterator[Finding]:
    """Yield findings about the queue, and add servers that no setting names to `servers`."""
    with driver_of(loaded, lambda host, port: servers.add(broker(host, port))) as driver:
        yield from _broker_findings(driver, loaded)


def _broker_findings(driver: Driver, loaded: LoadedSettings) -> Iterator[Finding]:
    reported = ""
    place = f"{driver.name}{_place(loaded.settings)}"
    try:
        driver.ping()
        yield Finding(FindingLevel.OK, "broker", f"{place}: reachable; {states(driver.depth())}")
    except BrokerError as error:
        reported = str(error)
        yield Finding(FindingLevel.ERROR, "broker", f"{place}: {reported.rstrip('.')}{_advice(error)}")
        if isinstance(error, BrokerUnavailable):
            return
    try:
        if isinstance(driver, Inspectable):
            yield from driver.inspect()
        yield from _peer_lines(driver, loaded)
        yield from _history_findings(loaded)
        yield from _paused_findings(driver)
    except BrokerError as error:
        if str(error) != reported:
            yield Finding(FindingLevel.ERROR, "broker", f"{place}: {str(error).rstrip('.')}{_advice(error)}")


def _place(settings: Settings) -> str:
    """Return the address of the queue, without a login. A wrong address is the most common mistake."""
    if settings.driver == "sqs" and settings.sqs.endpoint_url is None:
        return f" in {region_of(settings)}"
    if settings.driver == "redis" and (found := _socket(settings)) is not None:
        return f" at the socket {found.path}, database {found.database}"
    servers = ", ".join(host_port(host, port) for host, port in _addresses(settings))
    if settings.driver == "redis" and settings.redis.url is None and settings.sentinel.nodes:
        return f", master {settings.sentinel.name} of the Sentinels {servers}, database {settings.redis.db}"
    if settings.driver == "redis":
        return f" at {servers}, database {_database(settings)}"
    return f" at {servers}" if servers else ""


def _socket(settings: Settings) -> UnixSocket | None:
    url = settings.redis.url
    return unix_socket(url.revealed) if url is not None and redis_scheme(url.revealed) == UNIX else None


def _addresses(settings: Settings) -> Iterator[tuple[str, int]]:
    if settings.driver == "redis" and settings.redis.url is None and settings.sentinel.nodes:
        return ((node.host, node.port) for node in settings.sentinel.nodes)
    return ((service.host, service.port) for service in brokers(settings))


def _database(settings: Settings) -> str:
    url = settings.redis.url
    if url is None:
        return str(settings.redis.db)
    return urlsplit(url.revealed).path.strip("/") or "0"


def _peer_lines(driver: Driver, loaded: LoadedSettings) -> Iterator[Finding]:
    if isinstance(driver, PeerAware):
        settings = loaded.settings
        group = settings.redis_cluster if settings.driver == "redis-cluster" else settings.redis
        yield from peer_findings(driver.peers, settings.reliability.lease_duration_ms, says_zero=group.concurrency == 0)


def _history_findings(loaded: LoadedSettings) -> Iterator[Finding]:
    """Yield whether the attempt history can be stored. Deliveries do not depend on it."""
    store = make_history(loaded.settings)
    try:
        if not isinstance(store, SharedHistory) or loaded.settings.history.mode == "off":
            return
        refused = store.refused_commands()
        if refused:
            listed = ", ".join(refused)
            text = f"no attempts are recorded: the queue server refuses {listed}; docs/drivers.md has the rule"
            yield Finding(FindingLevel.WARNING, "history", text)
        else:
            yield Finding(
                FindingLevel.OK, "history", f"attempts are recorded; QUEUE_HISTORY is {loaded.settings.history.mode}"
            )
    finally:
        store.close()


def _paused_findings(driver: Driver) -> Iterator[Finding]:
    """Yield the webhooks that operators have paused, or why none can be."""
    if not isinstance(driver, Controllable):
        return
    try:
        pauses = driver.controls.read().pauses
    except BrokerRefused as refusal:
        text = f"no webhook can be paused: the queue server refuses it ({refusal}); docs/operating.md names the key"
        yield Finding(FindingLevel.WARNING, "pauses", text)
        return
    for webhook, pause in sorted(pauses.items())[:PAUSED_SHOWN]:
        app, name = webhook.shown()
        since = f"has been paused since {moment(pause.since_ms)} by {pause.by}"
        text = f"{since}; to end the pause, run sockudo-queue resume"
        yield Finding(FindingLevel.WARNING, f"app {app!r}, webhook {name}", text)
    if len(pauses) > PAUSED_SHOWN:
        yield Finding(FindingLevel.WARNING, "pauses", f"{len(pauses) - PAUSED_SHOWN} more webhooks are paused")


def _advice(error: BrokerError) -> str:
    text = str(error).lower()
    if "authentication failed" in text:
        return "; correct the user and password in the settings, or the server's access rules"
    if text.startswith(("noreplicas", "misconf")):
        return "; no webhook is delivered until it accepts writes again"
    if isinstance(error, BrokerUnavailable) and "the cluster announces" not in text:
        return "; is it running, and is its address correct? (QUEUE_DRIVER=memory needs no server)"
    return ""
