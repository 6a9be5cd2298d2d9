"""The network guard on real sockets: every notation of an address, and services of ours."""

from __future__ import annotations

import socket
import time
from ipaddress import ip_network
from typing import Any

import pytest

from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.outcome import Outcome, Verdict
from sockudo_queue.core.secret import Secret
from sockudo_queue.delivery.addresses import Rules
from sockudo_queue.delivery.connections import HandleOptions
from sockudo_queue.delivery.guard import Guard, Service
from sockudo_queue.delivery.sender import Sender
from sockudo_queue.delivery.transport import CurlTransport
from tests.faults.queue import SERVER_LIST
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import job
from tests.helpers.receiver import Receiver
from tests.helpers.redis_cluster import RedisCluster
from tests.helpers.redis_sentinel import NAME, RedisSentinels
from tests.helpers.waiting import eventually

LOOPBACK = Rules(denied=(ip_network("127.0.0.0/8"), ip_network("::1/128")))
# What a resolver takes for 127.0.0.1, or for an address that leads there.
NOTATIONS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.255.255.254",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "%31%32%37.0.0.1",
]
OWN_NOTATIONS = [*NOTATIONS, "0.0.0.0", "0", "[::]", "127.0.0.2"]


def post(guard: Guard, url: str) -> Outcome:
    webhook = Webhook("a", frozenset(), url=Secret(url), request_timeout_ms=2000)
    return Sender(CurlTransport(HandleOptions(guard=guard))).post(webhook, b"{}", {})[0]


@pytest.mark.parametrize("host", NOTATIONS)
def test_no_notation_of_a_denied_address_gets_through(receiver: Receiver, host: str) -> None:
    outcome = post(Guard(LOOPBACK), f"http://{host}:{receiver.port}/")
    assert (outcome.reason, outcome.verdict) == ("guard", Verdict.PERMANENT)
    assert "in a denied network" in outcome.detail
    assert not outcome.blames_endpoint
    assert receiver.accepted == 0


@pytest.mark.parametrize("host", NOTATIONS)
def test_each_notation_reaches_the_receiver_without_the_guard(receiver: Receiver, host: str) -> None:
    """The test above needs notations that reach the receiver."""
    outcome = post(Guard(Rules()), f"http://{host}:{receiver.port}/")
    assert outcome.reason in ("delivered", "refused")  # refused where it is IPv6, or another address of loopback
    assert outcome.reason == "delivered" or host in ("[::1]", "127.255.255.254")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://169.16689662/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:a9fe:a9fe::]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://168.63.129.16/",
        "http://100.100.100.200/",
        "https://169.254.169.254/",
    ],
)
def test_clouds_metadata_is_refused_by_default(url: str) -> None:
    assert post(Guard(Rules()), url).reason == "guard"


@pytest.mark.parametrize("what", ["redis", "0.0.0.0", "::"])
@pytest.mark.parametrize("host", OWN_NOTATIONS)
def test_our_own_services_are_refused_despite_allowed_networks(receiver: Receiver, host: str, what: str) -> None:
    guard = Guard(Rules(allowed=(ip_network("0.0.0.0/0"), ip_network("::/0"))))
    service = Service("the queue's own server", "localhost" if what == "redis" else what, receiver.port)
    guard.protect(service)
    guard.look_up(service, 0.0)
    outcome = post(guard, f"http://{host}:{receiver.port}/")
    assert outcome.reason == "guard"
    assert "the queue's own server" in outcome.detail
    assert receiver.accepted == 0


def test_another_port_beside_ours_may_be_called(receiver: Receiver) -> None:
    guard = Guard(Rules())
    guard.protect(Service("ours", "127.0.0.1", receiver.port + 1))
    assert post(guard, receiver.url()).delivered


def test_a_service_elsewhere_is_refused_there_alone(receiver: Receiver) -> None:
    guard = Guard(Rules())
    guard.protect(Service("ours", "192.0.2.7", receiver.port))
    assert guard.refusal("192.0.2.7", receiver.port) == f"192.0.2.7 port {receiver.port} is ours"
    assert guard.refusal("::ffff:192.0.2.7", receiver.port) is not None
    assert guard.refusal("192.0.2.7", receiver.port + 1) is None
    assert post(guard, receiver.url()).delivered


def test_a_service_is_looked_up_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """It moves, as a server behind a name does; for as long as DNS is away, what was known holds."""
    answers = iter(["192.0.2.1", None, "192.0.2.2"])

    def look_up(host: str, port: int, **_: object) -> list[object]:
        address = next(answers)
        if address is None:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    guard = Guard(Rules())
    service = Service("ours", "redis.example", 6379)
    guard.protect(service)
    guard.look_up(service, 0.0)
    guard.look_up(service, 1.0)  # too early, no question
    assert guard.refusal("192.0.2.1", 6379) is not None
    guard.look_up(service, 61.0)
    assert guard.refusal("192.0.2.1", 6379) is not None
    guard.look_up(service, 62.0)
    assert guard.refusal("192.0.2.2", 6379) is not None


