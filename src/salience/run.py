"""A run folder: everything a fit was told, decided and learnt. Copy it and it works elsewhere.

    config.yaml  metrics.csv  model.safetensors  checkpoints/last.ckpt  cost.json  bad_items.csv
    health.json  report.json  report.html  figures/

A kind of data may keep large parts of its spec in JSON files of their own: the tokenizer of texts in vocabulary.json.
It appears by rename with a complete config.yaml, so every folder resumes, even one killed before its first checkpoint.
It is finished when model.safetensors is there. Reading it executes nothing from it. While it trains, the process that
writes to it holds the lock .training.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from salience.config import FORMAT, Config
from salience.errors import UserError
from salience.files import new_folder, write_text
from salience.locks import Held, hold
from salience.run_records import RECORDS
from salience.spec_files import put_back, take_out
from salience.untrusted import Damaged, read_json, read_yaml

FILES = ("config.yaml", "metrics.csv", "model.safetensors", "checkpoints/last.ckpt", "cost.json", "health.json")
NEEDED = ("method", "options", "spec", "source", "seed", "rows")
HEADER = "# The configuration of this run. To reuse it: salience fit --config FILE\n"


class Run:
    """An existing run folder. Raises UserError where `path` is none, or one of a newer version.

    config: what config.yaml holds
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        if not self.path.is_dir():
            what = "is a file" if self.path.exists() else "does not exist"
            raise UserError(f"run: {self.path} {what}; give the folder that a fit wrote (runs/METHOD-SOURCE-N)")
        require_plain_files(self.path)
        self.config = read_config(self.path / "config.yaml")
        self._held: Held | None = None

    @classmethod
    def create(cls, path: Path | str, config: Config, texts: Mapping[str, str]) -> Run:
        """Makes the folder with config.yaml and the given files, at once. Raises UserError where `path` exists."""
        path = Path(path)
        with new_folder(path, check=refuse_existing) as temporary:
            spec, large = take_out(config.data.spec)
            for name, text in {**texts, **large, "config.yaml": dump_config(config.but(spec=spec))}.items():
                write_text(temporary / name, text)
        return cls(path)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """While it lasts, no other process can hold this run. Raises UserError where one does."""
        refusal = f"run: another process trains {self.path}; wait until it ends or stop it, then give the command again"
        with hold(self.path / ".training", refusal) as self._held:
            try:
                yield
            finally:
                self._held = None

    def require_held(self) -> None:
        """Raises UserError where this process held the folder and it was removed or replaced since."""
        if self._held is not None and not self._held.intact:
            raise UserError(f"run: {self.path} was removed or replaced during the training; fit again")

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def finished(self) -> bool:
        return self.weights.is_file()

    @property
    def cost(self) -> dict[str, Any]:
        """FLOPs, seconds, peak memory; empty before the fit has ended."""
        return self._told("cost.json") or {}

    def _told(self, name: str) -> dict[str, Any] | None:
        """What that file holds; None where there is none."""
        path = self.path / name
        if not path.exists():
            return None
        try:
            found = read_json(path)
            RECORDS[name](found)
        except Damaged as problem:
            raise UserError(f"run: {path} is damaged ({problem}); delete it, no other command needs it") from None
        return dict(found)

    @property
    def health(self) -> dict[str, Any] | None:
        """What was seen of its training; None where nothing was, as of a closed form."""
        return self._told("health.json")

    @property
    def step(self) -> int:
        """The step its last checkpoint was taken at; 0 before the first."""
        return int(self.read_checkpoint()["global_step"]) if self.checkpoint.exists() else 0

    def read_checkpoint(self) -> dict[str, Any]:
        """Tensors, numbers and strings only. Raises UserError for anything else, and for a damaged file."""
        import torch

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch has to say of a file it refuses is in our message
                checkpoint = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            return {key: checkpoint[key] for key in ("global_step", "state_dict")}
        except Exception as error:  # torch raises whatever the damage provokes
            reason = type(error).__name__
            raise UserError(
                f"run: {self.checkpoint} is damaged or not a checkpoint ({reason}); delete it to start from step 0"
            ) from None

    def write_json(self, name: str, content: Any) -> None:
        write_text(self.path / name, json.dumps(content, indent=2) + "\n")


def refuse_existing(path: Path) -> None:
    if path.exists():
        of_a_run = f", or resume it with: salience fit --resume {path}" if (path / "config.yaml").exists() else ""
        raise UserError(f"out: {path} exists; name another folder{of_a_run}")


def next_free(folder: Path, stem: str) -> Path:
    """runs/STEM-N with the smallest N above all there are."""
    ends = [entry.name.removeprefix(f"{stem}-") for entry in folder.glob(f"{stem}-*")]
    taken = [int(end) for end in ends if end.isascii() and end.isdecimal()]
    return folder / f"{stem}-{max(taken, default=0) + 1}"


def dump_config(config: Config) -> str:
    return HEADER + yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True, default_flow_style=None)


def require_plain_files(folder: Path) -> None:
    """Raises UserError where a file of a run is something else: a pipe would be waited for without end."""
    for name in FILES:
        try:
            odd = (folder / name).exists() and not (folder / name).is_file()
        except OSError as problem:
            raise UserError(f"run: {folder} cannot be read ({problem.strerror})") from None
        if odd:
            raise UserError(f"run: {folder / name} is not a plain file; remove it, or restore the run")


def read_config(path: Path) -> Config:
    """A run's config.yaml. Raises UserError where it is missing, damaged, or of a newer version."""
    if not path.is_file():
        raise UserError(f"run: {path.parent} is not a run: it has no config.yaml")
    try:
        config = read_yaml(path)
    except Damaged as problem:
        raise UserError(f"run: {path} is damaged ({problem}); restore it or fit again") from None
    if not isinstance(config, dict) or any(key not in config for key in NEEDED):
        raise UserError(f"run: {path} is not the config of a run, or damaged; it requires {', '.join(NEEDED)}")
    try:
        found = Config.from_dict({"format": 0, **config})
        if found.format <= FORMAT:
            found = found.but(spec=put_back(found.data.spec, path.parent))
    except Damaged as problem:
        raise UserError(f"run: {path} is damaged ({problem}); restore it or fit again") from None
    if found.format > FORMAT:
        raise UserError(f"run: {path} has format {found.format}, this version reads up to {FORMAT}; upgrade salience")
    return found
