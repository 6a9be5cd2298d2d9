"""The only boto3 client for SQS: created before the threads start. Translates boto3's errors.

It does not retry and does not interpret messages. Importing this module imports boto3.
"""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
import botocore.config
import botocore.exceptions

from sockudo_queue.drivers.sqs.answers import results, sound
from sockudo_queue.drivers.sqs.kms import kms_fault
from sockudo_queue.errors import BrokerError, BrokerRefused, BrokerUnavailable

BATCH: Final = 10
"""Maximum entries of a batch in SQS."""
CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 5.0
"""Seconds beyond the wait of a long poll until a response is overdue."""
SPARE_CONNECTIONS: Final = 4
"""For the threads beside the workers: notifier, renewer, sampler, settler."""
CLOCK_SKEW_SECONDS: Final = 60
MAX_CODE_LENGTH: Final = 100

_MISSING: Final = frozenset({"QueueDoesNotExist", "NonExistentQueue"})
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"})
_UNKNOWN_KEY: Final = frozenset(
    {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "MissingAuthenticationToken"}
)
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_SIGNATURE: Final = frozenset(
    {"SignatureDoesNotMatch", "InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed", "SignatureExpired"}
)
_PASSING: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "OverLimit",
        "ServiceUnavailable",
        "InternalError",
        "InternalFailure",
        "RequestTimeout",
        "QueueDeletedRecently",
        "KmsThrottled",
    }
)
_WRONG_HANDLE: Final = frozenset(
    {"ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight", "InvalidIdFormat"}
)
_TOO_LARGE: Final = frozenset({"InvalidParameterValue", "InvalidMessageContents", "BatchRequestTooLong"})


class QueueMissing(BrokerRefused):
    """There is no queue with this name or URL."""


class QueueExists(BrokerRefused):
    """A queue with this name already exists with other attributes."""


class CredentialsUnusable(BrokerRefused):
    """AWS does not accept the credentials, or they expired; their source may have fresh ones."""


class EntryFailed(Exception):
    """One entry of a batch was refused. The caller reacts to `lost` and `too_large`."""

    def __init__(self, code: str, *, sender_fault: bool) -> None:
        super().__init__(code)
        fault = kms_fault(code)
        code = _bare(code)
        self.lost = sender_fault and code in _WRONG_HANDLE
        self.too_large = sender_fault and code in _TOO_LARGE
        self.error: BrokerError = (
            BrokerRefused(f"SQS: {fault}" if fault else f"SQS refused an entry of a batch ({code or 'no code'})")
            if (sender_fault or fault) and code not in _PASSING
            else BrokerUnavailable(f"SQS could not take an entry of a batch ({code or 'no code'})")
        )


class SqsClient:
    """Calls of SQS by their names in boto3. All methods except the constructor block and raise `BrokerError`."""

    def __init__(self, *, region: str, endpoint_url: str | None, slots: int, wait_seconds: int) -> None:
        self._endpoint_url = endpoint_url
        self._config = botocore.config.Config(
            region_name=region,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=wait_seconds + ANSWER_SECONDS,
            max_pool_connections=2 * slots + SPARE_CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": 1},
            tcp_keepalive=True,
        )
        self._lock = threading.Lock()
        self._client: Any = None
        self._where = ""

    def call(self, operation: str, **parameters: Any) -> Mapping[str, Any]:
        """Call one operation and return its response. Callers must treat missing fields as empty."""
        try:
            return dict(getattr(self._connected(), operation)(**parameters))
        except botocore.exceptions.ClientError as error:
            translated = _translated(error, operation)
            if isinstance(translated, CredentialsUnusable):
                self._forget_credentials()
            raise translated from None
        except botocore.exceptions.BotoCoreError as error:
            raise self._without_answer(error) from None
        except BrokerError:
            raise
        except Exception as error:  # noqa: BLE001
            # The library does not validate responses: a bad one, such as a proxy's page, can fail anywhere inside it.
            raise BrokerUnavailable(f"SQS: {self._where} sent an invalid response ({type(error).__name__})") from None

    def batch(self, operation: str, queue_url: str, entries: Sequence[Mapping[str, Any]]) -> list[EntryFailed | None]:
        """Call a batch operation with at most ten entries, whose ids are added here. None in the result means success.

        An entry that is missing in the response counts as failed.
        """
        numbered = [{"Id": str(number), **entry} for number, entry in enumerate(entries)]
        answer = self.call(operation, QueueUrl=queue_url, Entries=numbered)
        ended: list[EntryFailed | None] = [EntryFailed("NoResult", sender_fault=False) for _ in entries]
        for number, failure in results(answer, [entry["Id"] for entry in numbered]):
            ended[number] = None if failure is None else _failed(failure)
        return ended

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._made()
            return self._client

    def _made(self) -> Any:
        # An own session: the default one must not be shared between threads, and caches credentials.
        client = boto3.session.Session().client("sqs", endpoint_url=self._endpoint_url, config=self._config)
        parts = urlsplit(client.meta.endpoint_url)
        self._where = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        client.meta.events.register("before-parse.sqs", _drop_odd_entries)
        client.meta.events.register("after-call.sqs", _check_answer)
        return client

    def _forget_credentials(self) -> None:
        """Read the credentials again at the next call. Calls in progress keep their client until they end."""
        with self._lock:
            self._client = None

    def _without_answer(self, error: botocore.exceptions.BotoCoreError) -> BrokerError:
        match error:
            case botocore.exceptions.NoCredentialsError() | botocore.exceptions.PartialCredentialsError():
                self._forget_credentials()
                return CredentialsUnusable(
                    "SQS: no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the "
                    "process a role"
                )
            case botocore.exceptions.NoRegionError() | botocore.exceptions.InvalidRegionError():
                return BrokerRefused("SQS: no usable region; set queue.sqs.region (QUEUE_SQS_REGION), as in us-east-1")
            case botocore.exceptions.CredentialRetrievalError() | botocore.exceptions.TokenRetrievalError():
                return BrokerUnavailable("SQS: AWS credentials could not be fetched from their source")
            case botocore.exceptions.ProfileNotFound():
                return BrokerRefused("SQS: the profile in AWS_PROFILE was not found in the credentials files")
            case botocore.exceptions.ParamValidationError():
                return BrokerRefused("SQS: boto3 rejected the parameters of a call; see queue.sqs.* in the settings")
        kind = type(error).__name__
        return BrokerUnavailable(f"SQS: no response from {self._where or 'the endpoint'} ({kind})")


