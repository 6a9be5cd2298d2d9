"""What commands report about an app store, and what is reported if its library is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.app_stores.conftest import MakeTable
from tests.app_stores.tables import SECRET, MariadbTable, PostgresTable
from tests.helpers.commands import run_process
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import wiped_environment
from tests.helpers.databases import PASSWORD, Mariadb, Postgres
from tests.helpers.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
URL = "http://127.0.0.1:1/hooks?token=CANARY"


def command(
    name: str, directory: Path, environment: Mapping[str, str], file: Mapping[str, Any] | None = None
) -> tuple[int, list[str]]:
    """Run a command in a directory of its own and return its exit code and what it said."""
    if file is not None:
        (directory / "config.json").write_text(json.dumps(file))
    done = run_process(name, environment={**wiped_environment(), **environment}, directory=directory)
    said = done.stdout + done.stderr
    for secret in (PASSWORD, SECRET, "CANARY", "Traceback"):
        assert secret not in said, said
    return done.returncode, said.splitlines()


@pytest.mark.parametrize("make_table", ["pgsql", "dynamodb"], indirect=True)
def test_check_shows_the_origin_of_each_app(make_table: MakeTable, redis_server: RedisServer, tmp_path: Path) -> None:
    table = make_table()
    for app_id, hooks in {"acme": 2, "both": 1, "none": 0}.items():
        table.put(app(*[webhook(f"{URL}{n}") for n in range(hooks)], app_id=app_id))
    table.put(app(webhook(URL), webhook("ftp://CANARY"), app_id="odd"))
    table.put_raw("broken", policy='{"webhooks": {"CANARY": 1}}')
    file = config(app(webhook(URL), app_id="both"), app(webhook(URL), app_id="own"))
    code, lines = command("check", tmp_path, table.environment() | {"REDIS_URL": redis_server.url}, file)

    assert code == 1, "\n".join(lines)
    place = next(line for line in lines if line.endswith(" answers") and "app database" in line)
    store = place.removeprefix("ok       app database: ").removesuffix(" answers")
    assert f"ok       app 'both': 1 webhook, from {tmp_path}/config.json" in lines
    assert f"ok       app 'own': 1 webhook, from {tmp_path}/config.json" in lines
    assert f"ok       app 'acme': 2 webhooks, from {store}" in lines
    assert f"ok       app 'none': 0 webhooks, from {store}" in lines
    assert f"ok       app 'both': is in {store} too; the one in the file is used" in lines
    assert f"ok       app 'odd': 1 webhook, 1 invalid, from {store}" in lines
    [invalid] = [line for line in lines if line.startswith("error    app 'odd', webhook invalid-")]
    assert "is invalid, so its events become dead letters: url must begin with http" in invalid
    assert any(line.startswith("warning  app 'broken': webhooks must be a list") for line in lines)


def test_check_names_only_some_of_many(mariadb: Mariadb, redis_server: RedisServer, tmp_path: Path) -> None:
    table = MariadbTable(mariadb, "5.0").create()
    for number in range(30):
        table.put(app(app_id=f"app-{number:02}"))
    code, lines = command("check", tmp_path, table.environment() | {"REDIS_URL": redis_server.url})
    assert code == 0, lines
    assert len([line for line in lines if line.startswith("ok       app 'app-")]) == 20
    assert any(line.startswith("ok       apps: more, from mysql applications at ") for line in lines)


def test_check_reports_a_store_that_does_not_answer(
    postgres: Postgres, redis_server: RedisServer, tmp_path: Path
) -> None:
    table = PostgresTable(postgres, "5.0")
    wrong = {"REDIS_URL": redis_server.url, "DATABASE_POSTGRES_PORT": "1"}
    code, lines = command("check", tmp_path, table.environment() | wrong)
    assert code == 1
    assert "error    app database: pgsql applications at 127.0.0.1:1/postgres: Connection refused" in lines
    assert any(line.startswith("ok       broker") for line in lines)  # everything is looked at


@pytest.mark.parametrize(
    ("driver", "package", "extra"), [("pgsql", "pg8000", "postgres"), ("mysql", "pymysql", "mysql")]
)
@pytest.mark.parametrize("name", ["run", "check"])
def test_a_library_that_is_not_installed_is_named(
    tmp_path: Path, driver: str, package: str, extra: str, name: str
) -> None:
    absent = tmp_path / "absent" / package
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text(f"raise ModuleNotFoundError('No module named {package}', name='{package}')")
    path = os.pathsep.join([str(absent.parent), str(ROOT)])
    port = {"DATABASE_POSTGRES_PORT": "5432"}
    code, lines = command(name, tmp_path, {"APP_MANAGER_DRIVER": driver, "PYTHONPATH": path} | port)
    assert code == 2
    [line] = [line for line in lines if "which is not installed" in line]
    assert line.partition("app_manager.driver: ")[1:] == (
        "app_manager.driver: ",
        f"{driver} needs the package {package}, which is not installed; "
        f"install it with: pip install 'sockudo-queue[{extra}]'",
    )


def test_no_library_of_a_store_is_imported_without_need(tmp_path: Path) -> None:
    code = (
        "import sys, sockudo_queue.daemon, sockudo_queue.cli, sockudo_queue.apps.stores.check\n"
        "print([name for name in ('pg8000', 'pymysql', 'boto3', 'botocore') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
