"""The errors of this package. Each message is one line for operators and never contains a secret.

    SockudoQueueError
    ├── SettingsError       a setting cannot be used: exit code 2
    ├── StartError          the process cannot start (a taken port): exit code 3
    ├── OutputError         a command's output cannot be written: exit code 1
    ├── MalformedJob        a job's bytes cannot be read; kept as a dead letter
    ├── AppStoreUnavailable the app database does not answer, so it is unknown whether an app exists
    ├── AppUnreadable       the app exists, but its data in the database cannot be used
    └── BrokerError
        ├── BrokerUnavailable   no response, or no reliable one: the command may or may not have run
        │   └── SourceUnavailable   for one source; others are on other servers
        └── BrokerRefused       the broker answered with a refusal
            └── SourceRefused   it refused one source, and serves others

A failing endpoint is not an exception: a failed attempt is an `outcome.Outcome`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class SockudoQueueError(Exception):
    """Base of all errors raised by this package."""


class SettingsError(SockudoQueueError):
    """One or more settings cannot be used; `faults` contains one complete line for each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class StartError(SockudoQueueError):
    """The process cannot start although its settings are valid."""


class OutputError(SockudoQueueError):
    """Standard output cannot be written, for example because of a full disk."""


class ControlsNotShared(SockudoQueueError):
    """An action on a webhook cannot be done, since what it would change is not kept in the queue server."""


class MalformedJob(SockudoQueueError):
    """The bytes of a job cannot be read. The message names the fault, and contains none of the bytes."""


class AppStoreUnavailable(SockudoQueueError):
    """The app database did not answer, or refused. Whether the app exists is unknown, so it never counts as absent."""


class AppUnreadable(SockudoQueueError):
    """The store's data for this app id cannot be read as an app."""


class BrokerError(SockudoQueueError):
    """The queue's broker did not carry out a command."""


class BrokerUnavailable(BrokerError):
    """There was no usable response: a lost connection, a timeout, a server that is loading or failing over.

    The command may have run, so repeat it only if it is idempotent.
    """


class SourceUnavailable(BrokerUnavailable):
    """There was no usable response for one source; others of the same driver are on other servers, and may work."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source


class BrokerRefused(BrokerError):
    """The broker answered with an error (wrong type, no permission, out of memory); nothing was done."""


class SourceRefused(BrokerRefused):
    """The broker refused a command for one source, while others of the same driver are served."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class SettlementRefused(SourceRefused):
    """The broker refused one settlement, for example for its size; others of its source are accepted."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, then each error that caused it or was being handled when it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
