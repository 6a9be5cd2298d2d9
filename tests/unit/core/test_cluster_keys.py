"""The hash tag of a key, compared with redis-py."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from sockudo_queue.core.cluster_keys import has_hash_tag


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        ("sockudo:queue:webhooks", None),
        ("{shop}:queue", "shop"),
        ("a{shop}b", "shop"),
        ("a{shop}{x}", "shop"),
        ("a{{shop}}", "{shop"),
        ("a}b{shop}", "shop"),
        ("{}", None),
        ("a{}{shop}", None),
        ("a{shop", None),
        ("a}shop{", None),
        ("", None),
    ],
)
def test_hash_tag_decides_the_slot(key: str, tag: str | None) -> None:
    assert has_hash_tag(key) is (tag is not None)
    if tag is not None:
        assert key_slot(key.encode()) == key_slot(tag.encode())
