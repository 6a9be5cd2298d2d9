"""The daemon's pages, used like a browser without JavaScript: reads pages; finds, fills in and sends forms."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final, NamedTuple
from urllib.parse import urlencode

USER: Final = "sockudo-queue"


class Reply(NamedTuple):
    """One response."""

    status: int
    text: str
    headers: http.client.HTTPMessage


class Form(NamedTuple):
    """One form: its action, and its prefilled fields."""

    action: str
    fields: dict[str, str]


@dataclass
class Pages:
    """Requests to one daemon. Each uses a new connection."""

    port: int
    password: str = "p"
    source: str = "127.0.0.1"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def login(self) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"{USER}:{self.password}".encode()).decode()}

    def get(self, path: str, **headers: str | None) -> Reply:
        return self.request("GET", path, None, headers)

    def post(self, form: Form, **headers: str | None) -> Reply:
        """Send a form as a browser does; `headers` replace the browser's, and None omits one."""
        body = urlencode(form.fields)
        sent = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": self.origin,
            "Sec-Fetch-Site": "same-origin",
        }
        return self.request("POST", form.action, body, sent | headers)

    def request(self, method: str, path: str, body: str | None, headers: Mapping[str, str | None]) -> Reply:
        given = self.login | self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10, source_address=(self.source, 0))
        try:
            connection.request(method, path, body, {name: value for name, value in given.items() if value is not None})
            response = connection.getresponse()
            return Reply(response.status, response.read().decode(), response.headers)
        finally:
            connection.close()


def forms(document: str, action: str) -> list[Form]:
    """Return the forms of a page with this action, in their order."""
    return [form for form in _Forms(document).found if form.action == action]


class _Forms(HTMLParser):
    def __init__(self, document: str) -> None:
        super().__init__()
        self.found: list[Form] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(Form(given["action"], {}))
        elif tag == "input" and given.get("type") != "checkbox" and self.found:
            self.found[-1].fields[given["name"]] = given.get("value", "")
