"""Every error of this project, with one base."""

from __future__ import annotations


class CoordinatorError(Exception):
    """Base of all errors that a caller may want to tell apart; `str(error)` is one clear sentence."""


class InvalidInputError(CoordinatorError):
    """Input that does not validate.

    Attributes:
        problems: one `(field, what is wrong)` pair for each fault found, in the order of the input.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{field}: {what}" for field, what in problems))


class NotFoundError(CoordinatorError):
    """An id that is not known.

    Attributes:
        kind: what was looked for: `seed`, `worker`, `batch` or `dead`.
        ident: the id as it was given.
    """

    def __init__(self, kind: str, ident: str) -> None:
        self.kind = kind
        self.ident = ident
        super().__init__(f"{kind} {ident!r} is not known")


class ForbiddenError(CoordinatorError):
    """Something that this caller may not do."""


class OverLimitError(CoordinatorError):
    """Input that is larger than a limit.

    Attributes:
        setting: the setting that says the limit.
    """

    def __init__(self, what: str, limit: int, unit: str, setting: str) -> None:
        self.setting = setting
        super().__init__(f"{what} is over its limit of {limit} {unit} (COORDINATOR_{setting})")


class BusyError(CoordinatorError):
    """More at once than a limit allows.

    Attributes:
        setting: the setting that says the limit.
    """

    def __init__(self, what: str, limit: float, setting: str) -> None:
        self.setting = setting
        super().__init__(f"there are as many {what} as may be: {limit:g} (COORDINATOR_{setting})")


class TooSlowError(CoordinatorError):
    """A body that did not come in time.

    Attributes:
        setting: the setting that says the time.
    """

    def __init__(self, seconds: float, setting: str) -> None:
        self.setting = setting
        super().__init__(f"the body did not come within {seconds:g} s (COORDINATOR_{setting})")


class BrokerUnavailableError(CoordinatorError):
    """The broker, or the coordinator before it, is away, blocked, or was lost: nothing is known to be done."""


class BrokerInternalError(BrokerUnavailableError):
    """The broker ended the connection with an internal error, as it does when a broken queue was used on it."""


class BrokerTimeoutError(BrokerUnavailableError):
    """The broker did not answer in time, or not for this queue."""


class BrokerRefusedError(CoordinatorError):
    """The broker answered and said no (a missing permission, a queue declared otherwise)."""


class UnroutableError(BrokerRefusedError):
    """A mandatory message was returned, because no queue takes its routing key."""


class QueueMissingError(BrokerRefusedError):
    """There is no queue or exchange of this name."""


class QueueSilentError(BrokerRefusedError):
    """The broker answers, but not for this queue: it has lost its leader, or itself."""


class QueueFullError(BrokerRefusedError):
    """The broker refused a message, because its queue holds as many as it may."""


class ManagementError(CoordinatorError):
    """The management API answered with an error, or not at all.

    Attributes:
        status: the HTTP status, 0 when there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)


class PrivateBrokerError(CoordinatorError):
    """The private broker could not be started, or ended by itself."""


class RejectedItemError(InvalidInputError):
    """An item among those that were submitted does not validate; its place is part of each problem's field.

    Attributes:
        accepted: how many items before it were confirmed: all of them. Those after it were not sent.
    """

    def __init__(self, problems: list[tuple[str, str]], accepted: int) -> None:
        self.accepted = accepted
        super().__init__(problems)


class NoReplyError(CoordinatorError):
    """No coordinator has answered a command yet. The command stays queued, and one that is back carries it out."""


class NoAnswerError(BrokerUnavailableError):
    """A call got no answer that tells: it may have been carried out or not."""


class HttpError(CoordinatorError):
    """A coordinator's HTTP side refused a call: no valid token, a role that may not, a limit.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)