def test_a_port_of_ours_is_held_back_until_its_host_is_known(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt fails as one of our own faults and comes again; only a look-up that answers decides."""
    real, answers = socket.getaddrinfo, iter([socket.EAI_AGAIN, socket.EAI_FAIL, None])

    def look_up(host: str, port: int, **options: Any) -> Any:
        if (code := next(answers)) is not None:
            raise socket.gaierror(code, "no answer")
        return real("127.0.0.1", port, **options)

    guard, service = Guard(Rules()), Service("the queue's own server", "redis.example", receiver.port)
    guard.protect(service)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for now in (0.0, 1.0):
        outcome = post(guard, receiver.url())
        assert (outcome.reason, outcome.verdict) == ("internal", "retryable")
        assert "has not been looked up yet" in outcome.detail
        guard.look_up(service, now)
    assert post(guard, receiver.url()).reason == "internal"
    guard.look_up(service, 2.0)
    assert post(guard, receiver.url()).reason == "guard"
    assert receiver.accepted == 0


def test_a_service_whose_name_does_not_exist_holds_nothing_back(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that only a proxy can resolve leads nowhere from here."""

    def look_up(host: str, port: int, **_: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    guard, service = Guard(Rules()), Service("the queue's own server", "sqs.internal", receiver.port)
    guard.protect(service)
    assert post(guard, receiver.url()).reason == "internal"
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    guard.look_up(service, 0.0)
    assert post(guard, receiver.url()).delivered


def test_one_address_that_may_be_called_is_enough(receiver: Receiver) -> None:
    """Most systems know localhost as ::1 first and as 127.0.0.1 then."""
    guard = Guard(Rules(denied=(ip_network("::1/128"),)))
    assert post(guard, f"http://localhost:{receiver.port}/").delivered
    receiver.refuse()
    assert post(guard, f"http://localhost:{receiver.port}/").reason == "refused"  # the network's word, so tried again


def test_discovered_nodes_of_a_cluster_are_refused() -> None:
    """Its masters; a node learns only gradually which other nodes are replicas."""
    with RedisCluster(masters=3, replicas=False) as cluster:
        ports = [node.port for node in cluster.nodes]
        where = {"QUEUE_DRIVER": "redis-cluster", "REDIS_CLUSTER_NODES": f"127.0.0.1:{ports[0]}"}
        check_refused(ports, where, {}, cluster.client())


def test_master_known_only_to_sentinels_is_refused() -> None:
    with RedisSentinels() as group:
        master, sentinel = group.master(), group.sentinels[0]
        there = {"redis": {"sentinels": [{"host": "127.0.0.1", "port": sentinel.port}], "name": NAME}}
        check_refused([sentinel.port, master.port], {}, {"database": there}, master.client())


def check_refused(ports: list[int], environment: dict[str, str], sections: dict[str, Any], client: Any) -> None:
    """Deliver one job to a webhook at each port, and see that none was connected to."""
    hooks = [webhook(f"http://127.0.0.1:{port}/", name=f"port-{port}", retry={"enabled": False}) for port in ports]
    with DaemonProcess(config(app(*hooks), **sections), environment) as daemon:
        daemon.wait_ready()
        client.rpush(SERVER_LIST, job(1))
        client.close()
        eventually(lambda: len(daemon.events("delivery.attempted")) == len(ports), 20, daemon.stderr)
        lines = daemon.events("delivery.attempted")
    assert {(line["webhook"], line["reason"]) for line in lines} == {(f"port-{port}", "guard") for port in ports}
    assert all("the queue's own server" in line["detail"] for line in lines)


def test_invalid_address_is_refused() -> None:
    assert Guard(Rules()).refusal("nonsense", 80) == "the address is not valid"


def test_the_guard_is_asked_for_new_connections_only(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    guard = Guard(Rules())

    def refusal(text: str, port: int) -> None:
        asked.append((text, port))

    monkeypatch.setattr(guard, "refusal", refusal)
    sender = Sender(CurlTransport(HandleOptions(guard=guard)))
    webhook = Webhook("a", frozenset(), url=Secret(receiver.url()), request_timeout_ms=2000)
    assert all(sender.post(webhook, b"{}", {})[0].delivered for _ in range(20))
    assert asked == [("127.0.0.1", receiver.port)]


@pytest.mark.parametrize("host", ["replica..local", "x" * 64 + ".local"])
def test_service_under_a_host_that_cannot_be_one_leads_nowhere(host: str) -> None:
    guard = Guard(Rules())
    service = Service("a replica", host, 6379)
    guard.protect(service)
    guard.look_up(service, time.monotonic())
    assert guard.undecided(6379) is None
