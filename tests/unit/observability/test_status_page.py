"""The status page: figures from samples, charts from figures, and escaping."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib import resources
from itertools import islice
from typing import Final

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from sockudo_queue.core.apps import InvalidWebhook
from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.delivery.admission.circuit_breaker import BreakerState
from sockudo_queue.observability.health import Health
from sockudo_queue.observability.metrics import ATTEMPT_SECONDS, Metrics
from sockudo_queue.observability.status_page import charts, numbers, overview, wording
from sockudo_queue.observability.status_page import history as boards
from sockudo_queue.observability.status_page.charts import ChartLine
from sockudo_queue.observability.status_page.history import DeadLetterEvent, Sample, StatusHistory
from sockudo_queue.observability.status_page.pages import StatusPages

NOW: Final = 1_800_000_000.0
HOSTILE: Final = "<script>alert('x')</script>\"&\x1b[31m\u202e\ud800"


def sample(
    at: float, waiting: int | None = 0, *, delivered: int = 0, failed: int = 0, oldest: float | None = None
) -> Sample:
    depth = None if waiting is None else {"ready": waiting, "active": 9, "delayed": 0, "held": 0, "dead-letter": 9}
    return Sample(at, depth, oldest, delivered, failed, ())


def ended(metrics: Metrics, app: str, webhook: str, outcome: str = "delivered", *, reason: str | None = None) -> None:
    counts = metrics.webhook(app, webhook)
    counts.started()
    counts.ended(outcome, 0.02, status=200 if reason is None else 503, reason=reason)


def pages(metrics: Metrics, *, driver: str = "redis") -> tuple[StatusHistory, Health, StatusPages]:
    history, health = StatusHistory(metrics), Health()
    return history, health, StatusPages(history, health, driver, "webhooks")


def test_rates_are_between_samples() -> None:
    samples = [sample(0, delivered=10), sample(5, delivered=60, failed=5), sample(10, delivered=60, failed=5)]
    assert numbers.rates(samples) == ((10.0, 0.0), (1.0, 0.0))
    assert numbers.rates(samples[:1]) == ((), ())


def test_missing_sample_is_a_gap() -> None:
    samples = [sample(0, 3), sample(5, None), sample(10, 4, oldest=7.5)]
    assert numbers.waiting(samples) == (3.0, None, 4.0)
    assert numbers.oldest_ages(samples) == (0.0, None, 2.5)


def test_percentiles_are_computed_from_the_buckets() -> None:
    counts = [0] * (len(ATTEMPT_SECONDS) + 1)
    assert numbers.percentile(counts, 0.5) is None
    counts[1] = 100  # between 5 and 10 ms
    assert numbers.percentile(counts, 0.5) == pytest.approx(0.0075)
    counts[-1] = 100
    assert numbers.percentile(counts, 0.95) == ATTEMPT_SECONDS[-1]


def test_the_board_keeps_ten_minutes_and_a_mark_a_minute() -> None:
    metrics = Metrics("redis", "webhooks")
    history = StatusHistory(metrics)
    for number in range(300):
        ended(metrics, "shop", "orders")
        history.sample({"ready": 0}, None, NOW + 5 * number)
    view = history.view()
    assert len(view.samples) == boards.SAMPLES
    assert view.samples[-1].delivered == 300
    assert view.counts_before is not None
    assert 540 <= view.samples[-1].at - view.counts_before.at <= 660


def test_a_daemon_that_has_just_begun_does_not_claim_that_nothing_is_delivered() -> None:
    metrics = Metrics("redis", "webhooks")
    history, _, shown = pages(metrics)
    ended(metrics, "shop", "orders")
    for rate, words in ((None, "delivered -"), (0.2, "delivered 0.2")):
        history.sample({"ready": 0}, None, NOW if rate is None else NOW + 5)
        assert json.loads(shown.json().get_data())["last_minute"]["delivered_rate"] == rate
        assert words in shown.html().get_data(as_text=True)
        ended(metrics, "shop", "orders")


@pytest.mark.parametrize("interval", [5, 30, 90])
def test_minutes_are_minutes_however_often_the_queue_is_asked(interval: int) -> None:
    metrics = Metrics("sqs", "webhooks")
    history, _, shown = pages(metrics, driver="sqs")
    moments = range(0, 3600, interval)
    for moment in moments:
        if moment < 3600 - 120:  # nothing has come for two minutes
            ended(metrics, "shop", "orders")
        history.sample({"ready": 0}, None, NOW + moment)
    document = json.loads(shown.json().get_data())
    assert document["last_minute"]["delivered_rate"] == 0
    first, last = history.view().samples[0], history.view().samples[-1]
    assert 600 - interval <= last.at - first.at <= 600 + interval


@pytest.mark.parametrize(
    ("values", "top"), [([0], 5), ([5], 5), ([6], 10), ([11, 3], 20), ([20.5], 50), ([5001], 10_000), ([], 5)]
)
def test_the_top_of_a_chart_is_a_round_number(values: list[float], top: float) -> None:
    assert charts.scale([ChartLine("main", values)], charts.counts(5)) == top


def test_times_go_up_like_a_clock() -> None:
    assert list(islice(charts.times(0.5), 12)) == [0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800]
    assert charts.scale([ChartLine("main", [90_000])], charts.times(1)) == 172_800


def test_a_chart_is_well_formed_and_stays_inside() -> None:
    values = [None, 0.0, 10.0, None, 3.0, None]
    at = [NOW - 700, NOW - 20, NOW - 15, NOW - 10, NOW - 5, NOW]
    drawn = charts.chart("a chart", at, NOW, [ChartLine("main", values), ChartLine("second", [None] * 6)], 10)
    paths = [drawn.area, *(line.path for line in drawn.lines)]
    assert paths[2] == ""
    assert paths[1] == "M290 71L292.5 1M297.5 50h.1"  # a lonely value is a dot
    for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", "".join(paths)):
        assert 0 <= float(x) <= charts.WIDTH
        assert 0 <= float(y) <= charts.HEIGHT


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (0, "0 s"), (0.0004, "1 ms"), (0.9994, "999 ms"), (1.25, "1.2 s"), (45, "45 s"), (600, "10 min")],
)
def test_lengths_of_time_are_readable(value: float | None, shown: str) -> None:
    assert wording.seconds(value) == shown


def test_figures_are_readable() -> None:
    assert [wording.count(value) for value in (0, 9_999, 12_345, 1_234_567)] == ["0", "9,999", "12k", "1.2M"]
    assert [wording.rate(value) for value in (0, 0.04, 3.21, 1234)] == ["0", "0.04", "3.2", "1,234"]
    assert [wording.ago(NOW, NOW + age) for age in (-5, 0.2, 8, 300)] == ["1 s ago", "1 s ago", "8 s ago", "5 min ago"]


class Tags(HTMLParser):
    """The tags and the text of a page; a tag that is closed in the wrong place is a fault."""

    EMPTY: Final = frozenset({"meta", "rect"})

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.words = ""
        self._open: list[str] = []
        self.feed(document)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_an_empty_page_says_that_nothing_has_happened_yet() -> None:
    _, _, shown = pages(Metrics("redis", "webhooks"))
    found = Tags(shown.html().get_data(as_text=True))
    assert "not ready" in found.words
    assert "starting: the daemon is starting" in found.words
    assert "Queue not sampled yet." in found.words
    assert "No attempts yet" in found.words


def test_page_shows_the_cause_of_a_failure() -> None:
    metrics = Metrics("redis", "webhooks")
    history, health, shown = pages(metrics)
    health.ready()
    history.sample({"ready": 1, "active": 0, "delayed": 41, "held": 0, "dead-letter": 7}, None)
    ended(metrics, "shop", "fine")
    for _ in range(3):
        ended(metrics, "shop", "orders", "retryable", reason="status-503")
    metrics.breaker("shop", "orders", "half-open")
    assert "half-open (probing)" in Tags(shown.html().get_data(as_text=True)).words
    metrics.breaker("shop", "orders", "open")
    history.died(DeadLetterEvent(NOW, "shop", "orders", "job-1", 10, "exhausted", "status-503"))
    history.sample({"ready": 1, "active": 0, "delayed": 41, "held": 0, "dead-letter": 8}, None)
    document = shown.html().get_data(as_text=True)
    found = Tags(document)
    # What waits for its next try is not what the age is of, so the tile must not say "waiting".
    for words in (
        "42",
        "1 ready, 41 delayed, 0 in flight",
        "Oldest ready job",
        "circuit open",
        "status-503",
        "exhausted",
        "job-1",
        "8 in the queue",
    ):
        assert words in found.words, words
    assert document.index(">orders<") < document.index(">fine<")
    assert "<title>1 unhealthy" in document
    health.not_ready("broker", "it is away")  # then nothing is delivered
    assert "<title>not ready" in shown.html().get_data(as_text=True)


@pytest.mark.parametrize(
    ("delivered", "failed", "word", "title"),
    [
        (0, 3, "failing", "1 unhealthy"),  # 404 to everything, for example, which opens no breaker
        (1, 3, "partly failing", "ready"),
        (1, 0, "ok", "ready"),
    ],
)
def test_a_webhook_that_only_fails_is_not_called_ok(delivered: int, failed: int, word: str, title: str) -> None:
    metrics = Metrics("redis", "webhooks")
    history, health, shown = pages(metrics)
    health.ready()
    history.sample({"ready": 0}, None)
    for _ in range(delivered):
        ended(metrics, "shop", "orders")
    for _ in range(failed):
        ended(metrics, "shop", "orders", "permanent", reason="status-404")
    document = shown.html().get_data(as_text=True)
    assert re.findall(
        r'class="end"><span class="pill \w+"><span class="mark" aria-hidden="true">.</span>([^<]*)<', document
    ) == [word]
    assert f"<title>{title} " in document


def test_failing_webhooks_come_before_those_with_some_failed_attempts() -> None:
    metrics = Metrics("redis", "webhooks")
    _, _, shown = pages(metrics)
    ended(metrics, "shop", "fine")
    ended(metrics, "shop", "flaky")
    for _ in range(9):
        ended(metrics, "shop", "flaky", "permanent", reason="status-404")
    ended(metrics, "shop", "gone", "permanent", reason="status-404")
    metrics.breaker("shop", "stopped", "open")
    document = json.loads(shown.json().get_data())
    assert [row["webhook"] for row in document["webhooks"]] == ["stopped", "gone", "flaky", "fine"]


def test_queue_that_does_not_answer_is_shown_as_unknown() -> None:
    history, health, shown = pages(Metrics("redis", "webhooks"))
    health.ready()
    history.sample(None, None)
    words = Tags(shown.html().get_data(as_text=True)).words
    assert "The queue does not answer; its depth is unknown." in words
    assert "Queue sampled 1 s ago." in words


def test_nothing_breaks_out_of_the_page() -> None:
    metrics = Metrics("redis", "webhooks")
    history, health, shown = pages(metrics, driver=HOSTILE[:-1])
    plain = Tags(shown.html().get_data(as_text=True))
    health.not_ready("broker", HOSTILE[:-1])
    invalid = InvalidWebhook(HOSTILE[:-1], None, None, "", HOSTILE[:-1])
    metrics.watch_invalid_webhooks(lambda: {HOSTILE: (invalid,) * 1_000})
    ended(metrics, HOSTILE, HOSTILE, "permanent", reason=HOSTILE)
    history.died(DeadLetterEvent(NOW, HOSTILE, HOSTILE, HOSTILE, 1, HOSTILE, HOSTILE))
    document = shown.html().get_data(as_text=True)
    found = Tags(document)
    assert "script" not in found.tags
    assert found.attributes - plain.attributes <= {
        *("data-label", "class", "title", "preserveaspectratio", "aria-hidden", "scope")
    }
    assert "<script>" in found.words
    assert all(character.isprintable() for character in found.words.replace("\n", ""))


def test_the_page_loads_nothing_and_its_policy_forbids_it() -> None:
    _, _, shown = pages(Metrics("redis", "webhooks"))
    answer = shown.html()
    document = answer.get_data(as_text=True)
    found = Tags(document)
    assert {"src", "style", "onclick", "action"} & found.attributes == set()
    assert {"script", "link", "img", "form", "iframe"} & set(found.tags) == set()
    assert not re.search(r"url\(|@import|https?://", document)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_json_has_the_same_figures_as_the_page() -> None:
    metrics = Metrics("redis", "webhooks")
    history, _, shown = pages(metrics)
    ended(metrics, "shop", "orders", "retryable", reason="refused")
    history.died(DeadLetterEvent(NOW, "shop", "orders", "j", 1, "refused", "status-404"))
    history.sample({"ready": 3}, None)
    document = json.loads(shown.json().get_data())
    assert document["depth"] == {"ready": 3}
    assert set(document["last_minute"]) == {"delivered_rate", "failed_rate", "median_seconds", "p95_seconds"}
    assert document["webhooks"][0]["last_failure"] == "refused"
    assert document["dead_letters"]["by_reason"] == {"refused": 1}
    assert document["not_ready"] == {"starting": "the daemon is starting"}


def test_invalid_webhooks_are_shown_and_counted() -> None:
    metrics = Metrics("redis", "webhooks")
    _, _, shown = pages(metrics)
    assert "invalid" not in shown.html().get_data(as_text=True)
    assert json.loads(shown.json().get_data())["invalid_webhooks"] == {"count": 0, "first": []}

    invalid = tuple(InvalidWebhook(f"hook-{n}", None, None, "place", f"reason {n}") for n in range(1_000))
    metrics.watch_invalid_webhooks(lambda: {"shop": invalid})
    document = shown.html().get_data(as_text=True)
    assert "Webhook hook-9 of app shop is invalid, so its events become dead letters: reason 9" in document
    assert "reason 10" not in document
    assert "990 more webhooks are invalid" in document
    document = json.loads(shown.json().get_data())["invalid_webhooks"]
    assert (document["count"], len(document["first"])) == (1_000, 100)
    assert document["first"][0] == {"app": "shop", "webhook": "hook-0", "reason": "reason 0"}


def test_long_names_of_a_dead_letter_are_cut() -> None:
    history = StatusHistory(Metrics("redis", "webhooks"))
    long = "x" * 1_000_000
    history.died(DeadLetterEvent(NOW, long, long, long, 1, "unreadable", long))
    [death] = history.view().deaths
    assert {len(text) for text in (death.app, death.webhook, death.job, death.last)} == {255}


STYLE: Final = resources.files("sockudo_queue.observability.status_page").joinpath("style.css").read_text("utf-8")


def colors() -> list[dict[str, str]]:
    """Return the colors of the light and of the dark scheme, by name."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    return [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colors, by WCAG 2.2."""

    def luminance(color: str) -> float:
        shares = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize(
    ("front", "back", "least"),
    [
        *((front, back, 4.5) for front in ("text", "soft", "main") for back in ("ground", "card")),
        *((kind, f"{kind}-ground", 4.5) for kind in ("good", "bad", "warn")),
        ("soft", "grid", 4.5),  # the quiet state
        ("bad", "card", 4.5),
        *((line, "card", 3.0) for line in ("main", "second")),
    ],
)
def test_colors_have_the_contrast_of_wcag_aa(scheme: int, front: str, back: str, least: float) -> None:
    names = colors()[scheme]
    assert contrast(names[front], names[back]) >= least


