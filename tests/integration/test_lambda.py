"""Invocations of functions, against a receiver that takes nothing but what AWS would take."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from sockudo_queue.core.apps import LambdaTarget, Webhook
from sockudo_queue.core.outcome import Failure, Verdict
from sockudo_queue.delivery.addresses import Rules
from sockudo_queue.delivery.aws_lambda import LambdaSender
from sockudo_queue.delivery.connections import HandleOptions
from sockudo_queue.delivery.factory import DeliveryStack
from sockudo_queue.delivery.guard import Guard
from sockudo_queue.delivery.transport import CurlTransport
from sockudo_queue.runtime.interpreter_lock import PythonGate
from tests.helpers.certificates import Authority
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.settings import read

KEY: Final = "AKIDEXAMPLE"
SECRET: Final = "CANARY/secret+key"
TOKEN: Final = "CANARY-session-token"
REGION: Final = "eu-west-1"
BODY: Final = b'{"time_ms":1,"events":[{"name":"client_event","data":"\xc3\xbc \\/"}]}'


@pytest.fixture
def aws(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """A receiver in the place of AWS, that takes what is signed and nothing else."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_ENDPOINT_URL_LAMBDA": receiver.url("").rstrip("/"),
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    receiver.answer(lambda request, nth: Answer(202) if is_signed(request) else Answer(403, body=b"signature"))
    return receiver


