"""The servers stop and restart on request, and the proxy loses exactly the configured replies."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis

from tests.helpers.redis_binaries import KINDS, ServerKind
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_server import RedisServer


@pytest.fixture
def direct(redis_server: RedisServer) -> redis.Redis:
    return redis_server.client()


@pytest.fixture
def through(redis_proxy: RedisProxy, redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client(port=redis_proxy.port, socket_timeout=1.0) as client:
        yield client


@pytest.mark.parametrize("kind", KINDS)
def test_each_server_keeps_what_it_acknowledged_when_killed(kind: ServerKind) -> None:
    with RedisServer(kind, appendonly=True, appendfsync="always") as server:
        client = server.client()
        client.rpush("list", "a")
        port = server.port
        server.kill()
        with pytest.raises(redis.ConnectionError):
            client.llen("list")

        server.start()

        assert (server.port, client.lrange("list", 0, -1)) == (port, [b"a"])
    assert not server.running
    assert not server.directory.exists()


def test_a_full_server_refuses_writes() -> None:
    with RedisServer(maxmemory="8mb") as server:
        pipeline = server.client().pipeline(transaction=False)
        for _ in range(100):
            pipeline.rpush("list", b"x" * 200_000)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            pipeline.execute()


def test_a_frozen_server_answers_nothing_until_it_is_resumed(own_redis: RedisServer) -> None:
    client = own_redis.client(socket_timeout=0.2)
    client.ping()  # the connection is made before the server freezes
    own_redis.pause()
    with pytest.raises(redis.TimeoutError):
        client.rpush("list", "a")

    own_redis.resume()

    assert own_redis.client().lrange("list", 0, -1) == [b"a"]  # executed although the client got no reply
    own_redis.pause()
    own_redis.restart()
    assert own_redis.client().lrange("list", 0, -1) == [b"a"]


def test_the_command_of_a_dropped_reply_was_carried_out(
    redis_proxy: RedisProxy, through: redis.Redis, direct: redis.Redis
) -> None:
    direct.rpush("list", "a", "b", "c")
    redis_proxy.drop_replies(commands=["LPOP"], limit=1)
    assert through.llen("list") == 3
    with pytest.raises(redis.ConnectionError):
        through.lpop("list")

    assert redis_proxy.dropped == ["LPOP"]
    assert through.lpop("list") == b"b"


def test_each_tenth_reply_of_a_pipeline_is_dropped_and_the_nine_before_it_arrive(
    redis_proxy: RedisProxy, redis_server: RedisServer
) -> None:
    with redis_server.client(port=redis_proxy.port) as client:
        connection = client.connection_pool.get_connection()
        redis_proxy.drop_replies(every=10, commands=["ECHO"])
        connection.send_packed_command(connection.pack_commands([("ECHO", n) for n in range(12)]))

        assert [connection.read_response() for _ in range(9)] == [b"%d" % n for n in range(9)]
        with pytest.raises(redis.ConnectionError):
            connection.read_response()
        connection.disconnect()


def test_the_handshake_is_never_dropped(redis_proxy: RedisProxy, through: redis.Redis) -> None:
    redis_proxy.drop_replies()

    assert len(through.script_load("return 1")) == 40
    with pytest.raises(redis.ConnectionError):
        through.ping()
    assert redis_proxy.dropped == ["PING"]


def test_a_seeded_probability_drops_the_same_replies_again(redis_proxy: RedisProxy, through: redis.Redis) -> None:
    def outcomes() -> list[bool]:
        redis_proxy.drop_replies(probability=0.3, seed=4)
        answered = []
        for _ in range(40):
            try:
                answered.append(bool(through.echo("x")))
            except redis.ConnectionError:
                answered.append(False)
        return answered

    first = outcomes()

    assert 5 < first.count(False) < 20
    assert outcomes() == first


def test_a_silenced_connection_stays_open_and_others_work(redis_proxy: RedisProxy, through: redis.Redis) -> None:
    redis_proxy.drop_replies(limit=1, keep_open=True)
    with pytest.raises(redis.TimeoutError):
        through.ping()

    assert through.ping()  # the client took a new connection


def test_delay_black_hole_cut_refuse_and_heal(redis_proxy: RedisProxy, through: redis.Redis) -> None:
    redis_proxy.delay(0.15)
    before = time.monotonic()
    through.ping()
    assert 0.15 <= time.monotonic() - before < 0.9

    redis_proxy.heal()
    redis_proxy.black_hole()
    with pytest.raises(redis.TimeoutError):
        through.ping()

    redis_proxy.heal()
    assert through.ping()
    accepted = redis_proxy.accepted

    redis_proxy.refuse()
    assert through.ping()  # an open connection lives on
    redis_proxy.cut()
    with pytest.raises(redis.ConnectionError):
        through.ping()

    redis_proxy.heal()
    assert through.ping()
    assert redis_proxy.accepted == accepted + 1


def test_a_new_upstream_is_used_by_new_connections(
    redis_proxy: RedisProxy, through: redis.Redis, own_redis: RedisServer
) -> None:
    own_redis.client().set("who", "own")
    assert through.get("who") is None

    redis_proxy.upstream = own_redis.port
    redis_proxy.cut()

    assert through.get("who") == b"own"
