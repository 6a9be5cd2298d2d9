"""Apps in MySQL or MariaDB; the only module that knows PyMySQL."""

from __future__ import annotations

import ssl
import struct
from collections.abc import Collection, Sequence
from typing import Any, Final

import pymysql
from pymysql import _auth as authentication
from pymysql.constants import CR, ER

from sockudo_queue.apps.stores import sql
from sockudo_queue.apps.stores.base import Row
from sockudo_queue.config import DatabaseSettings
from sockudo_queue.core.ceilings import DEFAULTS

# Errors of the library itself, mostly caused by an error of the operating system.
_OF_THE_LIBRARY: Final = frozenset(
    {
        CR.CR_AUTH_PLUGIN_ERR,
        CR.CR_CONN_HOST_ERROR,
        CR.CR_SERVER_GONE_ERROR,
        CR.CR_SERVER_LOST,
        CR.CR_SSL_CONNECTION_ERROR,
        CR.CR_UNKNOWN_HOST,
    }
)
# Server errors whose messages mention the connection, the user and the table, and never a value.
_SHOWN: Final = frozenset(
    {
        ER.ACCESS_DENIED_ERROR,
        ER.BAD_DB_ERROR,
        ER.CON_COUNT_ERROR,
        ER.COLUMNACCESS_DENIED_ERROR,
        ER.DBACCESS_DENIED_ERROR,
        ER.HOST_IS_BLOCKED,
        ER.HOST_NOT_PRIVILEGED,
        ER.NOT_SUPPORTED_AUTH_MODE,
        ER.NO_SUCH_TABLE,
        ER.TABLEACCESS_DENIED_ERROR,
        ER.TOO_MANY_USER_CONNECTIONS,
        ER.USER_LIMIT_REACHED,
        1820,  # the password has expired, as in 1862
        1862,
        1698,  # access denied, without a password: the user can only log in through the local socket
    }
)
# The column's character set cannot represent a text: illegal mix of collations, invalid string, no conversion.
_NO_TEXT: Final = frozenset(
    {
        ER.CANT_AGGREGATE_2COLLATIONS,
        ER.CANT_AGGREGATE_3COLLATIONS,
        ER.CANT_AGGREGATE_NCOLLATIONS,
        ER.INVALID_CHARACTER_STRING,
        3988,
    }
)
_COLUMNS: Final = (
    "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = %s"
)


_FULL_LOGIN: Final = b"\x01\x04"
"""In `caching_sha2_password`: the server needs a full login, because a hash is not enough."""


def _refusal(plugin: str) -> pymysql.OperationalError:
    return pymysql.OperationalError(CR.CR_AUTH_PLUGIN_ERR, sql.cleartext_refusal(plugin, "DATABASE_MYSQL"))


class _Refused:
    """A login method that sends the password itself, or encrypts it with a key that the server has just sent."""

    plugin: str

    def __init__(self, _connection: Any) -> None:
        pass

    def authenticate(self, _packet: Any) -> Any:
        raise _refusal(self.plugin)


