"""The status page as HTML: one document without a script, a request, or anything that is not escaped; pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Final

from sockudo_queue.observability.status_page import numbers
from sockudo_queue.observability.status_page.board import Death
from sockudo_queue.observability.status_page.charts import Line, chart, counts, scale, times
from sockudo_queue.observability.status_page.report import Report, WebhookRow
from sockudo_queue.observability.status_page.wording import ago, count, moment, rate, seconds, text

RELOAD_SECONDS: Final = 10
SHOWN_WEBHOOKS: Final = 100
SHOWN_INVALID: Final = 10

_STYLE: Final = resources.files("sockudo_queue.observability.status_page").joinpath("style.css").read_text("utf-8")
_STYLE_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final = (
    # Nothing may be loaded or run, whatever a name in the page holds; the one style is named by its digest.
    f"Content-Security-Policy: default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options: nosniff",
    "Referrer-Policy: no-referrer",
)

Unit = Callable[[float], str]

_BREAKERS: Final = {
    "closed": ("good", "ok"),
    "half-open": ("warn", "half-open (probing)"),
    "open": ("bad", "circuit open"),
}


def render(told: Report) -> str:
    """Return the whole document."""
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta http-equiv="refresh" content="{RELOAD_SECONDS}"><meta name="robots" content="noindex">'
            f"<title>{_title(told)}</title><style>{_STYLE}</style></head><body><main>",
            _header(told),
            _notices(told),
            f'<section class="tiles" aria-label="The last ten minutes">{"".join(_tiles(told))}</section>',
            _webhooks(told),
            _dead_letters(told),
            _footer(told),
            "</main></body></html>",
        ]
    )


def _title(told: Report) -> str:
    failing = sum(_state_of(row)[0] in ("warn", "bad") for row in told.webhooks)
    state = "not ready" if not told.ready else f"{failing} unhealthy" if failing else "ready"
    return f"{state} · sockudo-queue"


def _header(told: Report) -> str:
    place = told.place
    pill = '<span class="pill good">ready</span>' if told.ready else '<span class="pill bad">not ready</span>'
    return (
        f'<header><h1>sockudo-queue</h1>{pill}<span class="meta">{text(place.version)} · driver {text(place.driver)} · '
        f"queue {text(place.queue)} · up {seconds(max(told.now - told.since, 1))}</span></header>"
    )


def _notices(told: Report) -> str:
    lines = [f"{text(source)}: {text(reason)}" for source, reason in told.reasons.items()]
    if told.depth is None and told.sampled is not None:
        lines.append("The queue does not answer; its depth is unknown.")
    lines.extend(
        f"{text(source)}: refused by the queue's server, so its jobs are not taken: {text(reason)}"
        for source, reason in told.refused.items()
    )
    if told.lost:
        lines.append(
            f"{count(told.lost)} records have lost their body since the start; something else removes the queue's keys."
        )
    if told.trimmed:
        letters = "dead letter was" if told.trimmed == 1 else "dead letters were"
        lines.append(f"{count(told.trimmed)} {letters} dropped by retention since the start.")
    lines.extend(
        f"Webhook {text(row.webhook)} of app {text(row.app)} is invalid, so its events become dead letters: "
        f"{text(row.reason)}"
        for row in told.invalid[:SHOWN_INVALID]
    )
    if told.invalid_count > SHOWN_INVALID:
        lines.append(f"{count(told.invalid_count - SHOWN_INVALID)} more webhooks are invalid; see /status.json.")
    if not lines:
        return ""
    return f'<div class="notice warn" role="status">{"".join(f"<p>{line}</p>" for line in lines)}</div>'


def _tiles(told: Report) -> Iterator[str]:
    samples, depth, lately = told.samples, told.depth, told.lately
    at, ends = [sample.at for sample in samples], [sample.at for sample in samples[1:]]
    rates, latencies = numbers.rates(samples), numbers.latencies(samples)
    yield _tile(
        "Waiting jobs",
        "-" if depth is None else count(sum(depth.get(state, 0) for state in numbers.WAITING)),
        _depth_words(depth),
        _plot("Waiting jobs", at, told.now, [Line("main", numbers.waiting(samples))], counts(5), count),
    )
    yield _tile(
        "Oldest ready job",
        seconds(told.oldest_age),
        "time since its events",
        _plot(
            "Age of the oldest ready job", at, told.now, [Line("main", numbers.oldest_ages(samples))], times(1), seconds
        ),
    )
    yield _tile(
        "Attempts per second",
        f"{rate(_sum(lately.delivered_rate, lately.failed_rate))} <small>in the last minute</small>",
        _keys([("main", "delivered", rate(lately.delivered_rate)), ("second", "failed", rate(lately.failed_rate))]),
        _plot(
            "Attempts per second, delivered and failed",
            ends,
            told.now,
            [Line("main", rates.delivered), Line("second", rates.failed)],
            counts(1),
            rate,
        ),
    )
    yield _tile(
        "Attempt duration",
        f"{seconds(lately.median_seconds)} <small>in the last minute</small>",
        _keys(
            [
                ("main", "median", seconds(lately.median_seconds)),
                ("second", "p95", seconds(lately.p95_seconds)),
            ]
        ),
        _plot(
            "Attempt duration, median and 95th percentile",
            ends,
            told.now,
            [Line("main", latencies.median), Line("second", latencies.p95)],
            times(0.01),
            seconds,
        ),
    )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _tile(label: str, figure: str, beside: str, plot: str) -> str:
    return (
        f'<div class="card"><div class="label">{label}</div><p class="figure">{figure}</p>'
        f'<div class="beside">{beside}</div>{plot}</div>'
    )


def _depth_words(depth: Mapping[str, int] | None) -> str:
    if depth is None:
        return "unknown"
    ready, delayed, active = (count(depth.get(state, 0)) for state in ("ready", "delayed", "active"))
    return f"{ready} ready, {delayed} delayed, {active} in flight"


def _keys(keys: Sequence[tuple[str, str, str]]) -> str:
    return " ".join(f'<span class="key {kind}"><span>{name} {value}</span></span>' for kind, name, value in keys)


def _plot(
    label: str, at: Sequence[float], now: float, lines: Sequence[Line], steps: Iterable[float], unit: Unit
) -> str:
    top = scale(lines, steps)
    return (
        f'<div class="plot"><span class="top">{unit(top)}</span>{chart(label, at, now, lines, top)}'
        '<div class="axis"><span>10 min ago</span><span>now</span></div></div>'
    )


def _webhooks(told: Report) -> str:
    if not told.webhooks:
        body = '<p class="empty">No attempts yet. A webhook appears with its first attempt.</p>'
    else:
        rows = "".join(_webhook(row, told.now) for row in told.webhooks[:SHOWN_WEBHOOKS])
        body = (
            "<table><thead><tr><th>Webhook</th><th>State</th>"
            '<th class="number">Delivered</th><th class="number">Failed</th><th class="number">In flight</th>'
            f"<th>Last failure</th></tr></thead><tbody>{rows}</tbody></table>"
        )
    recent = f"the last {seconds(told.recent_seconds)}; totals since the start below" if told.webhooks else ""
    return f'<section class="card"><div class="heading"><h2>Webhooks</h2><p>{recent}</p></div>{body}</section>'


def _webhook(row: WebhookRow, now: float) -> str:
    kind, word = _state_of(row)
    failure = (
        f'<code>{text(row.last_failure)}</code><span class="under">{ago(row.failed_at, now)}</span>'
        if row.last_failure
        else '<span class="under">none</span>'
    )
    failing = " failing" if row.recent_failed else ""
    return (
        f'<tr><td class="most"><span class="name">{text(row.webhook)}</span><span class="under">app {text(row.app)}'
        f'</span></td><td class="end"><span class="pill {kind}">{word}</span></td>'
        f"{_number('Delivered', row.recent_delivered, row.delivered)}"
        f"{_number('Failed', row.recent_failed, row.failed, failing)}"
        f'<td class="number" data-label="In flight">{count(row.in_flight)}</td>'
        f'<td class="{"wide" if row.last_failure else "spare"}" data-label="Last failure">{failure}</td></tr>'
    )


def _state_of(row: WebhookRow) -> tuple[str, str]:
    """Return class and word of a state. A webhook that answers 404 to everything opens no breaker, and is not ok."""
    if row.breaker == "closed" and row.recent_failed:
        return ("bad", "failing") if row.only_fails else ("quiet", "partly failing")
    return _BREAKERS[row.breaker]


def _number(label: str, recent: int, total: int, more: str = "") -> str:
    return (
        f'<td class="number{more}" data-label="{label}">{count(recent)}<span class="under">{count(total)}</span></td>'
    )


def _dead_letters(told: Report) -> str:
    stored = "-" if told.depth is None else count(told.depth.get("dead-letter", 0))
    if not told.deaths:
        body = '<p class="empty">This daemon has created none since it started.</p>'
    else:
        rows = "".join(_death(death, told.now) for death in told.deaths)
        body = (
            f'{_reasons(told)}<table><thead><tr><th>When</th><th>Reason</th><th class="number">Attempts</th>'
            f"<th>Webhook</th><th>Job</th></tr></thead><tbody>{rows}</tbody></table>"
        )
    hint = "<code>sockudo-queue dead-letters</code> lists and replays them" if told.place.driver != "memory" else ""
    words = f"{stored} in the queue. Those that this daemon has created since it started are below. {hint}"
    return f'<section class="card"><div class="heading"><h2>Dead letters</h2><p>{words}</p></div>{body}</section>'


def _reasons(told: Report) -> str:
    most = max(told.death_reasons.values())
    lines = [
        f"<span>{text(reason)}</span>"
        f'<svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" '
        f'height="8" rx="1"/><rect width="{max(100 * number / most, 1):.1f}" height="8" rx="1"/></svg>'
        f"<span>{count(number)}</span>"
        for reason, number in sorted(told.death_reasons.items(), key=lambda item: -item[1])
    ]
    return f'<div class="reasons">{"".join(lines)}</div>'


def _death(death: Death, now: float) -> str:
    last = f'<span class="under">last: {text(death.last)}</span>' if death.last else ""
    owed = (
        f'<span class="name">{text(death.webhook)}</span>'
        if death.webhook
        else '<span class="name">the whole job</span>'
    )
    return (
        f'<tr><td data-label="When"><time title="{moment(death.at)}">{ago(death.at, now)}</time></td>'
        f'<td data-label="Reason"><code>{text(death.reason)}</code>{last}</td>'
        f'<td class="number" data-label="Attempts">{count(death.attempts)}</td>'
        f'<td class="wide">{owed}<span class="under">app {text(death.app or "unknown")}</span></td>'
        f'<td class="wide" data-label="Job"><code>{text(death.job)}</code></td></tr>'
    )


def _footer(told: Report) -> str:
    sampled = f"Queue sampled {ago(told.sampled, told.now)}." if told.sampled else "Queue not sampled yet."
    return (
        f"<footer><span>{moment(told.now)}</span><span>{sampled} The page reloads every {RELOAD_SECONDS} s.</span>"
        '<span><a href="/metrics">metrics</a> · <a href="/status.json">JSON</a> · <a href="/readyz">readyz</a> · '
        '<a href="/livez">livez</a></span></footer>'
    )
