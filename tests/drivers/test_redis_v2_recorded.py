"""What a real Sockudo 5.0.1 has put on Queue V2 comes out as its jobs: see tests/data/queue-v2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tests.drivers.conformance import bodies_of, take_all
from tests.drivers.redis_v2 import RedisV2

RECORDED: Final = Path(__file__).parents[1] / "data" / "queue-v2"
JOBS_OF_THE_FRAME: Final = 7


def test_an_envelope_gives_the_job_as_the_server_wrote_it(v2: RedisV2) -> None:
    text = (RECORDED / "recorded.envelope").read_bytes()
    [(record_id, body)] = re.findall(rb'^\{"version":2,"id":"([0-9a-f]{32})","data":(.*)\}$', text, re.DOTALL)
    v2.client.hset(v2.key("jobs"), record_id, text)
    v2.client.lpush(v2.key("wait"), record_id)

    [claim] = take_all(v2.driver())

    assert claim.id == record_id.decode()
    assert claim.body == body
    assert (RECORDED.parent / "jobs" / "5.0" / "recorded_client_event.job").read_bytes() == body


def test_a_frame_gives_its_jobs_in_their_order(v2: RedisV2) -> None:
    frame = (RECORDED / "recorded.frame").read_bytes()
    # Each record is J, 32 letters of its id, and the job, which begins with the id once more.
    parts = re.split(rb'J([0-9a-f]{32})(?=\{"job_id":"\1")', frame)
    ids, bodies = parts[1::2], [part[: part.rindex(b"}") + 1] for part in parts[2::2]]
    assert len(ids) == JOBS_OF_THE_FRAME
    v2.client.lpush(v2.key("inline-wait"), frame)
    v2.client.set(v2.key("inline-wait-count"), JOBS_OF_THE_FRAME)

    claims = take_all(v2.driver())

    assert [claim.id for claim in claims] == [record_id.decode() for record_id in ids]
    assert bodies_of(claims) == bodies
    assert v2.client.get(v2.key("inline-wait-count")) == b"0"
