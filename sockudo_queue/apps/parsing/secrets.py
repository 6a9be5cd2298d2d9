"""The secrets for Standard Webhooks signatures; no message contains one."""

from __future__ import annotations

from typing import Any

from sockudo_queue.config import ConfigProblems
from sockudo_queue.core.secret import Secret
from sockudo_queue.core.signing_secrets import SIGNING_EXAMPLE, signing_secret_fault


def read_signing_secrets(value: Any, where: str, problems: ConfigProblems) -> tuple[Secret, ...]:
    """Return the secrets in their order. Requests are signed with each, so that a receiver can rotate them."""
    if value is None:
        return ()
    if not isinstance(value, list):
        problems.faults.append(f'{where}: signing_secrets must be a list; for example ["${{ORDERS_SIGNING_SECRET}}"]')
        return ()
    secrets = []
    for number, text in enumerate(value, 1):
        fault = signing_secret_fault(text)
        if fault is None:
            secrets.append(Secret(text.strip()))
        else:
            problems.faults.append(f"{where}: signing_secrets, item {number}: {fault}; for example {SIGNING_EXAMPLE}")
    return tuple(secrets)
