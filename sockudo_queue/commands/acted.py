"""The line `operator.acted`, which each command that changes something prints, and the user that it names."""

from __future__ import annotations

import os
import socket
from typing import Any

from sockudo_queue.runtime.streams import visible


def acted_line(**fields: Any) -> str:
    """Return the line for an action: what was done, by whom, and how often."""
    return f"operator.acted {visible(' '.join(f'{name}={value}' for name, value in fields.items()))}"


def system_user() -> str:
    """Return who runs this command: user and host."""
    import pwd  # here, since there is none on systems that are not Unix

    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    return f"{name}@{socket.gethostname()}"
