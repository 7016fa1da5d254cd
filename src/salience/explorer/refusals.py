"""Why the server declines, each with its status. What is a plain UserError is answered with 400."""

from __future__ import annotations

from salience.errors import UserError


class Unknown(UserError):  # noqa: N818 - says what is wrong
    """There is no such row, item, column or run."""

    status = 404


class NotYet(UserError):  # noqa: N818
    """What is needed first is not there: labels, a job's result, the run that made the store."""

    status = 409


def status_of(problem: UserError) -> int:
    return getattr(problem, "status", 400)
