"""What both kinds of SQL database have in common: one connection, opened when needed and never kept for long."""

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
"""Longest waits for a connection, and for each part of an answer."""
KEPT_SECONDS: Final = 60.0
"""How long one connection is used: then a changed address, password or table is seen without a restart."""
BATCH: Final = 25
"""Ids of one query. Each row may hold two columns at their ceiling, which is 50 MB for all of them."""
WANTED_COLUMNS: Final = ("policy", "webhooks")
"""Columns that are read besides the id, where the table has them; never the one with the app's secret."""

NO_TEXT: Final = b"\xff"
"""What stands for a column that cannot be read: no JSON begins so."""

_OUT_OF_STEP: Final = "the database sent an answer that does not belong to the query; the connection was closed"

T = TypeVar("T")


class _TextFault(Exception):
    """A text cannot be represented in some encoding on its way."""


class SqlStore(ABC):
    """A table of apps. The subclass speaks to one kind of database; `failures` is what its library raises."""

    kind: str
    failures: tuple[type[Exception], ...]
    batch = BATCH

    def __init__(
        self,
        settings: DatabaseSettings,
        clock: Callable[[], float] = time.monotonic,
        most_bytes: int = DEFAULTS.app_bytes,
    ) -> None:
        """`most_bytes`: a row with a longer column is returned without its columns, and with their size."""
        self._settings = settings
        self._most_bytes = most_bytes
        self._clock = clock
        self._connection: Any = None
        self._columns: tuple[str, ...] = ()
        self._opened_at = 0.0
        place = f"{settings.host}:{settings.port}/{settings.database}"
        self.name = f"{self.kind} {settings.table_name} at {place}"

    def fetch(self, ids: Sequence[str]) -> list[Row]:
        """Return the rows of those of the ids that exist.

        A text that the database, its library or the column cannot represent concerns its app alone: an id of that kind
        does not exist, and a row of that kind cannot be read.
        """
        try:
            return self._asked(lambda connection: self._select(connection, self._columns, ids))
        except _TextFault:
            if len(ids) > 1:
                return [row for part in _parts(ids) for row in self.fetch(part)]
            return [unreadable(app_id) for app_id in ids if self._exists(app_id)]

    def sample(self, limit: int) -> list[str]:
        """Return at most so many of the ids that exist."""
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
            with contextlib.suppress(Exception):  # it may be gone already, which may be why it is closed
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
            # A kept connection may have died long since, which says nothing about the database. One that hangs does.
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
            self.close()  # part of the answer is unread
            raise _TextFault from None
        except self.failures as error:
            if self._refuses_text(error):
                raise _TextFault from None
            raise
        except Exception:  # noqa: BLE001 - the libraries fail in any way at an answer that they do not expect
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
        """Raise an error in `failures` where a kept connection does not answer with the number that it is asked for.

        After one odd answer, each query could get the rows of the query before it.
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
        """Return why, for a person: nothing of what was asked for, and nothing of what is stored."""
        if _timed_out(error):
            return f"no answer within {ANSWER_SECONDS:g} s"
        # What a server says comes before what its hanging up led to.
        faults = list(causes(error))
        said = next((reason for fault in faults if (reason := self._said(fault)) is not None), None)
        if said is not None:
            return said
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
        """Return the columns that the table has; none without a table."""

    @abstractmethod
    def _echo(self, connection: Any, number: int) -> object:
        """Have the server return a number."""

    @abstractmethod
    def _select(self, connection: Any, columns: Sequence[str], ids: Sequence[str]) -> list[Row]:
        """Return the rows with one of the ids."""

    @abstractmethod
    def _select_ids(self, connection: Any, limit: int) -> list[str]:
        """Return some of the ids, in their order."""

    @abstractmethod
    def _said(self, error: BaseException) -> str | None:
        """Return what the server says, as far as it can be shown; None for an error that is not the server's."""

    @abstractmethod
    def _refuses_text(self, error: Exception) -> bool:
        """Tell whether the server says that a text cannot be represented; another query over the connection works."""

    @abstractmethod
    def _reason(self, error: Exception) -> str:
        """Return what else can be said of an error in `failures`."""


def may_send_password(settings: DatabaseSettings) -> bool:
    """Return whether a server may be sent the password itself instead of a proof that we know it."""
    return settings.ssl_mode == "verify-full" or settings.allow_cleartext_password


def cleartext_refusal(kind: str, variable: str) -> str:
    """Return why a login was given up."""
    return (
        f"the server asks for the clear-text password ({kind}), but its identity was not verified; set "
        f"{variable}_SSL_MODE=verify-full, or {variable}_ALLOW_CLEARTEXT_PASSWORD=true if you trust the network"
    )


def verifying_context(settings: DatabaseSettings, key: str) -> ssl.SSLContext:
    """Return what checks a server's certificate and its name. Raises `SettingsError` for an authority that is none."""
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
    """Return a row from an id, a size and the values of the columns, of whatever type the columns are."""
    app_id, size, *rest = (value if isinstance(value, str | bytes | None) else str(value) for value in values)
    name = app_id.decode(errors="replace") if isinstance(app_id, bytes) else str(app_id)
    return Row(name, **dict(zip(columns, rest, strict=True)), size=int(size or 0))


def bounded_columns(texts: Mapping[str, str], most_bytes: int) -> str:
    """Return what to select beside the id: the size of the longest column if it is over the ceiling, else 0, and the
    columns, none of which is sent then. `texts` has the text of each column in the database's own words."""
    if not texts:
        return "0"
    sizes = [f"COALESCE(OCTET_LENGTH({text}), 0)" for text in texts.values()]
    size = sizes[0] if len(sizes) == 1 else f"GREATEST({', '.join(sizes)})"
    bounded = [f"CASE WHEN {size} > {most_bytes} THEN NULL ELSE {text} END" for text in texts.values()]
    return ", ".join([f"CASE WHEN {size} > {most_bytes} THEN {size} ELSE 0 END", *bounded])


def unreadable(app_id: str) -> Row:
    """Return a row that cannot be read."""
    return Row(app_id, policy=NO_TEXT)


def _parts(ids: Sequence[str]) -> Sequence[Sequence[str]]:
    """Return the ids in two parts. First those of ASCII, which every encoding has, part from the others."""
    plain = [app_id for app_id in ids if app_id.isascii()]
    others = [app_id for app_id in ids if not app_id.isascii()]
    return (plain, others) if plain and others else (ids[: len(ids) // 2], ids[len(ids) // 2 :])


def _timed_out(error: Exception) -> bool:
    return any(isinstance(each, TimeoutError) for each in causes(error))
