"""Shared code of both kinds of SQL database: one connection, opened on demand and replaced regularly."""

from __future__ import annotations

import contextlib
import random
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from sockudo_queue.apps.stores.base import Row
from sockudo_queue.config import DatabaseSettings, RegularFile
from sockudo_queue.core.ceilings import DEFAULTS
from sockudo_queue.errors import AppStoreUnavailable, SettingsError, SockudoQueueError, causes

CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 3.0
"""Maximum waits for a connection, and for each part of an answer."""
KEPT_SECONDS: Final = 60.0
"""Lifetime of a connection, so that a changed address, password or table is noticed without a restart."""
BATCH: Final = 25
"""Ids of one query. Each row may contain two columns at their ceiling, together 50 MB."""
WANTED_COLUMNS: Final = ("policy", "webhooks")
"""Columns that are read besides the id, if the table has them; never the one with the app's secret."""

NO_TEXT: Final = b"\xff"
"""Placeholder for a column that cannot be read; it is not valid JSON."""

_OUT_OF_STEP: Final = "the database sent a response that does not belong to the query; the connection was closed"

T = TypeVar("T")


class _TextFault(Exception):
    """A text cannot be represented in an encoding on its way."""


class SqlStore(ABC):
    """A table of apps. A subclass handles one kind of database; `failures` are its library's exceptions."""

    kind: str
    failures: tuple[type[Exception], ...]
    batch = BATCH

    def __init__(
        self,
        settings: DatabaseSettings,
        clock: Callable[[], float] = time.monotonic,
        max_bytes: int = DEFAULTS.app_bytes,
    ) -> None:
        """Rows with a column longer than `max_bytes` are returned with their size and without their columns."""
        self._settings = settings
        self._max_bytes = max_bytes
        self._clock = clock
        self._connection: Any = None
        self._columns: tuple[str, ...] = ()
        self._opened_at = 0.0
        place = f"{settings.host}:{settings.port}/{settings.database}"
        self.name = f"{self.kind} {settings.table_name} at {place}"

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        """Return the rows of the given ids that exist.

        If the database, its library or the column cannot represent a text, only that app is affected: such an id counts
        as unknown, and such a row as unreadable.
        """
        try:
            return self._asked(lambda connection: self._select(connection, self._columns, ids))
        except _TextFault:
            if len(ids) > 1:
                return [row for part in _parts(ids) for row in self.fetch(part)]
            return [unreadable(app_id) for app_id in ids if self._exists(app_id)]

    def sample(self, limit: int) -> list[str]:
        """Return at most `limit` existing ids."""
        try:
            return self._asked(lambda connection: self._select_ids(connection, limit))
        except _TextFault:
            raise AppStoreUnavailable("an id in the table is not valid text in the encoding of the database") from None

    def _exists(self, app_id: str) -> bool:
        try:
            return bool(self._asked(lambda connection: self._select(connection, (), [app_id])))
        except _TextFault:
            return False

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it may already be broken, which may be why it is closed
                connection.close()

    def _asked(self, ask: Callable[[Any], T]) -> T:
        if self._clock() - self._opened_at > KEPT_SECONDS:
            self.close()
        kept = self._connection is not None
        try:
            self._check_step()
            return self._ask(ask)
        except self.failures as error:
            self.close()
            # A kept connection may have been closed long ago, so try a new one. A timeout means the database hangs.
            if not kept or _timed_out(error):
                raise AppStoreUnavailable(self._format_error(error)) from None
        try:
            return self._ask(ask)
        except self.failures as error:
            self.close()
            raise AppStoreUnavailable(self._format_error(error)) from None

    def _ask(self, ask: Callable[[Any], T]) -> T:
        try:
            return ask(self._connected())
        except SockudoQueueError:
            raise
        except UnicodeError:
            self.close()  # the rest of the answer is unread
            raise _TextFault from None
        except self.failures as error:
            if self._refuses_text(error):
                raise _TextFault from None
            raise
        except Exception:  # noqa: BLE001 - the libraries can raise anything for an unexpected answer
            self.close()
            raise AppStoreUnavailable(_OUT_OF_STEP) from None

    def _connected(self) -> Any:
        if self._connection is None:
            self._connection, self._opened_at = self._connect(), self._clock()
            found = self._table_columns(self._connection)
            if "id" not in found:
                self.close()
                raise AppStoreUnavailable(
                    f"there is no table {self._settings.table_name} with a column id that the user "
                    f"{self._settings.username} may read"
                )
            self._columns = tuple(column for column in WANTED_COLUMNS if column in found)
        return self._connection

    def _check_step(self) -> None:
        """Raise an error in `failures` if a kept connection does not echo a random number.

        After one stray answer, every query would get the rows of the query before it.
        """
        if self._connection is None:
            return
        number = random.SystemRandom().randrange(1, 2**31)
        try:
            is_in_step = self._echo(self._connection, number) == number
        except self.failures:
            raise
        except Exception:  # noqa: BLE001 - see `_ask`
            is_in_step = False
        if not is_in_step:
            raise OSError(None, _OUT_OF_STEP)

    def _format_error(self, error: Exception) -> str:
        """Return the reason for operators, without anything from the query or the stored data."""
        if _timed_out(error):
            return f"no answer within {ANSWER_SECONDS:g} s"
        # The server's own message is more useful than the connection error that follows it.
        faults = list(causes(error))
        message = next((reason for fault in faults if (reason := self._server_message(fault)) is not None), None)
        if message is not None:
            return message
        for fault in faults:
            if isinstance(fault, ssl.SSLCertVerificationError):
                return f"its certificate cannot be verified: {fault.verify_message}"
            if isinstance(fault, OSError) and fault.strerror:
                return fault.strerror
        return self._reason(error)

    @abstractmethod
    def _connect(self) -> Any:
        """Open a connection within `CONNECT_SECONDS`."""

    @abstractmethod
    def _table_columns(self, connection: Any) -> Collection[str]:
        """Return the columns of the table; empty if there is no table."""

    @abstractmethod
    def _echo(self, connection: Any, number: int) -> object:
        """Ask the server to return a number."""

    @abstractmethod
    def _select(self, connection: Any, columns: Sequence[str], ids: Sequence[str]) -> list[Row]:
        """Return the rows with one of the ids."""

    @abstractmethod
    def _select_ids(self, connection: Any, limit: int) -> list[str]:
        """Return some ids, sorted."""

    @abstractmethod
    def _server_message(self, error: BaseException) -> str | None:
        """Return the server's message if it is safe to show; None if the error is not the server's."""

    @abstractmethod
    def _refuses_text(self, error: Exception) -> bool:
        """Return whether the server cannot represent a text; the connection stays usable."""

    @abstractmethod
    def _reason(self, error: Exception) -> str:
        """Return a description of any other error in `failures`."""


