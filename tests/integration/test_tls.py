"""Certificates: trusted authorities, client certificates, and the separation of webhooks with different options."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import os
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from sockudo_queue.core.apps import Webhook
from sockudo_queue.core.outcome import Failure
from sockudo_queue.core.secret import Secret
from sockudo_queue.delivery.addresses import Rules
from sockudo_queue.delivery.certificate_files import FILE_CHECK_INTERVAL
from sockudo_queue.delivery.certificates import file_faults
from sockudo_queue.delivery.connections import HandleOptions
from sockudo_queue.delivery.errors import DETAIL_LENGTH, TransportFault
from sockudo_queue.delivery.guard import Guard
from sockudo_queue.delivery.inspection import connect
from sockudo_queue.delivery.sender import Sender
from sockudo_queue.delivery.transport import CurlTransport
from tests.helpers.certificates import Authority
from tests.helpers.configs import app, config, webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.hostile import HostileReceiver, Visit, silent
from tests.helpers.jobs import job
from tests.helpers.receiver import Answer, Receiver
from tests.helpers.waiting import eventually

YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def sender_with(**options: str) -> Sender:
    return Sender(CurlTransport(HandleOptions(guard=Guard(Rules()), **options)))  # type: ignore[arg-type]


def hook(receiver: Receiver | HostileReceiver, *, verify: bool = True) -> Webhook:
    return Webhook("a", frozenset(), url=Secret(receiver.url()), request_timeout_ms=5000, verify_tls=verify)


def reason(sender: Sender, webhook: Webhook) -> str:
    return sender.post(webhook, b"{}", {})[0].reason


def test_the_built_in_authorities_do_not_trust_ours(authority: Authority) -> None:
    with Receiver(tls=authority.server()) as receiver:
        assert reason(sender_with(), hook(receiver)) == "tls"
        assert receiver.requests == []


def test_configured_authority_is_trusted(authority: Authority) -> None:
    with Receiver(tls=authority.server()) as receiver:
        sender = sender_with(ca_file=str(authority.ca_file))
        for _ in range(3):
            assert reason(sender, hook(receiver)) == "delivered"
            time.sleep(0.04)
        assert receiver.accepted == 1


@pytest.mark.parametrize("fault", ["another host", "expired"])
def test_invalid_certificate_is_refused(authority: Authority, fault: str) -> None:
    shown = authority.server("other.example") if fault == "another host" else authority.server(expires=YESTERDAY)
    with Receiver(tls=shown) as receiver:
        outcome, _ = sender_with(ca_file=str(authority.ca_file)).post(hook(receiver), b"{}", {})
        assert (outcome.reason, outcome.verdict) == ("tls", "retryable")
        assert receiver.requests == []


def test_name_in_a_certificate_is_shown_bounded_and_spelled_out(tmp_path: Path) -> None:
    """libcurl repeats the name of a certificate that does not fit, and the receiver has chosen that name."""
    chosen = "evil\x1b[31m\r\nX: 1 " + "x" * 40
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, chosen)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1)).sign(key, SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted)
    with Receiver(tls=context) as receiver:
        detail = sender_with(ca_file=str(trusted)).post(hook(receiver), b"{}", {})[0].detail
        assert "evil" in detail
        assert len(detail) <= DETAIL_LENGTH
        hooks = app(webhook(receiver.url(), name="a", retry={"enabled": False}))
        environment = {
            "QUEUE_DRIVER": "memory",
            "QUEUE_MEMORY_INGRESS_PORT": "0",
            "QUEUE_DELIVERY_CA_FILE": str(trusted),
        }
        with DaemonProcess(config(hooks), environment=environment) as daemon:
            daemon.wait_ready()
            [ingress] = eventually(lambda: daemon.events("ingress.started"))
            connection = http.client.HTTPConnection("127.0.0.1", ingress["port"])
            connection.request("POST", "/jobs", job(1))
            assert connection.getresponse().status == 202
            connection.close()
            eventually(lambda: daemon.events("delivery.attempted"), 10, daemon.output)
            [line] = daemon.events("delivery.attempted")
            assert "evil" in line["detail"]
            assert all(text.isprintable() for text in daemon.stdout().splitlines())


@pytest.mark.parametrize("keeps", [True, False])
def test_a_renewed_file_of_authorities_is_used_within_a_second(tmp_path: Path, keeps: bool) -> None:
    """An authority that was added is trusted, and one that was withdrawn is not, also on a kept connection."""
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    trusted = tmp_path / "trusted.pem"

    def replace_by(*authorities: Authority) -> None:
        fresh = tmp_path / "fresh.pem"
        fresh.write_bytes(b"".join(Path(each.ca_file).read_bytes() for each in authorities))
        fresh.replace(trusted)

    replace_by(old)
    sender = sender_with(ca_file=str(trusted))
    with Receiver(tls=old.server()) as before, Receiver(tls=new.server()) as after:
        for receiver in (before, after):
            receiver.answer(lambda request, nth: Answer(200, close=not keeps))
        assert (reason(sender, hook(before)), reason(sender, hook(after))) == ("delivered", "tls")
        replace_by(old, new)
        eventually(lambda: reason(sender, hook(after)) == "delivered", 2)
        assert reason(sender, hook(before)) == "delivered"
        replace_by(new)
        eventually(lambda: reason(sender, hook(before)) == "tls", 2)
        assert reason(sender, hook(after)) == "delivered"


def test_renewed_authority_costs_at_most_one_attempt_of_a_connection(tmp_path: Path) -> None:
    """libcurl keeps the authorities that a handle has read; the receiver changes to a certificate of another."""
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    trusted, both = tmp_path / "trusted.pem", tmp_path / "both.pem"
    trusted.write_bytes(Path(old.ca_file).read_bytes())
    both.write_bytes(trusted.read_bytes() + Path(new.ca_file).read_bytes())
    sender, context = sender_with(ca_file=str(trusted)), old.server()
    context.options |= ssl.OP_NO_TICKET  # a session that is resumed shows no certificate
    context.num_tickets = 0
    with Receiver(tls=context) as receiver:
        receiver.answer(lambda request, nth: Answer(200, close=True))
        assert reason(sender, hook(receiver)) == "delivered"
        both.replace(trusted)
        new.certify(context)
        reasons = [reason(sender, hook(receiver)) for _ in range(10)]
    assert reasons.count("tls") <= 1, reasons
    assert reasons[-1] == "delivered"


@pytest.mark.parametrize("waits", [0.0, FILE_CHECK_INTERVAL])
@pytest.mark.parametrize("file", ["ca_file", "client_cert_file"])
def test_pipe_in_the_place_of_a_file_of_certificates_blocks_no_attempt(
    authority: Authority, file: str, waits: float
) -> None:
    """Within a second of the change the old file is used, since it is held open; later attempts fail at once."""
    certificate, key = map(str, authority.client_files())
    options = {"ca_file": str(authority.ca_file), "client_cert_file": certificate, "client_key_file": key}
    sender = sender_with(**options)
    with Receiver(tls=authority.server()) as receiver:
        receiver.answer(lambda request, nth: Answer(200, close=True))
        assert reason(sender, hook(receiver)) == "delivered"
        Path(options[file]).unlink()
        os.mkfifo(options[file])
        time.sleep(waits)
        began = time.monotonic()
        outcome = sender.post(hook(receiver), b"{}", {})[0]
        assert time.monotonic() - began < 1
        if waits:
            assert (outcome.reason, outcome.verdict) == ("tls", "retryable")
            assert outcome.detail == f"{options[file]}: the file cannot be read: it is not a regular file"
            with Receiver() as plain:
                assert reason(sender, hook(plain)) == "delivered"
            assert reason(sender, hook(receiver, verify=False)) == ("delivered" if file == "ca_file" else "tls")


def test_file_that_holds_no_certificate_any_more_is_named(authority: Authority) -> None:
    sender = sender_with(ca_file=str(authority.ca_file))
    with Receiver(tls=authority.server()) as receiver:
        authority.ca_file.write_text("CANARY")
        time.sleep(FILE_CHECK_INTERVAL)
        outcome = sender.post(hook(receiver), b"{}", {})[0]
    assert outcome.reason == "tls"
    assert str(authority.ca_file) in outcome.detail
    assert "/proc" not in outcome.detail


@pytest.mark.parametrize("first", [True, False])
def test_verifying_webhook_never_reuses_an_unverified_connection(authority: Authority, first: bool) -> None:
    """Two webhooks at one host and port, in both orders and again and again."""
    with Receiver(tls=authority.server()) as receiver:
        sender = sender_with()
        for verify in (first, not first) * 4:
            expected = "tls" if verify else "delivered"
            assert reason(sender, hook(receiver, verify=verify)) == expected
        assert len(receiver.requests) == 4
        assert len({request.client_port for request in receiver.requests}) == 1  # that connection was kept


def test_a_handle_that_is_turned_to_another_host_goes_on_verifying(authority: Authority) -> None:
    with (
        Receiver(tls=authority.server()) as trusted,
        Receiver(tls=Authority(Path(authority.ca_file).parent, "b").server()) as other,
    ):
        adapter = CurlTransport(HandleOptions(ca_file=str(authority.ca_file)))
        adapter.pool.limit = 1
        sender = Sender(adapter)
        assert reason(sender, hook(trusted)) == "delivered"
        assert reason(sender, hook(other, verify=False)) == "delivered"
        assert reason(sender, hook(other)) == "tls"
        assert reason(sender, hook(trusted)) == "delivered"
        assert reason(sender, replace(hook(other), request_timeout_ms=4999)) == "tls"


def test_a_certificate_of_ours_is_shown_where_it_is_asked_for(authority: Authority) -> None:
    certificate, key = authority.client_files()
    options = {"ca_file": str(authority.ca_file)}
    with Receiver(tls=authority.server(clients=authority)) as receiver:
        assert reason(sender_with(**options), hook(receiver)) in ("tls", "reset")
        assert receiver.requests == []
        with_both = sender_with(**options, client_cert_file=str(certificate), client_key_file=str(key))
        assert reason(with_both, hook(receiver)) == "delivered"
        bundle = certificate.with_name("bundle.pem")
        bundle.write_bytes(certificate.read_bytes() + key.read_bytes())
        assert reason(sender_with(**options, client_cert_file=str(bundle)), hook(receiver)) == "delivered"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_refusal_by_a_tls_alert_is_reported_as_such(authority: Authority, version: ssl.TLSVersion) -> None:
    """With TLS 1.3 the handshake is already complete on our side when the alert arrives in place of the answer."""
    context = authority.server(clients=authority)
    context.maximum_version = version

    def refuse(visit: Visit) -> None:
        with context.wrap_socket(visit.connection.dup(), server_side=True, do_handshake_on_connect=False) as link:
            with contextlib.suppress(ssl.SSLError):
                link.do_handshake()
            visit.linger()  # closing it now would be a reset, which may overtake the alert

    with HostileReceiver(refuse) as receiver:
        webhook = replace(hook(receiver), url=Secret(receiver.url(scheme="https")))
        outcome, _ = sender_with(ca_file=str(authority.ca_file)).post(webhook, b"{}", {})
    assert outcome.reason == "tls"


@pytest.mark.parametrize("expires", [YESTERDAY, YESTERDAY + datetime.timedelta(days=90)])
def test_until_when_a_certificate_is_valid(authority: Authority, expires: datetime.datetime) -> None:
    with Receiver(tls=authority.server(expires=expires)) as receiver:
        assert connect(receiver.url(), HandleOptions(), 5.0, verify=False).expires == expires.replace(microsecond=0)
        assert receiver.requests == []


def test_failed_handshake_has_no_certificate_details(authority: Authority) -> None:
    with HostileReceiver(silent) as receiver, pytest.raises(TransportFault) as caught:
        connect(receiver.url(scheme="https"), HandleOptions(), 0.2)
    assert caught.value.failure is Failure.CONNECT_TIMEOUT
    with Receiver(tls=authority.server()) as receiver, pytest.raises(TransportFault) as caught:
        connect(receiver.url(), HandleOptions(guard=Guard(Rules(private=False))), 5.0)
    assert caught.value.failure is Failure.GUARD


def test_unusable_files_are_each_reported_in_one_line(authority: Authority, tmp_path: Path) -> None:
    certificate, key = map(str, authority.client_files())
    odd = tmp_path / "odd.pem"
    odd.write_text("CANARY")
    assert (
        list(
            file_faults(
                HandleOptions(ca_file=str(authority.ca_file), client_cert_file=certificate, client_key_file=key)
            )
        )
        == []
    )
    for options in (
        HandleOptions(ca_file=str(odd)),
        HandleOptions(ca_file=str(tmp_path / "nowhere.pem")),
        HandleOptions(client_cert_file=certificate),  # without a key
        HandleOptions(client_cert_file=certificate, client_key_file=str(odd)),
        HandleOptions(client_cert_file=str(odd), client_key_file=key),
    ):
        (line,) = file_faults(options)
        assert line.startswith("queue.delivery.c")
        assert "CANARY" not in line
        assert "\n" not in line


@pytest.mark.parametrize("variable", ["QUEUE_DELIVERY_CA_FILE", "QUEUE_DELIVERY_CLIENT_CERT_FILE"])
def test_the_daemon_does_not_start_with_them(tmp_path: Path, variable: str) -> None:
    environment = {"QUEUE_DRIVER": "memory", "QUEUE_MEMORY_INGRESS_PORT": "0", variable: str(tmp_path / "nowhere.pem")}
    with DaemonProcess(config(app(webhook("https://h.example/"))), environment) as daemon:
        assert daemon.wait(20) == 2
        [line] = daemon.stderr().splitlines()
    assert variable in line
    assert "No such file" in line
