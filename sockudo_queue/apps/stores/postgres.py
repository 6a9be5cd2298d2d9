"""Apps in PostgreSQL; the only module that knows pg8000."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Collection, Sequence
from typing import Any, Final

import pg8000.exceptions
import pg8000.native

from sockudo_queue.apps.stores import sql
from sockudo_queue.apps.stores.base import Row
from sockudo_queue.config import DatabaseSettings
from sockudo_queue.core.ceilings import DEFAULTS

ENCODING: Final = "UTF8"

# SQLSTATE classes whose messages mention the connection, the user and the table, and never a value.
_SHOWN_CLASSES: Final = ("08", "28", "3D", "3F", "42", "53", "57")

# An encoding cannot represent a text, or bytes are invalid in it.
_NO_TEXT: Final = ("22P05", "22021")

# The server's error if channel binding has no hash for its own certificate.
_NO_DIGEST: Final = "could not find digest for NID"

# `to_regclass` resolves and folds a name exactly as a query does.
_COLUMNS: Final = (
    "SELECT attname FROM pg_catalog.pg_attribute "
    "WHERE attrelid = pg_catalog.to_regclass(CAST(:table AS text)) AND attnum > 0 AND NOT attisdropped"
)


_CLEARTEXT: Final = 3
"""The server's request for the password in cleartext."""


class _PostgresConnection(pg8000.native.Connection):  # type: ignore[misc]
    """A connection that proves knowledge of the password, and never sends it."""

    def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: Any) -> None:  # noqa: N802 - the library's name
        if data[:4] == _CLEARTEXT.to_bytes(4, "big"):
            raise pg8000.exceptions.InterfaceError(sql.cleartext_refusal("password", "DATABASE_POSTGRES"))
        super().handle_AUTHENTICATION_REQUEST(data, context)


class PostgresStore(sql.SqlStore):
    """The table of apps of Sockudo's driver `pgsql`."""

    kind = "pgsql"
    # A peer that does not speak the protocol causes struct, look-up or value errors.
    failures = (pg8000.exceptions.Error, OSError, struct.error, LookupError, ValueError)

    def __init__(self, settings: DatabaseSettings, max_bytes: int = DEFAULTS.app_bytes) -> None:
        super().__init__(settings, max_bytes=max_bytes)
        self._tls = _tls(settings)

    def _connect(self) -> Any:
        settings = self._settings
        connect = pg8000.native.Connection if sql.may_send_password(settings) else _PostgresConnection
        connection = connect(
            user=settings.username,
            password=None if settings.password is None else settings.password.revealed,
            host=settings.host,
            port=settings.port,
            database=settings.database,
            ssl_context=self._tls,
            timeout=sql.ANSWER_SECONDS,
            application_name="sockudo-queue",
        )
        if connection.parameter_statuses.get("client_encoding") != ENCODING:
            # The database has another encoding, which cannot represent all ids and webhooks.
            connection.run(f"SET client_encoding TO '{ENCODING}'")
        return connection

    def _table_columns(self, connection: Any) -> Collection[str]:
        return {name for (name,) in _run(connection, _COLUMNS, table=self._settings.table_name)}

    def _echo(self, connection: Any, number: int) -> object:
        return _run(connection, f"SELECT {number}")[0][0]

    def _select(self, connection: Any, columns: Sequence[str], ids: Sequence[str]) -> list[Row]:
        # As text, so that one value that is nested too deeply for the decoder does not spoil the whole result.
        wanted = sql.bounded_columns({column: f"CAST({column} AS text)" for column in columns}, self._max_bytes)
        given = {f"id{number}": app_id for number, app_id in enumerate(ids)}
        places = ", ".join(f":{name}" for name in given)
        # The table's name was validated.
        query = f"SELECT id, {wanted} FROM {self._settings.table_name} WHERE id IN ({places})"  # noqa: S608
        return [sql.row_of(columns, values) for values in _run(connection, query, **given)]

    def _select_ids(self, connection: Any, limit: int) -> list[str]:
        query = f"SELECT id FROM {self._settings.table_name} ORDER BY id LIMIT :max_rows"  # noqa: S608 - as above
        return [app_id for (app_id,) in _run(connection, query, max_rows=limit)]

    def _server_message(self, error: BaseException) -> str | None:
        fields = _fields(error)
        if fields is None:
            return None
        code = str(fields.get("C", ""))
        if _NO_DIGEST in str(fields.get("M", "")):
            return (
                "its certificate has a key, such as Ed25519, with which scram-sha-256 over TLS does not work; "
                "give the server a certificate with an RSA or ECDSA key"
            )
        return str(fields.get("M", "")) if code[:2] in _SHOWN_CLASSES else f"SQLSTATE {code}"

    def _refuses_text(self, error: Exception) -> bool:
        fields = _fields(error)
        return fields is not None and fields.get("C") in _NO_TEXT

    def _reason(self, error: Exception) -> str:
        if isinstance(error, pg8000.exceptions.InterfaceError):
            return str(error)
        return f"the server does not speak PostgreSQL's protocol ({type(error).__name__})"


def _run(connection: Any, query: str, **values: Any) -> Sequence[Sequence[Any]]:
    """Run a query in a transaction, so that a pooler keeps its parts together; read-only, so that it cannot write."""
    connection.run("START TRANSACTION READ ONLY")
    try:
        rows: Sequence[Sequence[Any]] = connection.run(query, **values)
    except pg8000.exceptions.DatabaseError:
        connection.run("ROLLBACK")
        raise
    connection.run("COMMIT")
    return rows


def _fields(error: BaseException) -> dict[str, Any] | None:
    """Return the fields of a server error; None if the error is not the server's."""
    fields = error.args[0] if error.args else None
    return fields if isinstance(error, pg8000.exceptions.DatabaseError) and isinstance(fields, dict) else None


def _tls(settings: DatabaseSettings) -> ssl.SSLContext | bool | None:
    """Return the library's value for a mode; None tries TLS first and continues without it if the server has none."""
    match settings.ssl_mode:
        case "disable":
            return False
        case "require":
            return True
        case "verify-full":
            return sql.verifying_context(settings, "database.postgres")
    return None
