"""Define every error of this project, all with one base."""

from __future__ import annotations


class CoordinatorError(Exception):
    """Base of all errors of this project; `str(error)` is one clear sentence."""


class InvalidInputError(CoordinatorError):
    """Input that does not validate.

    Attributes:
        problems: one `(field, what is wrong)` pair for each problem, in the order of the input.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{field}: {what}" for field, what in problems))


class NotFoundError(CoordinatorError):
    """There is nothing with this id.

    Attributes:
        kind: the kind of thing: `seed`, `worker`, `batch` or `dead`.
        ident: the id in the request.
    """

    def __init__(self, kind: str, ident: str) -> None:
        self.kind = kind
        self.ident = ident
        super().__init__(f"{kind} {ident!r} is not known")


class ForbiddenError(CoordinatorError):
    """This caller is not allowed to do this."""


class OverLimitError(CoordinatorError):
    """The input is larger than a limit.

    Attributes:
        setting: the setting with the limit.
    """

    def __init__(self, what: str, limit: int, unit: str, setting: str) -> None:
        self.setting = setting
        super().__init__(f"{what} is over its limit of {limit} {unit} (COORDINATOR_{setting})")


class BusyError(CoordinatorError):
    """There are already as many as a limit allows.

    Attributes:
        setting: the setting with the limit.
    """

    def __init__(self, what: str, limit: float, setting: str) -> None:
        self.setting = setting
        super().__init__(f"the limit of {limit:g} {what} is reached (COORDINATOR_{setting})")


class TooSlowError(CoordinatorError):
    """The body of a request did not arrive in time.

    Attributes:
        setting: the setting with the time.
    """

    def __init__(self, seconds: float, setting: str) -> None:
        self.setting = setting
        super().__init__(f"the body did not come within {seconds:g} s (COORDINATOR_{setting})")


class BrokerUnavailableError(CoordinatorError):
    """The broker or the coordinator does not answer, or the connection ended. The call may have taken effect or not."""


class BrokerInternalError(BrokerUnavailableError):
    """The broker ended the connection with an internal error, as it does when a broken queue was used on it."""


class BrokerTimeoutError(BrokerUnavailableError):
    """The broker did not answer in time."""


class BrokerRefusedError(CoordinatorError):
    """The broker refused, for example for lack of a permission, or because a queue exists with other properties."""


class UnroutableError(BrokerRefusedError):
    """The broker returned a mandatory message, because no queue has a binding for its routing key."""


class QueueMissingError(BrokerRefusedError):
    """There is no queue or exchange with this name."""


class QueueSilentError(BrokerRefusedError):
    """The broker works, but this queue does not answer, because it has no leader or has lost its data."""


class QueueFullError(BrokerRefusedError):
    """The broker refused a message, because its queue is full."""


class ManagementError(CoordinatorError):
    """The management API answered with an error, or did not answer.

    Attributes:
        status: the HTTP status; 0 without an answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)


class PrivateBrokerError(CoordinatorError):
    """The private broker did not start, or it ended by itself."""


class RejectedItemError(InvalidInputError):
    """One of the submitted items does not validate. The field of each problem holds the item's position.

    Attributes:
        accepted: the number of items before it. All of them were confirmed, and none after it was sent.
    """

    def __init__(self, problems: list[tuple[str, str]], accepted: int) -> None:
        self.accepted = accepted
        super().__init__(problems)


class NoReplyError(CoordinatorError):
    """No coordinator has answered a command yet. The command stays queued until a coordinator runs."""


class NoAnswerError(BrokerUnavailableError):
    """A call got no clear answer. It may have taken effect or not."""


class HttpError(CoordinatorError):
    """A coordinator's HTTP API refused a call: the token is not valid, the role is not allowed, or a limit is reached.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)
