"""Errors of the server, each with its HTTP status. A plain UserError has status 400."""

from __future__ import annotations

from salience.errors import UserError


class Unknown(UserError):  # noqa: N818 - says what is wrong
    """The requested row, item, column or run does not exist."""

    status = 404


class NotYet(UserError):  # noqa: N818
    """A prerequisite is missing: labels, the result of a job, or the run that made the store."""

    status = 409


def status_of(problem: UserError) -> int:
    return getattr(problem, "status", 400)
