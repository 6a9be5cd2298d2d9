"""The HTTP endpoint of the memory driver: `POST /jobs` accepts one job, or several as JSON Lines.

It exists only for that driver, because no other program can put a job into this process's memory. By default it listens
on the loopback interface. It has no authentication.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from werkzeug.wrappers import Request, Response

from sockudo_queue.core.decoding import DECODE_ERRORS
from sockudo_queue.core.hosts import is_loopback, is_own_name
from sockudo_queue.core.ports import host_port
from sockudo_queue.errors import StartError
from sockudo_queue.observability.web.connection import Limits
from sockudo_queue.observability.web.server import WebServer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PATH: Final = "/jobs"
BODY_LIMIT: Final = 8 * 1024 * 1024
"""Maximum bytes of one request. By default a job of Sockudo has at most a hundred events of some 10 KB each."""
JOBS_LIMIT: Final = 10_000
"""Maximum jobs of one request. All are checked before the first is accepted, which must not take seconds."""
LIMITS: Final = Limits(
    connections=32,
    requests=4,
    body_bytes=BODY_LIMIT,
    head_seconds=10.0,
    body_seconds=30.0,
    response_seconds=10.0,
    keep_alive=True,
    chunked_bodies=True,
    all_bodies_bytes=4 * BODY_LIMIT,
)


class NotJobs(Exception):
    """The body contains no valid jobs; the message says where, and contains nothing of the body."""


def split_jobs(body: bytes) -> list[bytes]:
    """Return the jobs of a request: the whole body if it is one JSON object, else one object per line.

    Raises `NotJobs`. The dispatcher checks later whether an object is a deliverable job.
    """
    whole = body.strip()
    if _is_object(whole):
        return [whole]
    lines = [(number, line.strip()) for number, line in enumerate(body.split(b"\n"), 1)]
    jobs = [(number, line) for number, line in lines if line]
    if not jobs:
        raise NotJobs("the body is empty")
    if len(jobs) > JOBS_LIMIT:
        raise NotJobs(f"a request may contain at most {JOBS_LIMIT} jobs")
    for number, line in jobs:
        if not _is_object(line):
            raise NotJobs(f"line {number} is not a JSON object")
    return [line for _, line in jobs]


def _is_object(text: bytes) -> bool:
    if not text.startswith(b"{"):
        return False
    try:
        text.decode()
        return isinstance(msgspec.json.decode(text), dict)
    except DECODE_ERRORS:
        return False


class Ingress:
    """The server; `serve` runs in the calling thread. `put` must not block."""

    def __init__(self, put: Callable[[bytes], None], host: str, port: int) -> None:
        self._put = put
        self._host = host
        self._is_loopback = is_loopback(host)
        self._is_stopping = False
        self._web = WebServer(self._application, host, port, LIMITS)

    @property
    def port(self) -> int:
        """The port; for port 0 the actual one, after `bind`."""
        return self._web.port

    def bind(self) -> None:
        """Bind the port. Raises `StartError` if the address cannot be used."""
        try:
            self._web.bind()
        except OSError as error:
            raise StartError(
                f"cannot take jobs on {host_port(self._host.strip('[]'), self.port)}: {error.strerror}; "
                "set another QUEUE_MEMORY_INGRESS_PORT or QUEUE_MEMORY_INGRESS_HOST"
            ) from error

    def serve(self, beat: Callable[[], None]) -> None:
        """Accept jobs until `stop`; `beat` is called twice a second. Call `bind` first."""
        self._web.serve(beat)

    def stop(self) -> None:
        """Stop accepting jobs: the port is freed, and a request in flight is refused. Safe from any thread."""
        self._is_stopping = True
        self._web.stop()

    def _application(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, answer = self._answer(Request(environ))
        headers = {"Allow": "POST"} if status == 405 else {}
        body = msgspec.json.encode(answer) + b"\n"
        return Response(body, status, headers, content_type="application/json")(environ, start_response)

    def _answer(self, request: Request) -> tuple[int, dict[str, Any]]:
        if request.path != PATH:
            return 404, {"error": f"try POST {PATH}"}
        if request.method != "POST":
            return 405, {"error": f"only POST {PATH} is served"}
        if "Origin" in request.headers:
            # Any web page in a developer's browser can post to the loopback interface.
            return 403, {"error": "requests from web pages are refused"}
        if self._is_loopback and not is_own_name(request.host):
            # DNS rebinding: a page whose host name resolves to the loopback address could post here.
            return 421, {"error": "on a loopback address, the host must be localhost or an IP address"}
        if self._is_stopping:
            return 503, {"error": "the daemon is stopping"}
        try:
            jobs = split_jobs(request.get_data(cache=False, parse_form_data=False))
        except NotJobs as fault:
            return 400, {"error": str(fault)}
        for job in jobs:
            self._put(job)
        return 202, {"accepted": len(jobs)}