class _HashAlone:
    """`caching_sha2_password`, limited to sending a hash; the server asks for more if its cache has no hash."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def authenticate(self, packet: Any) -> Any:
        connection = self._connection
        if packet.is_auth_switch_request():
            connection.salt = packet.read_all().removesuffix(b"\0")
            connection.write_packet(authentication.scramble_caching_sha2(connection.password, connection.salt))
        elif connection.password and packet.get_all_data().startswith(_FULL_LOGIN):
            raise _refusal("caching_sha2_password")
        return connection._read_packet()  # noqa: SLF001 - the library's handlers do so too


class _MysqlConnection(pymysql.Connection):
    """A connection that proves knowledge of the password, and never sends it."""

    def __init__(self, **arguments: Any) -> None:
        refused = ("mysql_clear_password", "dialog", "sha256_password")
        ways: dict[str, Any] = {name: type(name, (_Refused,), {"plugin": name}) for name in refused}
        super().__init__(**arguments, auth_plugin_map=ways | {"caching_sha2_password": _HashAlone})

    def _request_authentication(self) -> None:
        # For this method the library sends the password in its first packet, before it calls any handler.
        if self._auth_plugin_name == "sha256_password":  # type: ignore[attr-defined]
            raise _refusal("sha256_password")
        super()._request_authentication()  # type: ignore[misc]


class MysqlStore(sql.SqlStore):
    """The table of apps of Sockudo's driver `mysql`."""

    kind = "mysql"
    # A peer that does not speak the protocol causes struct, look-up or value errors. PyMySQL raises a RuntimeError if a
    # login method needs a package.
    failures = (pymysql.MySQLError, OSError, struct.error, LookupError, ValueError, RuntimeError)

    def __init__(self, settings: DatabaseSettings, max_bytes: int = DEFAULTS.app_bytes) -> None:
        super().__init__(settings, max_bytes=max_bytes)
        self._tls = _tls(settings)

    def _connect(self) -> Any:
        settings = self._settings
        connect = pymysql.Connection if sql.may_send_password(settings) else _MysqlConnection
        return connect(
            user=settings.username,
            password="" if settings.password is None else settings.password.revealed,
            host=settings.host,
            port=settings.port,
            database=settings.database,
            charset="utf8mb4",
            ssl=self._tls,
            ssl_disabled=settings.ssl_mode == "disable",
            connect_timeout=sql.CONNECT_SECONDS,
            read_timeout=sql.ANSWER_SECONDS,
            write_timeout=sql.ANSWER_SECONDS,
            autocommit=True,  # else every read after the first would see the table as of the first
            program_name="sockudo-queue",
        )

    def _table_columns(self, connection: Any) -> Collection[str]:
        return {str(name).lower() for (name,) in _run(connection, _COLUMNS, [self._settings.table_name])}

    def _echo(self, connection: Any, number: int) -> object:
        return _run(connection, "SELECT %s", [number])[0][0]

    def _select(self, connection: Any, columns: Sequence[str], ids: Sequence[str]) -> list[Row]:
        wanted = sql.bounded_columns({column: column for column in columns}, self._max_bytes)
        places = ", ".join(["%s"] * len(ids))
        # The table's name was validated.
        query = f"SELECT id, {wanted} FROM `{self._settings.table_name}` WHERE id IN ({places})"  # noqa: S608
        return [sql.row_of(columns, values) for values in _run(connection, query, ids)]

    def _select_ids(self, connection: Any, limit: int) -> list[str]:
        query = f"SELECT id FROM `{self._settings.table_name}` ORDER BY id LIMIT %s"  # noqa: S608 - as above
        return [app_id for (app_id,) in _run(connection, query, [limit])]

    def _server_message(self, error: BaseException) -> str | None:
        if not (isinstance(error, pymysql.MySQLError) and len(error.args) == 2):
            return None
        code, message = error.args
        if code in _OF_THE_LIBRARY:
            return None
        return str(message) if code in _SHOWN else f"error {code}"

    def _refuses_text(self, error: Exception) -> bool:
        return isinstance(error, pymysql.MySQLError) and bool(error.args) and error.args[0] in _NO_TEXT

    def _reason(self, error: Exception) -> str:
        if isinstance(error, pymysql.MySQLError):
            return str(error.args[-1]) if error.args else type(error).__name__
        if isinstance(error, RuntimeError):
            return str(error)
        return f"the server does not speak MySQL's protocol ({type(error).__name__})"


def _run(connection: Any, query: str, arguments: Sequence[Any]) -> Sequence[Sequence[Any]]:
    with connection.cursor() as cursor:
        cursor.execute(query, arguments)
        rows: Sequence[Sequence[Any]] = cursor.fetchall()
        return rows


def _tls(settings: DatabaseSettings) -> ssl.SSLContext | None:
    """Return the TLS context for the mode; None lets the library use TLS if the server offers it."""
    match settings.ssl_mode:
        case "require":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return context
        case "verify-full":
            return sql.verifying_context(settings, "database.mysql")
    return None
