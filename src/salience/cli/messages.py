"""What cyclopts has to object, in our words: the argument, what came, the remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cyclopts import App, CycloptsError
from cyclopts.exceptions import (
    CoercionError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from salience import catalogue
from salience.config import BY_GRADIENT

GRADIENT_ONLY = {f"--{option.name.replace('_', '-')}" for option in BY_GRADIENT}

EVERYWHERE = {"method": "METHOD", "source": "SOURCE", "run": "RUN"}  # typed in the same way after every verb


def typed(message: str, names: Mapping[str, str]) -> str:
    """The message with the arguments it begins with as they are typed: "epochs, batch_size: " to "--epochs, ...".

    names: what is typed for each argument;  a word that is none stays as it is
    """
    match = re.match(r"\w+(?:, \w+)*(?=: )", message)
    if match is None:
        return message
    shown = [(EVERYWHERE | dict(names)).get(name, name) for name in match[0].split(", ")]
    return ", ".join(shown) + message[match.end() :]


def names_typed(app: App, argv: Sequence[str]) -> dict[str, str]:
    """Each argument of the command that `argv` chooses, and what is typed for it: batch_size and --batch-size."""
    _, apps, _ = app.parse_commands(argv)
    return {argument.field_info.name: argument.name for argument in apps[-1].assemble_argument_collection()}


def plain(problem: CycloptsError, argv: Sequence[str]) -> str:
    """One line; `argv` is the whole command, for the pointer to its help."""
    topic = topic_of(argv)
    problem.verbose = False
    return f"{_said(problem, topic)}; see: {' '.join(['salience', *topic, '--help'])}"


def topic_of(argv: Sequence[str]) -> list[str]:
    """The words that choose the command: ["fit", "simclr"], ["data"]."""
    return [word for word in argv[: 2 if argv[0] == "fit" else 1] if not word.startswith("-")]


def _said(problem: CycloptsError, topic: Sequence[str]) -> str:
    match problem:
        case UnknownOptionError():
            return _unknown_option(problem, topic)
        case MissingArgumentError(argument=argument) if argument is not None:
            name = problem.keyword or argument.name
            return f"{name}: a value is missing" if name.startswith("-") else f"{name}: none given"
        case CoercionError(msg=str(), token=token) if token is not None and token.keyword:
            return f"{token.keyword}: {problem.msg}"
        case RepeatArgumentError():
            return f"{problem.token.keyword}: given more than once"
        case UnusedCliTokensError():
            return f"'{' '.join(problem.unused_tokens or ())}': more words than {' '.join(topic)} takes"
    return str(problem).rstrip(".")


def _unknown_option(problem: UnknownOptionError, topic: Sequence[str]) -> str:
    name = problem.token.keyword or problem.token.value
    if topic == ["fit"]:
        return f"{name}: fit --resume RUN takes no other option, the run stores them; leave it out, or fit a new run"
    if name in GRADIENT_ONLY and topic[:1] == ["fit"]:
        return f"{name}: {topic[-1]} has a closed form and no training steps; leave this option out"
    known = [name for argument in problem.argument_collection for name in argument.names]
    return f"{name}: {' '.join(topic)} has no such option{catalogue.nearest(name, known)}"
