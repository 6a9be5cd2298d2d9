"""`push` on a real Redis: all or nothing of what is malformed, and a fault on the way says what is on the queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.queue import SERVER_LIST
from tests.helpers.commands import Commands
from tests.helpers.configs import app, config, webhook
from tests.helpers.jobs import event, job, jobs
from tests.helpers.ports import free_port
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_server import RedisServer


@pytest.fixture
def run(redis_server: RedisServer, tmp_path: Path) -> Commands:
    return Commands(tmp_path, config(app(webhook("http://127.0.0.1:9/"))), {"REDIS_URL": redis_server.url})


def test_jobs_are_pushed_in_their_order(run: Commands, redis_server: RedisServer) -> None:
    bodies = jobs(3)
    assert run("push", stdin=b"\n" + b"\n\n".join(bodies)) == (0, "pushed 3 jobs\n", "")
    (run.directory / "more").write_bytes(job(4))
    assert run("push", str(run.directory / "more"), "--json").json == {"pushed": 1, "of": 1}
    assert redis_server.client().lrange(SERVER_LIST, 0, -1) == [*bodies, job(4)]


def test_invalid_line_stops_the_whole_push(run: Commands, redis_server: RedisServer) -> None:
    ran = run("push", stdin=job(1) + b"\n\n{}\n")
    assert (ran.code, ran.out) == (1, "")
    assert "line 3" in ran.err
    assert "nothing was pushed" in ran.err
    assert not redis_server.client().exists(SERVER_LIST)


def test_a_queue_that_is_full_half_way_says_how_many_are_on_it(run: Commands, own_redis: RedisServer) -> None:
    run.environment["REDIS_URL"] = own_redis.url
    large = [job(number, events=[event(data="x" * 50_000)]) for number in range(60)]
    with own_redis.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 1_500_000)
        ran = run("push", "--json", stdin=b"\n".join(large))
        pushed = client.llen(SERVER_LIST)
    assert ran.code == 1
    assert 0 < pushed < 60
    assert ran.json == {"pushed": pushed, "of": 60, "stopped_at_line": pushed + 1}
    assert f"push: {pushed} of 60 jobs were pushed, and the job in line {pushed + 1} was not" in ran.err


def test_an_answer_that_is_lost_leaves_one_job_open(run: Commands, redis_server: RedisServer) -> None:
    with RedisProxy(redis_server.port) as proxy:
        run.environment |= {"REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0", "QUEUE_REDIS_RESPONSE_TIMEOUT_MS": "300"}
        proxy.drop_replies(3, commands={"RPUSH"}, limit=1)
        ran = run("push", stdin=b"\n".join(jobs(5)))
    assert ran.code == 1
    assert "push: 2 of 5 jobs were pushed, and it is unknown whether the job in line 3 was" in ran.err


def test_a_queue_that_is_away_took_nothing(run: Commands) -> None:
    run.environment["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    ran = run("push", stdin=job())
    assert ran.code == 3
    assert "push: 0 of 1 job were pushed" in ran.err


def test_push_to_the_memory_driver_names_its_ingress(run: Commands) -> None:
    run.environment["QUEUE_DRIVER"] = "memory"
    ran = run("push", stdin=job())
    assert (ran.code, ran.out) == (1, "")
    assert "/jobs" in ran.err
