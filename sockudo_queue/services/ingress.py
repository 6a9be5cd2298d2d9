"""The HTTP door to the memory driver: `POST /jobs` takes one job, or several as JSON Lines.

It exists for that driver alone, since nothing else can put a job into this process's memory. It listens on the loopback
interface unless told otherwise, and asks nobody who they are.
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
"""Bytes of one request. By default a job of Sockudo holds a hundred events at most, of some 10 KB each."""
JOBS_LIMIT: Final = 10_000
"""Jobs of one request. Each is looked at before any of them is taken, and that may not take seconds."""
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
    """The body is not what the door takes; the message says where, and holds nothing of the body."""


def split_jobs(body: bytes) -> list[bytes]:
    """Return the jobs of a request: the whole body where it is one JSON object, else an object a line.

    Raises `NotJobs`. Whether an object is a job that can be delivered is the dispatcher's business.
    """
    whole = body.strip()
    if _is_object(whole):
        return [whole]
    lines = [(number, line.strip()) for number, line in enumerate(body.split(b"\n"), 1)]
    jobs = [(number, line) for number, line in lines if line]
    if not jobs:
        raise NotJobs("the body is empty")
    if len(jobs) > JOBS_LIMIT:
        raise NotJobs(f"a request may have {JOBS_LIMIT} jobs")
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
    """Serves in the thread that calls `serve`. `put` must not block."""

    def __init__(self, put: Callable[[bytes], None], host: str, port: int) -> None:
        self._put = put
        self._host = host
        self._is_loopback = is_loopback(host)
        self._is_stopping = False
        self._web = WebServer(self._application, host, port, LIMITS)

    @property
    def port(self) -> int:
        """The port that is served; once bound, the real one for port 0."""
        return self._web.port

    def bind(self) -> None:
        """Take the port. Raises `StartError` if the address cannot be used."""
        try:
            self._web.bind()
        except OSError as error:
            raise StartError(
                f"cannot take jobs on {host_port(self._host.strip('[]'), self.port)}: {error.strerror}; "
                "set another QUEUE_MEMORY_INGRESS_PORT or QUEUE_MEMORY_INGRESS_HOST"
            ) from error

    def serve(self, beat: Callable[[], None]) -> None:
        """Take jobs until `stop`; `beat` is called twice a second. After `bind`."""
        self._web.serve(beat)

    def stop(self) -> None:
        """Take nothing more: the port is free, and a request in flight is refused. From any thread."""
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
            # Any page that a developer's browser shows may post to the loopback interface.
            return 403, {"error": "requests of web pages are not taken"}
        if self._is_loopback and not is_own_name(request.host):
            # A page whose name was pointed to the loopback address could post here in its visitor's name.
            return 421, {"error": "on a loopback address, jobs are taken for localhost or an IP address as the host"}
        if self._is_stopping:
            return 503, {"error": "the daemon is being stopped"}
        try:
            jobs = split_jobs(request.get_data(cache=False, parse_form_data=False))
        except NotJobs as fault:
            return 400, {"error": str(fault)}
        for job in jobs:
            self._put(job)
        return 202, {"accepted": len(jobs)}
