"""Queue V2 as Sockudo 5 writes it, implemented from the description of its keys: no code is shared with the driver.

`Producer` enqueues like a server; `Worker` claims and settles like a server's own workers, including their limit of
attempts and the trimming of `dlq`. Both use their own clock for timestamps, as servers do.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

DEFAULT_BASE: Final = "sockudo_queue:v2:{webhooks}"
EVENTS_KEPT: Final = 10_000
NOTIFY_KEPT: Final = 1_024
BATCH: Final = 500

PRODUCER_PARTS: Final = (
    "jobs",
    "wait",
    "inline-wait",
    "inline-wait-count",
    "delayed",
    "attempts",
    "max-attempts",
    "dedup",
    "dedup-expiry",
    "notify",
    "events",
)
WORKER_PARTS: Final = (
    "jobs",
    "wait",
    "inline-wait",
    "inline-wait-count",
    "delayed",
    "active",
    "tokens",
    "attempts",
    "max-attempts",
    "dlq",
    "failures",
    "completed",
    "notify",
    "events",
)

# KEYS jobs wait delayed attempts max-attempts notify events; ARGV id payload limit now delay events-kept
ENQUEUE: Final = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then return known == ARGV[2] and 0 or -1 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[4], ARGV[1], '0')
redis.call('HSET', KEYS[5], ARGV[1], ARGV[3])
if tonumber(ARGV[5]) > 0 then
  redis.call('ZADD', KEYS[3], ARGV[4] + ARGV[5], ARGV[1])
else
  redis.call('LPUSH', KEYS[2], ARGV[1])
end
redis.call('LPUSH', KEYS[6], '1')
redis.call('LTRIM', KEYS[6], 0, 1023)
if tonumber(ARGV[6]) > 0 then
  redis.call('XADD', KEYS[7], 'MAXLEN', '~', ARGV[6], '*', 'event', 'enqueued', 'job_id', ARGV[1], 'timestamp', ARGV[4])
end
return 1
"""

# The same for several jobs, none of them delayed. ARGV limit now events-kept, then id and payload of each
ENQUEUE_ALL: Final = """
for i = 4, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then return redis.error_reply('known ' .. ARGV[i]) end
end
for i = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('HSET', KEYS[4], ARGV[i], '0')
  redis.call('HSET', KEYS[5], ARGV[i], ARGV[1])
  redis.call('LPUSH', KEYS[2], ARGV[i])
  if tonumber(ARGV[3]) > 0 then
    redis.call('XADD', KEYS[7], 'MAXLEN', '~', ARGV[3], '*', 'event', 'enqueued', 'job_id', ARGV[i],
      'timestamp', ARGV[2])
  end
end
redis.call('LPUSH', KEYS[6], '1')
redis.call('LTRIM', KEYS[6], 0, 1023)
return (#ARGV - 3) / 2
"""

_WORKER: Final = """
local K, now = {}, tonumber(ARGV[1])
for i, name in ipairs({'jobs', 'wait', 'frames', 'framed', 'delayed', 'active', 'tokens', 'attempts', 'limits', 'dlq',
  'failures', 'completed', 'notify', 'events'}) do K[name] = KEYS[i] end
local function emit(event, id)
  redis.call('XADD', K.events, 'MAXLEN', '~', 100000, '*', 'event', event, 'job_id', id, 'timestamp', ARGV[1])
end
local function drop(id)
  for _, key in ipairs({K.jobs, K.attempts, K.limits, K.failures}) do redis.call('HDEL', key, id) end
end
local function limit(id) return tonumber(redis.call('HGET', K.limits, id) or '5') end
local function trim_dlq()
  local over = redis.call('ZCARD', K.dlq) - tonumber(ARGV[2])
  if over > 0 then
    for _, id in ipairs(redis.call('ZRANGE', K.dlq, 0, over - 1)) do drop(id) redis.call('ZREM', K.dlq, id) end
  end
end
local function bury(id, reason)
  redis.call('ZADD', K.dlq, now, id)
  redis.call('HSET', K.failures, id, reason)
  emit('failed', id)
end
"""

