"""Finds the nodes and the login of a Redis Cluster in the same settings as Sockudo's server.

From 5.1 on the server uses `database.redis` where the settings of the queue name no node, and for the login at nodes
whose URL holds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sockudo_queue.config.documents import Document
from sockudo_queue.config.layers import Layer
from sockudo_queue.config.options import BY_ATTRIBUTE
from sockudo_queue.config.problems import ConfigProblems
from sockudo_queue.config.values import texts

DATABASE_NODES: Final = ("database.redis.cluster.nodes", "database.redis.cluster_nodes")
"""Keys of the file that name nodes, in the server's order; the second is the older spelling."""

_NODES: Final = "redis_cluster.nodes"
_LOGIN: Final = ("username", "password")


def derive_cluster(layers: Sequence[Layer], document: Document, weakest: Layer, problems: ConfigProblems) -> None:
    """Give nodes and login of `database.redis` to the weakest layer."""
    for layer in layers:
        if _NODES in layer.values and _is_empty(layer.values[_NODES]):
            layer.discard(_NODES)
    for key in DATABASE_NODES:
        if nodes := document.get(key):
            weakest.give(BY_ATTRIBUTE[_NODES], nodes, f"{key} in {document.path}", problems)
            break
    for name in _LOGIN:
        source = next((layer for layer in layers if f"redis.{name}" in layer.values), None)
        if source is not None:
            value, origin = source.values[f"redis.{name}"], source.origins[f"redis.{name}"]
            weakest.give(BY_ATTRIBUTE[f"redis_cluster.{name}"], value, origin, problems)


def _is_empty(nodes: Any) -> bool:
    try:
        return texts(nodes) == []
    except ValueError:
        return False
