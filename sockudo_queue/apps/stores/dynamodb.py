"""Apps in Amazon DynamoDB."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from sockudo_queue.apps.stores.base import Row
from sockudo_queue.config import DynamodbSettings
from sockudo_queue.errors import AppStoreUnavailable
from sockudo_queue.runtime.backoff import Backoff

BATCH: Final = 100  # Amazon's own limit for BatchGetItem
MAX_KEY_BYTES: Final = 2048  # bytes of a partition key
CONNECT_SECONDS: Final = 3
ANSWER_SECONDS: Final = 3
TRIES: Final = 4
FIRST_PAUSE: Final = 0.2
MAX_PAUSE: Final = 0.8
"""A throttled table is asked up to `TRIES` times for what it left out, with pauses of 0.2, 0.4 and 0.8 seconds."""
MAX_CODE_LENGTH: Final = 100
_NAMES: Final = {"#id": "id", "#policy": "policy", "#webhooks": "webhooks"}
_DENIED: Final = (
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "ExpiredTokenException",
)


class DynamodbStore:
    """The table of apps that Sockudo's driver `dynamodb` keeps."""

    batch = BATCH

    def __init__(self, settings: DynamodbSettings) -> None:
        self._settings = settings
        self._client: Any = None
        self.name = f"dynamodb {settings.table_name} in {settings.region}"

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        """Return the rows of the given ids that exist.

        An id that cannot be a key belongs to no app. It is left out, because Amazon would refuse the whole query.
        """
        ids = [app_id for app_id in ids if 0 < len(app_id.encode()) <= MAX_KEY_BYTES]
        if not ids:
            return []
        found: list[Row] = []
        wanted: Mapping[str, Any] = {
            self._settings.table_name: {
                "Keys": [{"id": {"S": app_id}} for app_id in ids],
                "ProjectionExpression": ", ".join(_NAMES),
                "ExpressionAttributeNames": _NAMES,
            }
        }
        backoff = Backoff(FIRST_PAUSE, MAX_PAUSE)
        for tried in range(TRIES):
            if tried:
                time.sleep(backoff.next())
            answer = self._asked("batch_get_item", RequestItems=wanted)
            found += [row for item in _items(_part(answer, "Responses", Mapping)) if (row := _row(item)) is not None]
            wanted = answer.get("UnprocessedKeys") or {}
            if not wanted:
                return found
        raise AppStoreUnavailable(f"the requests exceed the capacity of the table {self._settings.table_name}")

    def sample(self, limit: int) -> list[str]:
        """Return at most `limit` existing ids, in no order."""
        answer = self._asked(
            "scan",
            TableName=self._settings.table_name,
            Limit=limit,
            ProjectionExpression="#id",
            ExpressionAttributeNames={"#id": "id"},
        )
        return [row.id for item in _part(answer, "Items", Sequence) if (row := _row(item)) is not None]

    def close(self) -> None:
        """Close the connections; the next call opens others."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _asked(self, operation: str, **arguments: Any) -> Any:
        try:
            if self._client is None:
                self._client = _client(self._settings)
            return dict(getattr(self._client, operation)(**arguments))
        except Exception as error:  # noqa: BLE001 - botocore does not validate responses: a bad one can fail anywhere
            self.close()  # the client may cache credentials that are no longer valid
            raise AppStoreUnavailable(self._format_error(error)) from None

    def _format_error(self, error: Exception) -> str:
        """Return the reason for operators. Amazon's messages may quote the request, so only codes are shown."""
        if isinstance(error, ReadTimeoutError):
            return f"no answer within {ANSWER_SECONDS} s"
        if isinstance(error, EndpointConnectionError | ConnectTimeoutError):
            return f"cannot be reached in {self._settings.region}, or at database.dynamodb.endpoint_url if that is set"
        if isinstance(error, NoCredentialsError):
            return "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role"
        if not isinstance(error, ClientError):
            return type(error).__name__
        code = str(error.response.get("Error", {}).get("Code", ""))
        if not (code.isascii() and code.isalnum() and len(code) <= MAX_CODE_LENGTH):
            return "unknown error"
        if code == "ResourceNotFoundException":
            return f"there is no table {self._settings.table_name} in {self._settings.region}"
        if code in _DENIED:
            return f"{code}: the credentials do not allow dynamodb:BatchGetItem on {self._settings.table_name}"
        return code


def _part(answer: Mapping[str, Any], name: str, kind: type) -> Any:
    if not isinstance(answer.get(name), kind):
        raise AppStoreUnavailable("the server does not speak DynamoDB's protocol")
    return answer[name]


def _items(tables: Mapping[str, Any]) -> Iterator[Any]:
    return chain.from_iterable(items for items in tables.values() if isinstance(items, Sequence))


def _row(item: Any) -> Row | None:
    """Read one item; None for one without an id, which is no item that was requested."""
    app_id = _text(item, "id")
    # Sockudo reads only texts and ignores attributes of other types.
    return Row(app_id, _text(item, "policy"), _text(item, "webhooks")) if app_id else None


def _text(item: Any, name: str) -> str | None:
    attribute = item.get(name) if isinstance(item, Mapping) else None
    value = attribute.get("S") if isinstance(attribute, Mapping) else None
    return value if isinstance(value, str) else None


def _client(settings: DynamodbSettings) -> Any:
    key, secret, token = settings.aws_access_key_id, settings.aws_secret_access_key, settings.aws_session_token
    if key is not None and secret is not None:
        session = boto3.Session(key.revealed, secret.revealed, None if token is None else token.revealed)
    else:
        session = boto3.Session(profile_name=settings.aws_profile_name)
    return session.client(
        "dynamodb",
        region_name=settings.region,
        endpoint_url=settings.endpoint_url,
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            retries={"total_max_attempts": 2, "mode": "standard"},
        ),
    )