def may_send_password(settings: DatabaseSettings) -> bool:
    """Return whether the password itself may be sent to the server, instead of a proof that we know it."""
    return settings.ssl_mode == "verify-full" or settings.allow_cleartext_password


def cleartext_refusal(kind: str, variable: str) -> str:
    """Return the error text for a login that was refused."""
    return (
        f"the server asks for the clear-text password ({kind}), but its identity was not verified; set "
        f"{variable}_SSL_MODE=verify-full, or {variable}_ALLOW_CLEARTEXT_PASSWORD=true if you trust the network"
    )


def verifying_context(settings: DatabaseSettings, key: str) -> ssl.SSLContext:
    """Return a context that verifies a server's certificate and name. Raises `SettingsError` for an invalid CA file."""
    try:
        if settings.ssl_ca is None:
            return ssl.create_default_context()
        with RegularFile(settings.ssl_ca) as name:
            return ssl.create_default_context(cafile=name)
    except ssl.SSLError:
        raise SettingsError([f"{key}.ssl_ca: contains no certificate; for example /etc/tls/ca.pem"]) from None
    except OSError as error:
        raise SettingsError([f"{key}.ssl_ca: cannot be read: {error.strerror}; for example /etc/tls/ca.pem"]) from None


def row_of(columns: Sequence[str], values: Sequence[Any]) -> Row:
    """Return a row from an id, a size and the column values, whatever their type."""
    app_id, size, *rest = (value if isinstance(value, str | bytes | None) else str(value) for value in values)
    name = app_id.decode(errors="replace") if isinstance(app_id, bytes) else str(app_id)
    return Row(name, **dict(zip(columns, rest, strict=True)), size=int(size or 0))


def bounded_columns(texts: Mapping[str, str], max_bytes: int) -> str:
    """Return the expressions to select beside the id: the size of the longest column if it exceeds `max_bytes`, else
    0; and the columns, each NULL if one is too long. `texts` maps each column to its expression as text."""
    if not texts:
        return "0"
    sizes = [f"COALESCE(OCTET_LENGTH({text}), 0)" for text in texts.values()]
    size = sizes[0] if len(sizes) == 1 else f"GREATEST({', '.join(sizes)})"
    bounded = [f"CASE WHEN {size} > {max_bytes} THEN NULL ELSE {text} END" for text in texts.values()]
    return ", ".join([f"CASE WHEN {size} > {max_bytes} THEN {size} ELSE 0 END", *bounded])


def unreadable(app_id: str) -> Row:
    """Return a row that counts as unreadable."""
    return Row(app_id, policy=NO_TEXT)


def _parts(ids: Sequence[str]) -> Sequence[Sequence[str]]:
    """Split the ids in two: ASCII ids, valid in every encoding, from the others; if that is impossible, in halves."""
    plain = [app_id for app_id in ids if app_id.isascii()]
    others = [app_id for app_id in ids if not app_id.isascii()]
    return (plain, others) if plain and others else (ids[: len(ids) // 2], ids[len(ids) // 2 :])


def _timed_out(error: Exception) -> bool:
    return any(isinstance(each, TimeoutError) for each in causes(error))