# ARGV now dlq-kept lease stalled-batch limit token-prefix; returns id, token, payload, attempts in a row
CLAIM: Final = (
    _WORKER
    + """
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.active, '-inf', now, 'LIMIT', 0, ARGV[4])) do
  redis.call('ZREM', K.active, id)
  redis.call('HDEL', K.tokens, id)
  if tonumber(redis.call('HGET', K.attempts, id) or '0') >= limit(id) then bury(id, 'lease-expired')
  else redis.call('LPUSH', K.wait, id) emit('stalled', id) end
end
trim_dlq()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.delayed, '-inf', now, 'LIMIT', 0, ARGV[4])) do
  redis.call('ZREM', K.delayed, id)
  redis.call('LPUSH', K.wait, id)
  emit('waiting', id)
end
local got = {}
for pop = 1, ARGV[4] + ARGV[5] do
  if #got / 4 >= tonumber(ARGV[5]) then break end
  local id = redis.call('RPOP', K.wait)
  if not id then break end
  local payload = redis.call('HGET', K.jobs, id)
  if payload and redis.call('HEXISTS', K.tokens, id) == 0 and not redis.call('ZSCORE', K.completed, id) then
    local attempts = redis.call('HINCRBY', K.attempts, id, 1)
    if attempts <= limit(id) then
      local token = ARGV[6] .. ':' .. pop
      redis.call('HSET', K.tokens, id, token)
      redis.call('ZADD', K.active, now + ARGV[3], id)
      emit('active', id)
      for _, value in ipairs({id, token, payload, attempts}) do got[#got + 1] = value end
    else
      bury(id, 'attempts-exhausted')
    end
  end
end
return got
"""
)

# ARGV now dlq-kept completed-kept id token
ACK: Final = (
    _WORKER
    + """
local id, kept = ARGV[4], tonumber(ARGV[3])
if redis.call('HGET', K.tokens, id) ~= ARGV[5] then return 0 end
redis.call('ZREM', K.active, id)
redis.call('HDEL', K.tokens, id)
redis.call('HDEL', K.failures, id)
if kept == 0 then drop(id) else
  redis.call('ZADD', K.completed, now, id)
  local over = redis.call('ZCARD', K.completed) - kept
  if over > 0 then
    for _, old in ipairs(redis.call('ZRANGE', K.completed, 0, over - 1)) do
      drop(old)
      redis.call('ZREM', K.completed, old)
    end
  end
end
emit('completed', id)
return 1
"""
)

# ARGV now dlq-kept id token reason forced retry-at
NACK: Final = (
    _WORKER
    + """
local id = ARGV[3]
if redis.call('HGET', K.tokens, id) ~= ARGV[4] then return 0 end
redis.call('ZREM', K.active, id)
redis.call('HDEL', K.tokens, id)
redis.call('HSET', K.failures, id, ARGV[5])
if ARGV[6] == '1' or tonumber(redis.call('HGET', K.attempts, id) or '0') >= limit(id) then
  bury(id, ARGV[5])
  trim_dlq()
  return 2
end
if tonumber(ARGV[7]) > now then redis.call('ZADD', K.delayed, ARGV[7], id) else redis.call('LPUSH', K.wait, id) end
redis.call('LPUSH', K.notify, '1')
redis.call('LTRIM', K.notify, 0, 1023)
emit('retrying', id)
return 1
"""
)

Clock = Callable[[], float]


def new_id() -> str:
    return uuid.uuid4().hex


def with_job_id(body: bytes, job_id: str) -> bytes:
    """Return JobData as Sockudo 5 writes it: that of 4.7 with its id as the first field."""
    return b'{"job_id":"%b",%b' % (job_id.encode(), body[1:])


def envelope(data: bytes, job_id: str) -> bytes:
    return b'{"version":2,"id":"%b","data":%b}' % (job_id.encode(), data)


def j_record(job_id: bytes, data: bytes) -> bytes:
    return b"J" + job_id + data


def b_frame(records: Sequence[bytes], count: int | None = None) -> bytes:
    """Pack records; `count` overrides the number in the header."""
    announced = len(records) if count is None else count
    return b"B" + announced.to_bytes(4, "big") + b"".join([len(it).to_bytes(4, "big") + it for it in records])


