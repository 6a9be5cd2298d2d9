"""`attempts`: search the history, follow it, show the attempts of a job, and delete the entries of an app."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sockudo_queue.commands.attempt_lines import (
    HEADINGS,
    entry_for_machines,
    figures_for_machines,
    figures_lines,
    is_complete,
    missing_lines,
    row_of,
    story_for_machines,
    story_lines,
)
from sockudo_queue.commands.context import EXIT_NO, load, page_address
from sockudo_queue.commands.follow import Follower, follow
from sockudo_queue.commands.terminal import plural, print_error, print_json, print_line, table
from sockudo_queue.config import LoadedSettings
from sockudo_queue.drivers.factory import make_history
from sockudo_queue.errors import BrokerRefused, SettingsError
from sockudo_queue.history.figures import HistoryFigures
from sockudo_queue.history.search import Criteria, Page, position_of
from sockudo_queue.history.store import HistoryStore, SharedHistory
from sockudo_queue.history.story import stories
from sockudo_queue.history.wording import no_entry

STORY_ENTRIES: Final = 2_000
"""Maximum number of entries of one job that are shown; enough for many attempts at 1,000 webhooks."""


def list_attempts(options: argparse.Namespace) -> int:
    """Print the newest matching entries, the newest last; with --follow, continue with new ones."""
    before = None if options.page is None else position_of(options.page)
    if options.page is not None and before is None:
        raise SettingsError(["--page: is not a valid token; use the one below the previous page, or start without it"])
    criteria = criteria_of(options)
    with _reached(options) as reached:
        if reached is None:
            return EXIT_NO
        loaded, store = reached
        figures = _figures(store)
        follower = Follower(store, criteria) if options.follow else None
        up_to = follower.begin() if follower is not None else {}
        page = store.search(criteria, options.limit, before, _never, up_to)
        if options.json:
            print_json({"history": figures_for_machines(figures, loaded, page)})
        else:
            _print_figures(figures, loaded, page)
        _print_page(page, criteria, figures, options)
        if follower is not None:
            follow(follower, as_json=options.json)
    return 0


def show(options: argparse.Namespace) -> int:
    """Print the attempts of one job."""
    with _reached(options) as reached:
        if reached is None:
            return EXIT_NO
        loaded, store = reached
        figures = _figures(store)
        page = store.search(Criteria(job=options.show_job), STORY_ENTRIES, None, _never)
    found = stories(page.entries)
    if options.json:
        webhooks = [story_for_machines(story) for story in found]
        history = figures_for_machines(figures, loaded, page)
        complete = is_complete(figures, page)
        print_json({"history": history, "job": options.show_job, "webhooks": webhooks, "is_complete": complete})
        return 0 if found else EXIT_NO
    _print_figures(figures, loaded, page)
    print_line(f"job       {options.show_job}")
    for line in story_lines(found, figures, page):
        print_line(line)
    if page.next is not None:
        print_line(f"only the newest {len(page.entries):,} entries are shown; use attempts --job for the others")
    return 0 if found else EXIT_NO


def purge(options: argparse.Namespace) -> int:
    """Delete the entries of one app after confirmation."""
    with _reached(options) as reached:
        if reached is None:
            return EXIT_NO
        _, store = reached
        if not options.yes and not _agrees(options.purged_app):
            return EXIT_NO
        removed, refused = store.purge(options.purged_app)
    if options.json:
        print_json({"purged": removed, "refused": list(refused)})
    else:
        print_line(
            f"deleted {plural(removed, 'entry', 'entries')}; entries that a daemon has not stored yet follow within a "
            "second"
        )
    for refusal in refused:
        print_error(f"attempts: entries may be left in {refusal}")
    return EXIT_NO if refused else 0


def criteria_of(options: argparse.Namespace) -> Criteria:
    """Return the search criteria of the options."""
    since, until = options.since, options.until
    return Criteria(
        app=options.app,
        webhook=options.webhook,
        job=options.job,
        channel=options.channel,
        event=options.event,
        outcome=options.outcome,
        reason=options.reason,
        status=options.status,
        since_ms=None if since is None else round(since * 1000),
        until_ms=None if until is None else round(until * 1000),
    )


@contextmanager
def _reached(options: argparse.Namespace) -> Iterator[tuple[LoadedSettings, SharedHistory] | None]:
    """Return the history that a command can reach, or None after printing why there is none."""
    loaded, _ = load(options)
    match loaded.settings.driver:
        case "redis" | "redis-cluster":
            store = make_history(loaded.settings)
            assert isinstance(store, SharedHistory), "as every history on Redis is"
            try:
                yield loaded, store
            finally:
                store.close()
        case "none":
            print_error('attempts: queue.driver is "none", so nothing is delivered')
            yield None
        case driver:
            print_error(
                f"attempts: with the driver {driver}, the history exists only in the running daemon, and commands can "
                f"neither read nor delete it; see its page, {page_address(loaded)}. A restart of the daemon deletes "
                "all entries"
            )
            yield None


def _figures(store: HistoryStore) -> HistoryFigures:
    """Return the figures of the store. Raises `BrokerRefused` if no part of it can be read."""
    figures = store.figures()
    if len(figures.refused) == len(store.sources):
        raise BrokerRefused(f"the history cannot be read: {figures.refused[0]}; docs/drivers.md has the rule")
    return figures


def _never() -> bool:
    return False


def _print_figures(figures: HistoryFigures, loaded: LoadedSettings, page: Page) -> None:
    for line in figures_lines(figures, loaded.settings.history.mode, time.time()):
        print_line(line)
    for line in missing_lines(figures, page):
        print_line(line)


def _print_page(page: Page, criteria: Criteria, figures: HistoryFigures, options: argparse.Namespace) -> None:
    if options.json:
        for entry in reversed(page.entries):
            print_json(entry_for_machines(entry))
        if page.next is not None:
            print_json({"next": page.next})
        return
    if page.entries:
        for line in table(HEADINGS, [row_of(entry) for entry in reversed(page.entries)]):
            print_line(line)
    elif not options.follow:
        print_line(no_entry(figures, criteria, page))
    if page.next is not None:
        print_line(f"there may be older entries: --page {page.next}")


def _agrees(app: str) -> bool:
    if not sys.stdin.isatty():
        print_error(f"attempts: purge would delete all entries of the app {app}; confirm with --yes")
        return False
    sys.stderr.write("Permanently delete all entries of this app from the history? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
