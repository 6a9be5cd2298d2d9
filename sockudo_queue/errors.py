"""The errors of this package; each message is one line for a person and never holds a secret.

    SockudoQueueError
    ├── SettingsError       what a person wrote cannot be used: exit code 2
    ├── StartError          the process cannot start (a taken port): exit code 3
    ├── OutputError         what a command has to say cannot be written: exit code 1
    ├── MalformedJob        a job's bytes cannot be read; kept as a dead letter
    ├── AppStoreUnavailable the database of apps does not answer: nobody can tell whether there is such an app
    ├── AppUnreadable       there is such an app, and what the database says about it cannot be used
    └── BrokerError
        ├── BrokerUnavailable   no answer, or none to trust: the command may or may not have run
        │   └── SourceUnavailable   for one form of the queue; others are on other servers
        └── BrokerRefused       the broker answered, and refused
            └── SourceRefused   it refused one form of the queue, and serves others

An endpoint that fails is no error: a failed attempt is an `outcome.Outcome`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class SockudoQueueError(Exception):
    """Base of all errors raised by this package."""


class SettingsError(SockudoQueueError):
    """One or more settings cannot be used; `faults` holds one complete line for each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class StartError(SockudoQueueError):
    """The process cannot start although its settings are sound."""


class OutputError(SockudoQueueError):
    """Standard output takes nothing more: a full disk, for example."""


class ControlsNotShared(SockudoQueueError):
    """An action on a webhook cannot be done, since what it would change is not kept in the queue's server."""


class MalformedJob(SockudoQueueError):
    """The bytes of a job cannot be read. The message names the fault, never the bytes."""


class AppStoreUnavailable(SockudoQueueError):
    """The store of apps did not answer, or refused. Whether it holds an app is not known, so none is unknown."""


class AppUnreadable(SockudoQueueError):
    """The store holds something under the app's id that cannot be read as an app."""


class BrokerError(SockudoQueueError):
    """The queue's broker did not do what was asked."""


class BrokerUnavailable(BrokerError):
    """No usable answer came: a lost connection, a timeout, a server that is loading or failing over.

    The command may have run. Whoever repeats it must be sure that twice is as good as once.
    """


class SourceUnavailable(BrokerUnavailable):
    """No usable answer came for one source; others of the same driver are on other servers, and may be served."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source


class BrokerRefused(BrokerError):
    """The broker answered with an error (wrong type, no permission, out of memory); nothing was done."""


class SourceRefused(BrokerRefused):
    """The broker refused what was asked of one source, while others of the same driver are served."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class SettlementRefused(SourceRefused):
    """The broker refused one settlement, for example for its size; others of its source are taken."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, then each error that caused it or was being handled when it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
