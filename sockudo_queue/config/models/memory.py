"""Settings of the memory driver."""

from typing import Annotated

from pydantic import Field

from sockudo_queue.config.models.group import SettingInfo, SettingsGroup
from sockudo_queue.config.values import Host, Whole


class MemorySettings(SettingsGroup):
    """The memory driver: the address that accepts jobs (port 0 selects a free port), and its limits."""

    max_bytes: Annotated[
        Whole,
        SettingInfo(
            "queue.memory.max_bytes",
            "QUEUE_MEMORY_MAX_BYTES",
            "Maximum size of all jobs in the memory driver. Above it, the oldest ready job is dropped and counted.",
        ),
    ] = Field(256_000_000, ge=1_000_000)
    ingress_host: Annotated[
        Host,
        SettingInfo(
            "queue.memory.ingress_host",
            "QUEUE_MEMORY_INGRESS_HOST",
            "Address on which this driver serves `POST /jobs`. Any client that can reach it can add jobs.",
        ),
    ] = "127.0.0.1"
    ingress_port: Annotated[
        Whole,
        SettingInfo(
            "queue.memory.ingress_port", "QUEUE_MEMORY_INGRESS_PORT", "Port for `POST /jobs`; 0 selects a free one."
        ),
    ] = Field(9_603, ge=0, le=65_535)