def _failed(failure: Mapping[str, Any]) -> EntryFailed:
    return EntryFailed(str(failure.get("Code", "")), sender_fault=failure.get("SenderFault") is True)


def _drop_odd_entries(response_dict: dict[str, Any], **_: Any) -> None:
    """Drop invalid entries before botocore parses the response: it would fail on the whole of it."""
    if response_dict.get("status_code") == 200 and isinstance(response_dict.get("body"), bytes):
        response_dict["body"] = sound(response_dict["body"])


def _check_answer(http_response: Any, **_: Any) -> None:
    """Refuse a response that is not a whole JSON object: botocore would treat it as empty."""
    content = http_response.content.strip()
    if content and not (content.startswith(b"{") and content.endswith(b"}")):
        raise BrokerUnavailable("SQS: the response is not JSON, or truncated")


def _translated(error: botocore.exceptions.ClientError, operation: str) -> BrokerError:
    answer: Any = error.response
    named = str(answer.get("Error", {}).get("Code", ""))
    code = _bare(named)
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    action = "".join(word.title() for word in operation.split("_")).removesuffix("Batch")
    if (fault := kms_fault(named)) is not None:
        return BrokerRefused(f"SQS: {fault}")
    if code in _MISSING:
        return QueueMissing("SQS: the queue does not exist")
    if code in {"QueueNameExists", "QueueAlreadyExists"}:
        return QueueExists("SQS: the queue exists with other attributes")
    if code in _DENIED:
        return BrokerRefused(
            f"SQS: access denied; allow sqs:{action} to these credentials (docs/drivers.md has the list)"
        )
    if code in _UNKNOWN_KEY:
        return CredentialsUnusable("SQS: AWS does not know these credentials; check AWS_ACCESS_KEY_ID or the role")
    if code in _EXPIRED:
        return CredentialsUnusable("SQS: the AWS credentials have expired; each retry looks for fresh ones")
    if code in _SIGNATURE:
        return CredentialsUnusable(f"SQS: the signature was refused; {_clocks(answer)}")
    if code in _PASSING or status >= 500 or status == 429:
        return BrokerUnavailable(f"SQS: {action} failed for now ({code or status})")
    return BrokerRefused(f"SQS: {action} was refused ({code or status})")


def _clocks(answer: Any) -> str:
    """Return what to check, depending on whether the clocks differ."""
    stamp = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        behind = email.utils.parsedate_to_datetime(stamp).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return "check AWS_SECRET_ACCESS_KEY and the clock of this machine"
    if abs(behind) < CLOCK_SKEW_SECONDS:
        return "check AWS_SECRET_ACCESS_KEY"
    return f"the clock of this machine is {abs(behind):.0f} s {'behind' if behind > 0 else 'ahead of'} the server's"


def _bare(code: str) -> str:
    """Return an error code without its service prefix, which some responses have. Empty for an invalid code."""
    bare = code.rpartition(".")[2].rpartition("#")[2]
    return bare if bare.isalnum() and bare.isascii() and len(bare) <= MAX_CODE_LENGTH else ""