class Producer:
    """A server that enqueues. `clock` returns seconds."""

    def __init__(
        self, client: Any, base: str = DEFAULT_BASE, *, events_kept: int = EVENTS_KEPT, clock: Clock = time.time
    ) -> None:
        self.client = client
        self.base = base
        self._events_kept = events_kept
        self._clock = clock
        parts = ("jobs", "wait", "delayed", "attempts", "max-attempts", "notify", "events")
        self._keys = [f"{base}:{part}" for part in parts]
        self._enqueue = client.register_script(ENQUEUE)
        self._enqueue_all = client.register_script(ENQUEUE_ALL)

    def key(self, part: str) -> str:
        return f"{self.base}:{part}"

    def enqueue(self, body: bytes, *, delay_ms: int = 0, job_id: str | None = None) -> str:
        """Enqueue one job with a 4.7 body as 5.0 would, and return its id."""
        own = job_id or new_id()
        assert self.enqueue_payload(envelope(with_job_id(body, own), own), own, delay_ms=delay_ms) == 1
        return own

    def enqueue_payload(self, payload: bytes, job_id: str | bytes, *, delay_ms: int = 0) -> int:
        """Enqueue any text: 1 enqueued, 0 already known, -1 the id is known with another text."""
        arguments = [job_id, payload, 5, round(self._clock() * 1000), delay_ms, self._events_kept]
        return int(self._enqueue(keys=self._keys, args=arguments))

    def enqueue_payloads(self, payloads: Sequence[tuple[str, bytes]]) -> None:
        """Enqueue texts with their ids, one chunk per script call."""
        for start in range(0, len(payloads), BATCH):
            flat = [value for pair in payloads[start : start + BATCH] for value in pair]
            arguments = [5, round(self._clock() * 1000), self._events_kept, *flat]
            assert self._enqueue_all(keys=self._keys, args=arguments) == len(flat) // 2

    def enqueue_frame(self, frame: bytes, count: int) -> None:
        """Push one packed element that holds `count` jobs, in one transaction."""
        with self.client.pipeline(transaction=True) as pipeline:
            pipeline.lpush(self.key("inline-wait"), frame)
            pipeline.incrby(self.key("inline-wait-count"), count)
            pipeline.lpush(self.key("notify"), "1")
            pipeline.ltrim(self.key("notify"), 0, NOTIFY_KEPT - 1)
            pipeline.execute()

    def enqueue_packed(self, bodies: Sequence[bytes]) -> list[str]:
        """Pack jobs into one B frame, and return their ids."""
        ids = [new_id() for _ in bodies]
        records = [j_record(own.encode(), with_job_id(body, own)) for own, body in zip(ids, bodies, strict=True)]
        self.enqueue_frame(b_frame(records), len(records))
        return ids


@dataclass(frozen=True, slots=True)
class Lease:
    """One job that a worker has claimed."""

    id: str
    token: str
    payload: bytes
    attempts: int

    @property
    def data(self) -> dict[str, Any]:
        """Return the JobData: of an envelope, or as it is."""
        value = json.loads(self.payload)
        inner = value["data"] if value.get("version") == 2 and value.get("id") == self.id else value
        assert isinstance(inner, dict)
        return inner


class Worker:
    """A server's own worker. Leases are in milliseconds."""

    def __init__(
        self,
        client: Any,
        base: str = DEFAULT_BASE,
        *,
        lease_ms: int = 30_000,
        completed_kept: int = 1_000,
        dlq_kept: int = 10_000,
        clock: Clock = time.time,
    ) -> None:
        self._client = client
        self._keys = [f"{base}:{part}" for part in WORKER_PARTS]
        self._lease_ms = lease_ms
        self._completed_kept = completed_kept
        self._dlq_kept = dlq_kept
        self._clock = clock
        self._claim, self._ack, self._nack = (client.register_script(text) for text in (CLAIM, ACK, NACK))

    def claim(self, limit: int = 80, stalled: int = 100) -> list[Lease]:
        arguments = [self._now(), self._dlq_kept, self._lease_ms, stalled, limit, uuid.uuid4().hex]
        flat = self._claim(keys=self._keys, args=arguments)
        return [
            Lease(flat[i].decode(), flat[i + 1].decode(), flat[i + 2], int(flat[i + 3])) for i in range(0, len(flat), 4)
        ]

    def ack(self, lease: Lease) -> bool:
        """Settle; return False if another worker holds the lease now."""
        arguments = [self._now(), self._dlq_kept, self._completed_kept, lease.id, lease.token]
        return bool(self._ack(keys=self._keys, args=arguments))

    def nack(self, lease: Lease, reason: str = "processor-error", *, forced: bool = False, delay_ms: int = 0) -> int:
        """Return the job: 0 not ours any more, 1 will be retried, 2 dead-lettered."""
        now = self._now()
        arguments = [now, self._dlq_kept, lease.id, lease.token, reason, int(forced), now + delay_ms]
        return int(self._nack(keys=self._keys, args=arguments))

    def _now(self) -> int:
        return round(self._clock() * 1000)
