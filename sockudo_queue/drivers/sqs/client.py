"""The one client of boto3 that talks to SQS: made before the threads, and its errors in our own words.

It repeats nothing by itself and knows nothing of what a message means. Importing this module imports boto3.
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
"""Entries that SQS takes in one batch."""
CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 5.0
"""Seconds beyond the wait of a long poll until an answer is overdue."""
SPARE_CONNECTIONS: Final = 4
"""For the threads beside the workers: notifier, renewer, sampler, settler."""
CLOCK_SKEW_SECONDS: Final = 60
LONGEST_CODE: Final = 100

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
    """There is no queue of this name or at this URL."""


class QueueExists(BrokerRefused):
    """A queue of this name was made by somebody else, with other attributes."""


class CredentialsUnusable(BrokerRefused):
    """AWS does not know us, or not any more; fresh credentials may lie where the old ones came from."""


class EntryFailed(Exception):
    """One entry of a batch was refused. `lost` and `too_large` say what a caller can do about it."""

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
    """Calls of SQS by their names in boto3. Every method but the constructor blocks, and raises `BrokerError`."""

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
        """Call one operation and return its answer; what is missing in it is for the caller to take as empty."""
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
            # The library trusts answers: one that is none, such as a proxy's page, fails somewhere inside it.
            raise BrokerUnavailable(
                f"SQS: {self._where} gave an answer that is none ({type(error).__name__})"
            ) from None

    def batch(self, operation: str, queue_url: str, entries: Sequence[Mapping[str, Any]]) -> list[EntryFailed | None]:
        """Call a batch operation of ten entries at most; their ids are added here. None stands for success.

        An entry that the answer does not speak of has failed.
        """
        numbered = [{"Id": str(number), **entry} for number, entry in enumerate(entries)]
        answer = self.call(operation, QueueUrl=queue_url, Entries=numbered)
        ended: list[EntryFailed | None] = [EntryFailed("NoResult", sender_fault=False) for _ in entries]
        for number, failure in results(answer, [entry["Id"] for entry in numbered]):
            ended[number] = None if failure is None else _failed(failure)
        return ended

    def close(self) -> None:
        """Close the connections; a later call makes new ones."""
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
        # A session of its own: the default one must not be shared between threads, and keeps what it has read.
        client = boto3.session.Session().client("sqs", endpoint_url=self._endpoint_url, config=self._config)
        parts = urlsplit(client.meta.endpoint_url)
        self._where = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        client.meta.events.register("before-parse.sqs", _drop_odd_entries)
        client.meta.events.register("after-call.sqs", _check_answer)
        return client

    def _forget_credentials(self) -> None:
        """Read the credentials anew at the next call. Threads that are at a call keep their client until its end."""
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
                return BrokerUnavailable("SQS: AWS credentials could not be fetched from where they come from")
            case botocore.exceptions.ProfileNotFound():
                return BrokerRefused("SQS: the profile that AWS_PROFILE names is in no file of credentials")
            case botocore.exceptions.ParamValidationError():
                return BrokerRefused("SQS: a call was refused before it was sent; see queue.sqs.* in the settings")
        kind = type(error).__name__
        return BrokerUnavailable(f"SQS: no answer from {self._where or 'the endpoint'} ({kind})")


def _failed(failure: Mapping[str, Any]) -> EntryFailed:
    return EntryFailed(str(failure.get("Code", "")), sender_fault=failure.get("SenderFault") is True)


def _drop_odd_entries(response_dict: dict[str, Any], **_: Any) -> None:
    """Keep an entry that is none from spoiling the whole answer: botocore would fail on it."""
    if response_dict.get("status_code") == 200 and isinstance(response_dict.get("body"), bytes):
        response_dict["body"] = sound(response_dict["body"])


def _check_answer(http_response: Any, **_: Any) -> None:
    """Refuse what is no whole JSON object: botocore takes it for an empty answer."""
    content = http_response.content.strip()
    if content and not (content.startswith(b"{") and content.endswith(b"}")):
        raise BrokerUnavailable("SQS: the answer is not JSON, or only a part of it")


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
        return CredentialsUnusable("SQS: the AWS credentials have expired; fresh ones are looked for at each try")
    if code in _SIGNATURE:
        return CredentialsUnusable(f"SQS: our signature was refused; {_clocks(answer)}")
    if code in _PASSING or status >= 500 or status == 429:
        return BrokerUnavailable(f"SQS: {action} failed for now ({code or status})")
    return BrokerRefused(f"SQS: {action} was refused ({code or status})")


def _clocks(answer: Any) -> str:
    """Say whether clocks that differ can be the reason."""
    stamp = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        behind = email.utils.parsedate_to_datetime(stamp).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return "check AWS_SECRET_ACCESS_KEY and the clock of this machine"
    if abs(behind) < CLOCK_SKEW_SECONDS:
        return "check AWS_SECRET_ACCESS_KEY"
    return f"the clock of this machine is {abs(behind):.0f} s {'behind' if behind > 0 else 'ahead of'} the server's"


def _bare(code: str) -> str:
    """Return a code without the name of its service: both forms are in use. What is no code, is not shown."""
    bare = code.rpartition(".")[2].rpartition("#")[2]
    return bare if bare.isalnum() and bare.isascii() and len(bare) <= LONGEST_CODE else ""
