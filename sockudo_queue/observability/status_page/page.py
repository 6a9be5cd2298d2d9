"""Renders the status pages as HTML documents without scripts or external resources; pure.

`overview` provides the content, the templates the layout. Jinja escapes every value.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sockudo_queue.observability.status_page.attempts import AttemptsView, link
from sockudo_queue.observability.status_page.overview import overview
from sockudo_queue.observability.status_page.report import Report
from sockudo_queue.observability.status_page.webhook_view import webhook_link
from sockudo_queue.observability.status_page.wording import visible

_PACKAGE: Final = "sockudo_queue.observability.status_page"
_STYLE_TEXT: Final = resources.files(_PACKAGE).joinpath("style.css").read_text("utf-8")
_STYLE: Final = Markup(_STYLE_TEXT)  # noqa: S704 - our own file  # nosec B704
_STYLE_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE_TEXT.encode()).digest()).decode()


def _headers(form_action: str, referrer: str = "no-referrer") -> dict[str, str]:
    return {
        # Nothing may be loaded or run, even if a name in the page contains HTML; the only stylesheet is allowed by its
        # digest.
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; frame-ancestors 'none'; "
        f"base-uri 'none'; form-action {form_action}",
        "Referrer-Policy": referrer,
    }


HEADERS: Final = _headers("'none'")
SEARCH_HEADERS: Final = _headers("'self'")
# With "no-referrer" browsers send `Origin: null` with a form, and then the form's origin is unknown.
ACTION_HEADERS: Final = _headers("'self'", "same-origin")


def _printable(value: object) -> object:
    """Make invisible characters visible; HTML, such as the output of a macro, is not changed."""
    return value if isinstance(value, Markup) else visible(value)


_TEMPLATES: Final = Environment(
    loader=PackageLoader(_PACKAGE),
    autoescape=True,
    auto_reload=False,
    undefined=StrictUndefined,
    trim_blocks=True,
    finalize=_printable,
)


def render(report: Report, *, refresh: bool = True, has_attempts: bool = False, is_for_operators: bool = False) -> str:
    """Return the whole document; `refresh` makes the browser reload it.

    With `has_attempts` webhooks and dead letters are links to their attempts; with `is_for_operators` there are pages
    of dead letters and of each webhook.
    """
    template = _TEMPLATES.get_template("overview.html.jinja")
    shown = overview(report, refresh=refresh)
    return template.render(
        page=shown,
        style=_STYLE,
        attempts_of=link if has_attempts else None,
        has_dead_letters=is_for_operators,
        actions_of=webhook_link if is_for_operators else None,
    )


def render_attempts(view: AttemptsView) -> str:
    """Return the page of attempts."""
    return render_template("attempts.html.jinja", view=view)


def render_template(name: str, **values: object) -> str:
    """Return the page of a template; Jinja escapes the values."""
    return _TEMPLATES.get_template(name).render(style=_STYLE, **values)
