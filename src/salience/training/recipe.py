"""Resolves what the user did not say from the data, the machine and the time there is, with its reasons."""

from __future__ import annotations

from dataclasses import dataclass, field

from salience import processors
from salience.errors import UserError
from salience.modalities import Spec
from salience.training import machine
from salience.units import are, counted

IMAGES_SEEN = 500_000  # by default, within the limits on epochs
EPOCHS = (10, 200)
BATCH = 256
TINY = 2e9  # operations a step, below which threads, bf16 and compilation cost more than they bring,
TINY_LAYER = 1.2e8  # unless they are in a few large products: so many in each layer pay for threads and bf16
# Seconds of training. A processor gains at most a tenth of a transformer's step, and compiles up to a minute first.
COMPILE_PAYS = {"cpu": 600.0, "cuda": 120.0}
NOMINAL = {"fp32": 8e10, "bf16": 2e11}  # operations per second and core of a current server processor, for the ETA


@dataclass
class Choices:
    """Named decisions and why each was made."""

    values: dict[str, object] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def decide(self, name: str, value: object, reason: str) -> None:
        self.values[name] = value
        self.reasons[name] = reason

    def lines(self) -> list[str]:
        """ "batch_size     256        <reason>", one line a choice."""
        return [f"  {name:<14} {self.values[name]!s:<12} {reason}" for name, reason in self.reasons.items()]


def choose_batch(choices: Choices, *, rows: int, world: int, given: int | None) -> int:
    """Rows a step on each process."""
    most = rows // world
    if given is not None:
        if given < 2:
            raise UserError(f"batch_size: {given} is too small for batch statistics; give at least 2")
        if given > most:
            each = f"{most} for each of {world} processes" if world > 1 else counted(rows, "row")
            raise UserError(f"batch_size: {given} is more than the data has ({each}); give at most {most}")
        choices.decide("batch_size", given, "as given")
        return given
    # At least eight steps an epoch: a handful of huge steps learns little.
    batch = max(2, min(BATCH, most, max(32, rows // 8)))
    if most < 2:
        few = f"{counted(rows, 'row')} {are(rows)} too few"
        raise UserError(f"source: {few} to train on in batches; give at least {2 * world}")
    choices.decide("batch_size", batch, "the default" if batch == BATCH else f"fits {rows} rows")
    return batch


def choose_epochs(choices: Choices, *, rows: int, given: int | None) -> int:
    low, high = EPOCHS
    if given is not None:
        choices.decide("epochs", given, "as given")
        return given
    epochs = max(low, min(high, round(IMAGES_SEEN / rows)))
    choices.decide("epochs", epochs, f"about {IMAGES_SEEN:,} items seen, within {low} to {high} epochs")
    return epochs


def choose_learning_rate(
    choices: Choices, *, batch: int, encoder: str, given: float | None, usual: float | None = None
) -> float:
    """usual: of the method at the default batch, where it does not go by the encoder"""
    if given is not None:
        choices.decide("learning_rate", given, "as given")
        return given
    base = usual or (5e-4 if "vit" in encoder.partition(":")[0] else 2e-3)
    rate = round(base * (batch / BATCH) ** 0.5, 6)
    choices.decide("learning_rate", rate, f"{base:g} at batch {BATCH}, with the square root of the batch size")
    return rate


def is_tiny(flops: int, layers: int) -> bool:
    """Whether a step's operations are too few for threads and bf16.  layers: how many have weights"""
    return flops < TINY and flops < TINY_LAYER * layers


def choose_arithmetic(choices: Choices, *, tiny: bool, accelerator: str, given: str) -> str:
    """A Lightning precision."""
    fast, tiny = machine.fast_bf16(accelerator), tiny and accelerator == "cpu"
    if given != "auto":
        choices.decide("precision", given, "as given")
    elif fast and not tiny:
        choices.decide("precision", "bf16-mixed", "the processor is faster in bf16")
    else:
        device = "bf16 is not used on Apple's GPUs" if accelerator == "mps" else "the processor is no faster in bf16"
        why = "the net is tiny" if tiny else device
        choices.decide("precision", "32-true", why)
    return str(choices.values["precision"])


def choose_compilation(
    choices: Choices, *, seconds: float, flops: int, accelerator: str, convolves: bool, given: bool | None
) -> bool:
    """Whether networks go through torch.compile.

    seconds: what the training is expected to take without;  convolves: the encoder has several convolutions
    """
    if given is False:
        choices.decide("compile", False, "as given")
    elif accelerator == "cpu" and not machine.has_compiler():
        choices.decide("compile", False, "no C++ compiler found (g++ or clang++): everything runs uncompiled")
    elif given:
        choices.decide("compile", True, "as given")
    elif accelerator == "mps" or (flops < TINY and accelerator == "cpu"):
        choices.decide("compile", False, "the net is tiny" if accelerator == "cpu" else "not on this device")
    elif convolves and accelerator == "cpu":  # measured: as fast or slower, and the warm-up comes on top
        choices.decide("compile", False, "convolutions on a processor gain nothing")
    else:
        pays = seconds > COMPILE_PAYS[accelerator]
        choices.decide("compile", pays, f"about {seconds:.0f} s of training {'pay' if pays else 'do not pay'} for it")
    return bool(choices.values["compile"])


def choose_threads(choices: Choices, *, tiny: bool, share: int, given: int | None) -> int:
    """Threads of each process; `share` processes have the cores between them."""
    free = processors.free_cores()
    threads = given or (1 if tiny else max(1, free.cores // share))
    reason = "as given" if given else "the net is tiny" if tiny else str(free)
    choices.decide("threads", threads, reason)
    return threads


def expected_seconds(flops: float, steps: int, *, precision: str, world: int = 1) -> float:
    """A rough forecast from nominal speed; the progress bar measures."""
    rate = NOMINAL["bf16" if precision.startswith("bf16") else "fp32"] * processors.cores() / world
    return flops * steps / rate + 0.003 * steps


def describe_data(spec: Spec, rows: int) -> str:
    shape = f" of {'×'.join(map(str, spec.shape))}" if spec.shape else ""
    return f"{rows:,} {spec.modality.plural}{shape}"