def is_signed(request: Request) -> bool:
    """Verify the signature as AWS does, from the request alone."""
    algorithm, _, rest = request.headers["authorization"].partition(" ")
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    access_key, day, region, service, end = parts["Credential"].split("/")
    names = parts["SignedHeaders"].split(";")
    path = request.path.replace("%", "%25")  # every service but S3 wants it encoded twice
    canonical = "\n".join(
        [
            request.method,
            path,
            "",
            *(f"{name}:{request.headers[name]}" for name in names),
            "",
            parts["SignedHeaders"],
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    scope = f"{day}/{region}/{service}/{end}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{SECRET}".encode()
    for text in (day, region, service, end):
        key = hmac.new(key, text.encode(), "sha256").digest()
    signed = "\n".join([algorithm, request.headers["x-amz-date"], scope, digest])
    return (
        (access_key, service, end) == (KEY, "lambda", "aws4_request")
        and {"host", "x-amz-date", "x-amz-security-token"} <= set(names)
        and request.headers["x-amz-security-token"] == TOKEN
        and hmac.new(key, signed.encode(), "sha256").hexdigest() == parts["Signature"]
    )


def test_authorities_of_endpoints_count_and_not_those_of_aws(
    aws: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is one of ours, made as to every endpoint."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.ca_file))
    with Receiver(tls=authority.server()) as functions:
        functions.always(202)
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", functions.url("").rstrip("/"))
        reasons = [
            LambdaSender(CurlTransport(options)).post(hook(), BODY)[0].reason
            for options in (HandleOptions(), HandleOptions(ca_file=str(authority.ca_file)))
        ]
    assert reasons == ["tls", "delivered"]


def hook(function: str = "on-webhook", timeout_ms: int = 5000) -> Webhook:
    return Webhook("f", frozenset(), lambda_target=LambdaTarget(function, REGION), request_timeout_ms=timeout_ms)


@pytest.fixture
def sender() -> LambdaSender:
    # The guard is for URLs that others choose; AWS's endpoint may well have a private address.
    return LambdaSender(CurlTransport(HandleOptions(guard=Guard(Rules(private=False)))))


@pytest.mark.parametrize(
    ("function", "path"),
    [
        ("on-webhook", "on-webhook"),
        ("on-webhook:live", "on-webhook%3Alive"),
        ("on-webhook:$LATEST", "on-webhook%3A%24LATEST"),
        (
            "arn:aws:lambda:eu-west-1:123456789012:function:on-webhook",
            "arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aon-webhook",
        ),
    ],
)
def test_a_function_is_invoked_with_the_same_body(
    aws: Receiver, sender: LambdaSender, function: str, path: str
) -> None:
    outcome, _ = sender.post(hook(function), BODY)
    assert outcome.delivered
    [request] = aws.requests
    assert request.path == f"/2015-03-31/functions/{path}/invocations"
    assert request.headers["x-amz-invocation-type"] == "Event"
    assert request.body == BODY
    assert not [name for name in request.headers if name.startswith(("x-pusher", "x-sockudo", "webhook-"))]


def test_the_connection_is_kept(aws: Receiver, sender: LambdaSender) -> None:
    reused = [sender.post(hook(), BODY)[1] for _ in range(4)]
    assert reused == [False, True, True, True]


@pytest.mark.parametrize(
    ("answer", "verdict", "reason"),
    [
        (Answer(429, [("Retry-After", "3")], b'{"Reason":"CallerRateLimitExceeded"}'), "retryable", "status-429"),
        (Answer(500, body=b'{"Type":"Service"}'), "retryable", "status-500"),
        (Answer(503), "retryable", "status-503"),
        (Answer(404, body=b'{"Message":"Function not found: CANARY"}'), "permanent", "status-404"),
        (Answer(413), "permanent", "status-413"),
        (Answer(400, body=b'{"message":"CANARY"}'), "permanent", "status-400"),
        (Answer(403, body=b'{"Message":"User: CANARY is not authorized"}'), "permanent", "status-403"),
        (Answer(403, body=b'{"message":"The security token included is expired"}'), "retryable", "status-403"),
        (Answer(403, body=b'{"message":"Signature expired: 20260101 is now earlier than"}'), "retryable", "status-403"),
        (Answer(reset=True), "retryable", "reset"),
        (Answer(hang=True), "retryable", "read-timeout"),
    ],
)  # fmt: skip
def test_answers_of_aws_are_classified(
    aws: Receiver, sender: LambdaSender, answer: Answer, verdict: str, reason: str
) -> None:
    aws.answer(lambda request, nth: answer)
    outcome, _ = sender.post(hook(timeout_ms=300), BODY)
    assert (outcome.verdict, outcome.reason) == (Verdict(verdict), reason)
    assert outcome.retry_after == (3 if reason == "status-429" else None)
    assert "CANARY" not in repr(outcome)
    assert len(aws.requests) == 1  # nothing is repeated behind our back


def test_credentials_that_were_renewed_in_their_file_are_read_again(
    aws: Receiver, sender: LambdaSender, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    credentials, valid = tmp_path / "credentials", ["AKIAOLD"]

    def answer(request: Request, nth: int) -> Answer:
        is_valid = f"Credential={valid[0]}/" in request.headers["authorization"]
        return Answer(202) if is_valid else Answer(403, body=b'{"message":"The security token ... is expired"}')

    def write(key: str) -> None:
        credentials.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET}\n")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    aws.answer(answer)
    write("AKIAOLD")
    assert sender.post(hook(), b"{}")[0].delivered
    valid[0] = "AKIANEW"
    outcome, _ = sender.post(hook(), b"{}")
    assert (outcome.reason, outcome.verdict) == ("status-403", "retryable")
    write("AKIANEW")
    assert sender.post(hook(), b"{}")[0].delivered
    assert sender.post(hook(), b"{}")[0].delivered


def test_missing_credentials_are_our_own_fault(
    aws: Receiver, sender: LambdaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    outcome, _ = sender.post(hook(), BODY)
    assert (outcome.verdict, outcome.reason) == (Verdict.RETRYABLE, "internal")
    assert not outcome.blames_endpoint
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    assert sender.post(hook(), BODY)[0].delivered  # they may come later


def test_the_library_of_aws_is_imported_by_the_first_invocation_alone() -> None:
    program = "import sys; import sockudo_queue.daemon; print([n for n in sys.modules if n.startswith('boto')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("environment", "invoked"),
    [
        ({}, True),
        ({"QUEUE_DELIVERY_PRIVATE": "deny"}, False),
        ({"QUEUE_DELIVERY_PRIVATE": "deny", "QUEUE_DELIVERY_ALLOWED_FUNCTIONS": "other,on-*"}, True),
        ({"QUEUE_DELIVERY_ALLOWED_FUNCTIONS": "*"}, True),
        ({"QUEUE_DELIVERY_ALLOWED_FUNCTIONS": "webhook,on-webhook-2,arn:*"}, False),
    ],
)
def test_only_functions_that_the_settings_allow_are_invoked(
    aws: Receiver, tmp_path: Path, environment: dict[str, str], invoked: bool
) -> None:
    settings = read(tmp_path, environment=environment).good.settings
    outcome, _ = DeliveryStack(settings, PythonGate()).sender.post(hook(), BODY, {})
    assert aws.count == invoked
    assert outcome.verdict is (Verdict.DELIVERED if invoked else Verdict.PERMANENT)
    if not invoked:
        assert (outcome.failure, outcome.detail) == (
            Failure.GUARD,
            "the function is not among QUEUE_DELIVERY_ALLOWED_FUNCTIONS",
        )
