"""The configuration of a run: the options of `fit`, and what `fit` found or decided.

Each option is declared once, as a field below: its name, type, default, bounds and help. The command line of `fit`, the
checks of the Python function `fit`, the checks of config.yaml and the reference documentation are made from the fields.

    Config            one run; config.yaml holds it with flat names
      .data           DataConfig: the source, and what was found in it
      .model          ModelConfig: the method, its hyper-parameters and its networks
      .training       TrainingConfig as asked for, None where `fit` decides; TrainingPlan when all is decided
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, TypeVar

from salience.catalogue import Entry
from salience.errors import UserError
from salience.option import AUTO, Option
from salience.reading import Reading
from salience.run_records import (
    COUNT,
    LONGEST_NAME,
    LONGEST_TEXT,
    MAPPING,
    MOST,
    NAME,
    SWITCH,
    TEXT,
    TEXTS,
    Kind,
    number,
    one_of,
    optional,
    whole,
)
from salience.source_names import with_split
from salience.units import MAX_RESOLUTION, SEEDS
from salience.untrusted import Damaged, shown

FORMAT = 1
PRECISIONS = (AUTO, "32-true", "bf16-mixed", "16-mixed")
LOGGERS = ("tensorboard", "wandb", "mlflow")
WEIGHT_DECAY = 1e-4
EXCLUSIVE = ("epochs", "budget")
T = TypeVar("T")


def option(
    type_: str,
    default: Any,
    meaning: str,
    *,
    kind: Kind,
    gradient: bool = False,
    choices: Iterable[Any] = (),
    **bounds: float,
) -> Any:
    """A field that is an option of `fit`.

    kind: what config.yaml may hold for it;  gradient: only methods trained by gradient have it
    """
    declared = {"type": type_, "default": default, "meaning": meaning, "choices": tuple(choices), **bounds}
    return field(default=default, metadata={"option": declared, "kind": kind, "gradient": gradient})


def record(kind: Kind, default: Any = MISSING) -> Any:
    """A field that `fit` finds out or decides.  kind: what config.yaml may hold for it"""
    if default is MISSING:
        return field(metadata={"kind": kind})
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The source of a run and how it was read.

    sources: name -> source, where several are joined; `source` is then the first of them
    spec: what its items are, as plain values;  reading: how the source was read
    """

    source: str | None = record(optional(TEXT))
    sources: Mapping[str, Any] | None = record(optional(MAPPING), None)
    split: str | None = record(optional(TEXT), None)
    fingerprint: str = record(TEXT, "")
    rows: int = record(COUNT)
    classes: tuple[str, ...] = record(TEXTS, ())
    resolution: int | None = option(
        "int", None, "Height and width of the images, in pixels.", kind=optional(COUNT), ge=1, le=MAX_RESOLUTION
    )
    labels: str | None = option(
        "any", None, "Column of labels, in a table; for a folder a CSV file with the columns item,label.",
        kind=optional(TEXT),
    )  # fmt: skip
    without: str | None = option(
        "name", None, "Class to leave out of the training, for `anomalies --held-out`.", kind=optional(TEXT)
    )
    reading: Reading = field(default_factory=Reading, metadata={"kind": MAPPING})
    spec: Mapping[str, Any] = record(MAPPING)

    def require_source(self) -> str | dict[str, Any]:
        """The source as it is typed, or several by name. Raises UserError for data in memory."""
        if self.source is None:
            raise UserError(
                "source: none was given, and the run was fitted to data in memory; give the data as a file, a folder "
                "or a built-in name"
            )
        return dict(self.sources) if self.sources else with_split(self.source, self.split)

    @property
    def where(self) -> str | dict[str, Any] | None:
        """What to open: the source, or several by name; None for data in memory."""
        return self.source if self.sources is None else dict(self.sources)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The method of a run.

    options: its hyper-parameters;  withheld: abilities that these take away
    code: method, encoder, views -> where it comes from, if it is not ours
    """

    method: str = record(NAME)
    options: Mapping[str, Any] = record(MAPPING)
    withheld: tuple[str, ...] = record(TEXTS, ())
    code: Mapping[str, Any] = field(default_factory=dict, metadata={"kind": MAPPING})
    encoder: str | None = option(
        "str", None,
        "convnet, mlp, linear, or a timm model, with weights as NAME:pretrained or NAME:FILE.safetensors; "
        "FILE.py:NAME for your own module.",
        kind=optional(TEXT), gradient=True,
    )  # fmt: skip
    views: str | None = option(
        "str", None,
        "natural, grey, crops (each also with -noflip or -turns), glyphs, medical, table, identity; FILE.py:NAME for "
        "a function of your own.",
        kind=optional(TEXT), gradient=True,
    )  # fmt: skip
    use_labels: bool = option("bool", False, "Give the labels to the method, if it can use them.", kind=SWITCH)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The training as it was asked for. None is for `fit` to decide."""

    seed: int = option("int", 0, "Random seed. Equal seeds give equal weights.", kind=whole(0), ge=0, le=SEEDS - 1)
    epochs: float | None = option(
        "int", None, "Number of passes over the data.", kind=optional(number(0)), gradient=True, ge=1
    )
    budget: str | float | None = option(
        "duration", None, "Time limit, such as 90s, 10min or 2h. It replaces --epochs.",
        kind=optional(one_of(TEXT, number(0))), gradient=True,
    )  # fmt: skip
    batch_size: int | None = option("int", None, "Number of items in one step.", kind=COUNT, gradient=True, ge=1)
    learning_rate: float | None = option("float", None, "Peak learning rate.", kind=number(0), gradient=True, gt=0)
    init: str | None = option(
        "path", None, "A run whose encoder initialises this one.", kind=optional(TEXT), gradient=True
    )
    checkpoint_every: str | float = option(
        "duration",
        "2min",
        "Interval between checkpoints, such as 30s or 2min.",
        kind=one_of(TEXT, number(0)),
        gradient=True,
    )
    stop_when_collapsed: bool = option(
        "bool", False, "Stop when the representation has collapsed. Default: only warn.", kind=SWITCH, gradient=True
    )
    devices: int = option("int", 1, "Number of processes.", kind=COUNT, gradient=True, ge=1)
    logger: str | None = option(
        "str",
        None,
        "A Lightning logger, in addition to metrics.csv.",
        kind=optional(TEXT),
        gradient=True,
        choices=LOGGERS,
    )
    precision: str = option("str", AUTO, "Precision of the networks.", kind=TEXT, gradient=True, choices=PRECISIONS)
    compile: bool | None = option(
        "bool", None, "Compile the networks. Default: if the run is long enough to benefit.", kind=SWITCH,
        gradient=True,
    )  # fmt: skip
    threads: int | None = option(
        "int", None, "Processor threads. Default: the cores that other programs leave free.", kind=optional(COUNT),
        ge=1,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainingPlan(TrainingConfig):
    """The training with every number decided.

    flops_per_step: on one device;  probes: looks at its health, None for the usual number
    """

    batch_size: int = record(COUNT)
    learning_rate: float = record(number(0))
    precision: str = record(TEXT)
    compile: bool = record(SWITCH, False)
    steps: int = record(COUNT)
    steps_per_epoch: int = record(whole(0))
    weight_decay: float = record(number(0), WEIGHT_DECAY)
    flops_per_step: float = record(number(0), 0)
    probes: int | None = record(optional(COUNT), None)

    @property
    def items_per_step(self) -> int:
        """On all devices."""
        return self.batch_size * self.devices


@dataclass(frozen=True, kw_only=True)
class Config:
    """The configuration of one run, what its config.yaml holds.

    salience: the version that made the run;  format: of the run folder;  more: names of another version, kept
    """

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    salience: str = ""
    format: int = FORMAT
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plan(self) -> TrainingPlan:
        """The training, where it was decided. Raises UserError for a run without one, as of a closed form."""
        if not isinstance(self.training, TrainingPlan):
            raise UserError(
                f"run: expected a run trained by gradient, got one of {self.model.method}; give another run"
            )
        return self.training

    @property
    def is_planned(self) -> bool:
        """Whether the training is decided, as it is of every method that is trained by gradient."""
        return isinstance(self.training, TrainingPlan)

    def but(self, **changes: Any) -> Config:
        """The same with other values, by their flat names: `config.but(seed=1, views=None)`."""
        parts = {part: getattr(self, part) for part in ("data", "model", "training")}
        for part, value in parts.items():
            named = {name: changes.pop(name) for name in _names(type(value)) if name in changes}
            parts[part] = replace(value, **named)
        return replace(self, **parts, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by flat names, for config.yaml. A training that is not decided leaves its numbers out."""
        model, data = _plain(self.model), _plain(self.data)
        training = _plain(self.training)
        if not self.is_planned:
            training = {name: training[name] for name in ("seed", "stop_when_collapsed")}
        head = {"format": self.format, "salience": self.salience, "method": model.pop("method")}
        spec = {"spec": data.pop("spec")}
        return head | data | model | training | spec | dict(self.more)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """What a config.yaml holds. Raises Damaged for a value that cannot be, UserError for such a reading."""
        check_config(values)
        planned = "steps" in values
        parts: dict[str, Any] = {
            "data": _part(DataConfig, {**values, "reading": Reading.of(values)}),
            "model": _part(ModelConfig, values),
            "training": _part(TrainingPlan if planned else TrainingConfig, values),
        }
        parts |= {name: values[name] for name in ("salience", "format") if name in values}
        return cls(**parts, more={name: value for name, value in values.items() if name not in KINDS})


def _names(part: type[Any]) -> list[str]:
    return [one.name for one in fields(part)]


def _plain(part: Any) -> dict[str, Any]:
    """The fields of a part as YAML holds them; what the run does not have is left out."""
    values = {name: getattr(part, name) for name in _names(type(part))}
    values = {name: value for name, value in values.items() if name not in LEFT_OUT or value not in (None, (), {})}
    return {name: _as_yaml(value) for name, value in values.items()}


def _as_yaml(value: Any) -> Any:
    if isinstance(value, Reading):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def _part(part: type[T], values: Mapping[str, Any]) -> T:
    """One part of the configuration. Raises Damaged where a name without a default is missing."""
    given = {}
    for one in fields(part):  # type: ignore[arg-type]  # each part is a dataclass
        if one.name in values:
            value = values[one.name]
            given[one.name] = tuple(value) if isinstance(value, list) else value
        elif one.default is MISSING and one.default_factory is MISSING:
            raise Damaged(f"{one.name}: expected {one.metadata['kind'].expected}, got nothing")
    return part(**given)


LEFT_OUT = ("withheld", "probes", "sources", "code")  # of config.yaml, where the run has none
PARTS = (DataConfig, ModelConfig, TrainingConfig, TrainingPlan)
KINDS: Mapping[str, Kind] = {
    "format": whole(0),
    "salience": TEXT,
    **{one.name: one.metadata["kind"] for part in PARTS for one in fields(part)},
}
"""What each name in config.yaml may hold."""


def check_config(config: Mapping[Any, Any]) -> None:
    """Raises Damaged for the first value of a known name that is not what it must be. Unknown names are let be."""
    for name, kind in KINDS.items():
        if name in config and not kind.fits(config[name]):
            raise Damaged(f"{name}: expected {kind.expected}, got {shown(config[name])}")


def check_given(config: Mapping[Any, Any]) -> None:
    """The same of a file that may leave out what `fit` decides: the options of `fit` check their values themselves."""
    for name, kind in (("method", NAME), ("source", KINDS["source"]), ("options", optional(MAPPING))):
        if name in config and not kind.fits(config[name]):
            raise Damaged(f"{name}: expected {kind.expected}, got {shown(config[name])}")
    for name, value in [*config.items(), *(config.get("options") or {}).items()]:
        if not NAME.fits(name):
            raise Damaged(f"expected names of 1 to {LONGEST_NAME} characters, got {shown(name)}")
        whole_number = isinstance(value, int) and not isinstance(value, bool)
        if (isinstance(value, str) and len(value) > LONGEST_TEXT) or (whole_number and abs(value) > MOST):
            raise Damaged(f"{name}: {shown(value)} is too long")


# --- the options of fit ------------------------------------------------------------------------------------------


def _option(one: Field[Any]) -> Option:
    declared = dict(one.metadata["option"])
    return Option(one.name, declared.pop("type"), **declared, optional=one.default is None)


_DECLARED = [
    one for part in (DataConfig, ModelConfig, TrainingConfig) for one in fields(part) if "option" in one.metadata
]
OUT = Option("out", "path", None, "New folder for the run. Default: runs/METHOD-SOURCE-N.", optional=True)
CONFIG_FILE = Option(
    "config", "path", None, "The config.yaml of a run. Options that are not given are taken from it.", optional=True
)
BY_GRADIENT = tuple(_option(one) for one in _DECLARED if one.metadata["gradient"])
ANY_KIND = (OUT, *(_option(one) for one in _DECLARED if not one.metadata["gradient"]))
OPTIONS: Mapping[str, Option] = {one.name: one for one in (*BY_GRADIENT, *ANY_KIND)}
"""Every option of the function `fit` that is not a hyper-parameter. The command line adds `--config`."""


def fit_options(entry: Entry) -> tuple[Option, ...]:
    """What `fit` takes for a method of this kind, without its hyper-parameters."""
    if entry.kind != "ClosedForm":
        return BY_GRADIENT + ANY_KIND
    return (*(one for one in BY_GRADIENT if one.name in entry.takes), *ANY_KIND)


def check_options(entry: Entry, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of `fit` as a plain value, with its default where it was not given.

    Errors: UserError for a value that cannot be, for two that exclude each other, and for an option that this method
        does not have.
    """
    checked = {}
    for name, known in OPTIONS.items():
        value = given.get(name, known.default)
        try:
            checked[name] = known.default if value is None else known.check(value)
        except ValueError as problem:
            raise UserError(f"{name}: {problem}") from None
    has = {one.name for one in fit_options(entry)}
    lacks = [name for name, known in OPTIONS.items() if name not in has and checked[name] != known.default]
    if lacks:
        raise UserError(f"{lacks[0]}: {entry.name} has a closed form and no such option")
    if all(checked[name] is not None for name in EXCLUSIVE):
        raise UserError("epochs, budget: expected only one of them; give the number of passes or the time limit")
    return checked


def asked(part: type[T], checked: Mapping[str, Any], **known: Any) -> T:
    """A part of the configuration from checked options and from what else is known."""
    names = _names(part)
    return part(**{name: checked[name] for name in names if name in checked} | known)
