"""Databases that the tests of this folder share; they run in one process of a run, so each is started once."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from sockudo_queue.apps.stores.base import AppStore
from sockudo_queue.apps.stores.factory import make_store
from tests.app_stores.tables import DynamodbTable, MariadbTable, PostgresTable, Table
from tests.helpers.databases import Dynamodb, Mariadb, Postgres
from tests.helpers.settings import read

KINDS: Final = ("pgsql", "mysql", "dynamodb")
MakeTable = Callable[..., Table]
MakeStore = Callable[..., AppStore]


@pytest.fixture(scope="module", autouse=True)
def no_authorities() -> Iterator[None]:
    """Hide the machine's certificate authorities: none has signed the certificate of a server of these tests, and each
    connection would load them all, which takes longer than most of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.devnull)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Mariadb]:
    with Mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def dynamodb() -> Iterator[Dynamodb]:
    with Dynamodb() as server:
        yield server


@pytest.fixture
def left_sockets_collected() -> Iterator[None]:
    """Collect at the end what a library has left open."""
    yield
    gc.collect()


@pytest.fixture(params=KINDS)
def make_table(request: pytest.FixtureRequest) -> MakeTable:
    """Makes a new table on each kind of database in turn, as a release of Sockudo does."""

    def make(release: str = "5.0") -> Table:
        match request.param:
            case "pgsql":
                return PostgresTable(request.getfixturevalue("postgres"), release).create()
            case "mysql":
                return MariadbTable(request.getfixturevalue("mariadb"), release).create()
        return DynamodbTable(request.getfixturevalue("dynamodb"), release).create()

    return make


@pytest.fixture
def store_of(tmp_path: Path) -> Iterator[MakeStore]:
    """Makes the store that a daemon would use on a table, with further variables."""
    stores: list[AppStore] = []

    def make(table: Table | None, **variables: str) -> AppStore:
        given = {} if table is None else table.environment()
        settings = read(tmp_path, None, given | variables).good.settings
        store = make_store(settings)
        assert store is not None
        stores.append(store)
        return store

    yield make
    for store in stores:
        store.close()