def test_no_state_is_shown_by_color_only() -> None:
    states = [*overview._READY.values(), *overview._BREAKERS.values(), overview._FAILING, overview._PARTLY_FAILING]
    for state in states:
        assert state.word
        assert all(other.mark != state.mark for other in states if other.kind != state.kind)
    assert re.search(r"\.line\.second \{[^}]*stroke-dasharray", STYLE)


def test_the_page_reloads_until_a_person_stops_it() -> None:
    _, _, shown = pages(Metrics("redis", "webhooks"))
    page = shown.by_path["/"]

    def document(query: str) -> str:
        return page(Request(EnvironBuilder("/", query_string=query).get_environ())).get_data(as_text=True)

    assert '<meta http-equiv="refresh" content="10">' in document("")
    assert 'href="/?refresh=off"' in document("")
    assert "http-equiv" not in document("refresh=off")
    assert 'href="/"' in document("refresh=off")


def test_a_page_without_the_block_does_not_reload() -> None:
    base = resources.files("sockudo_queue.observability.status_page").joinpath("templates/base.html.jinja")
    assert "http-equiv" not in base.read_text("utf-8")  # so a page with a form keeps what is typed in it


def test_paused_webhooks_are_shown_and_counted() -> None:
    metrics = Metrics("redis", "webhooks")
    _, _, shown = pages(metrics)
    assert json.loads(shown.json().get_data())["paused_webhooks"] == []
    assert "paused" not in shown.html().get_data(as_text=True)

    held = {WebhookKey("shop", f"hook-{n}"): n for n in range(12)}
    metrics.watch_paused_webhooks(lambda: held)
    document = shown.html().get_data(as_text=True)
    assert "Webhook hook-1 of app shop is paused; 1 delivery is held." in document
    assert "Webhook hook-9 of app shop is paused; 9 deliveries are held." in document
    assert "hook-10" not in document
    assert "2 more webhooks are paused" in document
    document = json.loads(shown.json().get_data())["paused_webhooks"]
    assert document[11] == {"app": "shop", "webhook": "hook-11", "held": 11}


def test_refusal_to_name_the_paused_webhooks_is_shown() -> None:
    history, _, shown = pages(Metrics("redis", "webhooks"))
    assert json.loads(shown.json().get_data())["controls_refused"] is None
    history.controls_refused("NOPERM <b>")
    assert json.loads(shown.json().get_data())["controls_refused"] == "NOPERM <b>"
    assert "applies the pauses that it read before, if any: NOPERM &lt;b&gt;" in shown.html().get_data(as_text=True)
    history.controls_refused(None)
    assert "so this daemon delivers" not in shown.html().get_data(as_text=True)


def test_paused_webhook_is_not_shown_as_failing() -> None:
    metrics = Metrics("redis", "webhooks")
    _, _, shown = pages(metrics)
    ended(metrics, "shop", "orders")
    metrics.breaker("shop", "orders", BreakerState.OPEN)
    assert "circuit open" in shown.html().get_data(as_text=True)
    metrics.watch_paused_webhooks(lambda: {WebhookKey("shop", "orders"): 0})
    document = shown.html().get_data(as_text=True)
    assert "circuit open" not in document
    assert "1 unhealthy" not in document
