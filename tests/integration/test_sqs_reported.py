"""Expired credentials, wrong clocks, and more threads than connections: faults reported by users of SQS."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import jobs
from tests.helpers.receiver import Answer, Receiver
from tests.helpers.sqs_daemon import daemon_on
from tests.helpers.sqs_stub import EXPIRED, Fault, SqsStub
from tests.helpers.waiting import eventually

NAME = "webhooks"
SKEWED = Fault("SignatureDoesNotMatch", 403)


def credentials(path: Path, key: str) -> None:
    """Replace the shared file of credentials, as a process beside ours would."""
    draft = path.with_suffix(".draft")
    draft.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = canary-secret\n")
    draft.replace(path)


def test_credentials_that_were_renewed_in_their_file_are_used(tmp_path: Path, receiver: Receiver) -> None:
    """boto/botocore#3117, boto/boto3#1073, Netflix/metaflow#486."""
    path = tmp_path / "credentials"
    credentials(path, "AKIAOLD")
    with SqsStub() as stub:
        daemon = daemon_on(stub.url, NAME, receiver.url(), AWS_SHARED_CREDENTIALS_FILE=str(path))
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            del daemon.environment[variable]
        with daemon:
            daemon.wait_ready()
            pid = daemon.pid
            stub.expire("AKIAOLD")
            stub.push(NAME, jobs(3))
            eventually(lambda: daemon.get("/readyz") == 503, 10, daemon.output)
            credentials(path, "AKIANEW")
            receiver.wait_for(3, 20)
            eventually(lambda: daemon.get("/readyz") == 200, 10, daemon.output)
            assert (daemon.running, daemon.pid) == (True, pid)
            assert "canary" not in daemon.output()
            assert EXPIRED.code not in daemon.stderr()


def test_wrong_clock_is_logged_until_it_is_corrected(receiver: Receiver) -> None:
    """boto/boto3#190, terricain/aioboto3#326, aws/aws-sdk#754."""
    with SqsStub() as stub, daemon_on(stub.url, NAME, receiver.url()) as daemon:
        daemon.wait_ready()
        pid = daemon.pid
        stub.clock_ahead = 20 * 60
        stub.fail(SKEWED)
        failing = time.monotonic()
        [lost] = eventually(lambda: daemon.events("broker.lost"), 10, daemon.output)
        eventually(lambda: stub.count("ReceiveMessage", since=failing), 10, daemon.output)
        daemon.pause()
        daemon.resume()
        stub.push(NAME, jobs(3))
        stub.fail(None)
        receiver.wait_for(3, 20)
        assert (daemon.running, daemon.pid) == (True, pid)
    assert "signature was refused" in lost["reason"]
    apart = re.search(r"the clock of this machine is (\d+) s behind the server's", lost["reason"])
    assert apart is not None, lost["reason"]
    assert 19 * 60 < int(apart[1]) < 21 * 60


def test_many_workers_find_connections_enough(receiver: Receiver) -> None:
    """boto/botocore#619, boto/botocore#766, aws/aws-sdk-java#1469, boto/boto3#1592."""
    count = 120
    receiver.answer(lambda request, nth: Answer(delay=0.1))
    with SqsStub() as stub, daemon_on(stub.url, NAME, receiver.url(), QUEUE_WORKERS="40") as daemon:
        daemon.wait_ready()
        stub.push(NAME, jobs(count))
        receiver.wait_for(count, 20)
        eventually(lambda: stub.messages(NAME) == [], 10, daemon.output)
        assert receiver.count == count
        assert _warnings(daemon) == []


def _warnings(daemon: DaemonProcess) -> list[object]:
    return [line for line in daemon.log_lines() if line["level"] in ("warning", "error", "critical")]
