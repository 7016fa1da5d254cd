"""Makes what version 0.1 leaves behind: python -m tests.version_0_1.make WHAT. Run it with that version, no later one.

weights.json      of each method, a hash of its weights after 21 steps, for each kind of machine it was run on
                  (vae, crvae, dfcvae: since their draw and divergence take their gradients by autograd; rbm, dbn,
                  dbm: since they take torch's softplus; both round otherwise)
finished/         the run of a small VAE on pictures/, and its store pictures.lance with labels somebody gave
unfinished/       a SimCLR that was stopped by Ctrl-C in its ninth step of twelve
went-on/          the weights that it came to when version 0.1 resumed it
table/            the run of a PCA on measurements.csv, which has numbers, categories and missing cells
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from salience import catalogue
from salience.batch import Progress
from salience.methods import ClosedForm, Method
from salience.training import Interrupted, fit, resume
from tests import contract

HERE = Path(__file__).parent
STEPS = {"epochs": 7, "batch_size": 32}  # 21 steps of the 96 items


def kind_of_machine() -> str:
    """What the same seed needs to give the same weights: one processor family and one version of torch."""
    capability = torch.backends.cpu.get_cpu_capability()
    bf16 = "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "no bf16"
    model = next((line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model\t")), "?")
    return f"{platform.machine()} model {model}, {capability}, {bf16}, torch {torch.__version__.split('+')[0]}"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def hash_of_weights(name: str) -> str:
    """Of a method after 21 steps on the contract's images, with seed 0 and one thread."""
    torch.set_num_threads(1)
    settings = STEPS if catalogue.find(name).kind != "ClosedForm" else {}
    with tempfile.TemporaryDirectory() as folder:
        data = contract.dataset_for(name)
        method = fit(name, data, out=Path(folder) / "run", progress=False, **settings).method
    assert isinstance(method, torch.nn.Module | ClosedForm)
    digest = hashlib.sha256()
    for key, tensor in sorted(method.state_dict().items()):
        digest.update(key.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def write_weights() -> None:
    path = HERE / "weights.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[kind_of_machine()] = {name: hash_of_weights(name) for name in catalogue.names()}
    path.write_text(json.dumps(known, indent=1) + "\n")


def write_pictures() -> None:
    for row, (pixels, label) in enumerate(
        zip(contract.structured_images().stored, contract.structured_labels(), strict=True)
    ):
        folder = HERE / "pictures" / f"stripes-{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(pixels)[0]).save(folder / f"{row:02}.png")


def write_table() -> None:
    draw = np.random.default_rng(0)
    lines = ["length,width,colour,species"]
    for row in range(60):
        length = "" if row % 11 == 3 else f"{draw.normal(5, 1):.2f}"
        lines.append(f"{length},{draw.normal(row % 3, 0.3):.3f},{('red', 'blue')[row % 2]},{'abc'[row % 3]}")
    (HERE / "measurements.csv").write_text("\n".join(lines) + "\n")


def stop_at_step(step: int) -> None:
    """Ctrl-C in that step of the next training."""
    whole = Method.after_step

    def stopping(method: Method, at: Progress) -> None:
        whole(method, at)
        if at.step == step:
            Method.after_step = whole  # type: ignore[method-assign]
            os.kill(os.getpid(), signal.SIGINT)

    Method.after_step = stopping  # type: ignore[method-assign]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.version_0_1.make", description="Make what version 0.1 left.")
    made = ("weights", "runs")
    parser.add_argument(
        "what", choices=made, help="weights: add this machine to weights.json; runs: make the rest anew"
    )
    if parser.parse_args(argv).what == "weights":
        write_weights()
    else:
        make_runs()


def make_runs() -> None:
    """Replace pictures, tables, runs and stores."""
    from salience import embed_to
    from salience.store import open_store

    os.chdir(HERE)  # so that the store names its run relative to itself
    for made in ("pictures", "finished", "unfinished", "went-on", "table", "pictures.lance"):
        shutil.rmtree(made, ignore_errors=True)
    write_pictures()
    write_table()
    small = {"encoder": "linear", "batch_size": 32, "progress": False}
    fit("vae", "pictures", out=Path("finished"), epochs=4, dim=4, **small)
    embed_to(Path("finished"), "pictures", "pictures.lance", progress=False)
    store = open_store("pictures.lance")
    store.marks.mark(store.column("id", [0, 1]), "mine")
    stop_at_step(8)
    with suppress(Interrupted):
        fit("simclr", "pictures", out=Path("unfinished"), epochs=4, dim=4, **small)
    shutil.copytree(Path("unfinished"), Path("went-on"))
    resume(Path("went-on"), "pictures", progress=False)
    for path in Path("went-on").rglob("*"):
        if path.is_file() and path.name != "model.safetensors":
            path.unlink()
    fit("pca", "measurements.csv", out=Path("table"), labels="species", dim=2, progress=False)
    for config in Path().glob("*/config.yaml"):
        config.write_text(config.read_text().replace(f"{Path().resolve()}/", ""))


if __name__ == "__main__":
    main()
