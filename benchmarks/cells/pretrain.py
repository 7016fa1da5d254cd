"""Run one cell of the leaderboard or of the doctor's benchmark: train once, evaluate, print the results as JSON.

    .venv/bin/python -m benchmarks.cells.pretrain simclr cifar10 --data FOLDER --run RUN --learning-rate 2e-3
    .venv/bin/python -m benchmarks.cells.pretrain simsiam cifar10 --data FOLDER --run RUN --sabotage no-stop-gradient

`final` trains on 50,000 rows (or all, if there are fewer) and evaluates on the test rows. `trial` trains on half of
them and evaluates kNN on 5,000 rows of the other half, so that no selection uses test rows. --images sets the number of
images seen. Methods train without labels, except those that require labels and `supervised`. Seconds are processor
time, so other programs on the machine do not count.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

import salience
from benchmarks.harness.report import SUMMARY, emit, versions
from benchmarks.harness.sabotage import SABOTAGES
from benchmarks.harness.sources import NAMES, open_split
from salience.batch import Batch, Progress
from salience.config import Config, DataConfig, ModelConfig, TrainingConfig
from salience.data import Dataset
from salience.evaluation.baselines import principal_components
from salience.evaluation.latent import active_units, bound, mutual_information, posteriors
from salience.evaluation.measure import Task, measure
from salience.health.record import Diverged
from salience.measures.knn import knn_scores
from salience.measures.raw_features import around_mean, raw_features
from salience.methods import method_class
from salience.methods.contract import Context, Method
from salience.methods.generative.vae import drawn
from salience.methods.lightning import LightningMethod, Plan
from salience.training.engine import quiet
from salience.training.flops import step_flops
from salience.training.machine import fast_bf16

ROWS, BANK, VALIDATION = 50_000, 15_000, 5_000
RATED = 1_000  # items whose likelihood is bounded: fifty draws each
DRAWN = 10_000  # labelled items whose codes are drawn, for others to be compared with
BASELINES = ("raw", "pca", "untrained")


class Supervised(Method):
    """The ceiling: the same encoder and views, trained on all labels."""

    modalities = ("image",)

    def __init__(self, encoder: Any, views: Any, classes: int):
        super().__init__(encoder)
        self.views = views
        self.classifier = nn.Linear(encoder.dim, classes)

    @classmethod
    def build(cls, context: Context, **options: Any) -> Supervised:
        return cls(context.make_encoder(), context.make_views({"global": 1}), **options)

    def loss(self, batch: Batch, at: Progress) -> dict[str, Tensor]:
        (view,) = self.views(batch, at)["global"]
        return {"loss": F.cross_entropy(self.classifier(self.encoder(view.x)), batch.label)}


def rows_of(args: argparse.Namespace) -> tuple[Dataset, Dataset, Dataset]:
    """To train on, for the evaluation, and the labelled rows that judge them."""
    whole = open_split(args.source, "train", args.data)
    order = np.random.default_rng(0).permutation(len(whole))[:ROWS]
    if args.kind == "final":
        train = whole.subset(order)
        return train, open_split(args.source, "test", args.data), train
    half = len(order) // 2
    train = whole.subset(order[:half])
    return train, whole.subset(order[half : half + VALIDATION]), train.subset(np.arange(min(half, BANK)))


def pretrained(args: argparse.Namespace, train: Dataset) -> Any:
    """-> the representation, or of one that is no method's a function from data to embeddings; None where training
    diverged"""
    epochs = max(1, round(args.images / len(train)))
    if args.method == "supervised":
        return supervised(args, train, epochs)
    options = {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in args.option)}
    if args.method not in ("pca", "kmeans"):
        encoder = method_class(args.method).default_encoder or "convnet"  # some are about dense layers
        options |= {"epochs": epochs, "learning_rate": args.learning_rate, "encoder": encoder, "views": args.views}
        options |= {"batch_size": min(args.batch_size, len(train) // 4)}
    with SABOTAGES[args.sabotage](args.method) if args.sabotage else contextlib.nullcontext():
        try:
            return salience.fit(args.method, train, out=args.run, seed=args.seed, progress=False, **options)
        except Diverged:
            return None


def supervised(args: argparse.Namespace, train: Dataset, epochs: int) -> Any:
    """Under a Trainer of our own, as a user would."""
    torch.manual_seed(args.seed)
    method = Supervised.build(Context(train.spec, len(train), "convnet", args.views), classes=len(train.classes))
    loader = train.loader(args.batch_size, args.seed)
    steps = epochs * len(loader)
    plan = Plan(steps, len(loader), args.learning_rate, seed=args.seed)
    with quiet():
        trainer = L.Trainer(
            max_steps=steps, max_epochs=-1, precision="bf16-mixed" if fast_bf16("cpu") else "32-true",
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        args.run.mkdir(parents=True, exist_ok=True)
        flops = steps * step_flops(method, train.batch(np.arange(args.batch_size)))
        (args.run / "cost.json").write_text(json.dumps({"flops": flops}))
        trainer.fit(LightningMethod(method, plan), loader)
    return salience.Representation(method.to("cpu"), config_of(train)).embed


def config_of(train: Dataset) -> Config:
    """Describe an encoder that `fit` did not train."""
    return Config(
        data=DataConfig(source=None, rows=len(train), spec=train.spec.to_dict()),
        model=ModelConfig(method="simclr", options={}, encoder="convnet"),
        training=TrainingConfig(),
    )


def untrained(args: argparse.Namespace, train: Dataset) -> Any:
    """The encoder every method here uses, with fresh weights and batch statistics of the data."""
    torch.manual_seed(args.seed)
    from salience.methods.contrastive.simclr import SimCLR

    context = Context(train.spec, len(train), "convnet")
    rep = salience.Representation(SimCLR.build(context), config_of(train)).untrained(train, args.seed)
    assert rep is not None
    return rep.embed


def embedder(args: argparse.Namespace, train: Dataset) -> Any:
    if args.method == "raw":
        return raw_features
    if args.method == "pca":
        project = principal_components(raw_features(train), 256)
        return lambda data: project(raw_features(data)).astype(np.float32)
    return untrained(args, train) if args.method == "untrained" else pretrained(args, train)


def knn(bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, truth: np.ndarray, classes: int) -> float:
    scores = knn_scores(torch.from_numpy(bank), torch.from_numpy(labels), torch.from_numpy(queries), classes)
    return float((scores.argmax(1).numpy() == truth).mean())


def measured(args: argparse.Namespace, found: Any, judged: Dataset, bank: Dataset) -> dict[str, Any]:
    embed = found.embed if isinstance(found, salience.Representation) else found
    known, unseen = embed(bank), embed(judged)
    classes = len(bank.classes)
    centred = args.method == "raw"
    if args.kind == "trial":
        if centred:
            known, unseen = (x.numpy() for x in around_mean(torch.from_numpy(known), torch.from_numpy(unseen)))
        return {"knn": knn(known, bank.labels, unseen, judged.labels, classes)}
    task = Task.of(bank.labels, judged.labels, classes, None)
    draws = {count: rows for count, rows in task.draws.items() if count in (1, 10)}
    chosen = Task(bank.labels, judged.labels, classes, task.validation, draws)
    measures = measure(known, unseen, chosen, print_no, centred=centred).measures
    return {
        "knn": measures["knn"]["accuracy"].to_dict(),
        "linear": measures["linear"]["accuracy"].to_dict(),
        "few_label": {count: few["accuracy"].to_dict() for count, few in measures["few_label"].items()},
        "effective_rank": measures["geometry"]["effective_rank"].to_dict(),
        **(rebuilt(found, judged, bank) if isinstance(found, salience.Representation) else {}),
    }


def rebuilt(rep: salience.Representation, judged: Dataset, bank: Dataset) -> dict[str, Any]:
    """How well codes stand for their items, where the method says: error, bound in nats, dimensions in use.

    Of clouds also what a draw tells, as their means tell items apart even where all clouds are nearly one.
    """
    told: dict[str, Any] = {}
    if "decodes" in rep.capabilities:
        told["mse"] = float(
            np.square(rep.reconstruct(judged) - rep.unit(judged.batch(np.arange(len(judged)))).numpy()).mean()
        )
    if hasattr(rep.method, "posterior"):
        few = judged.subset(np.arange(min(len(judged), RATED)))
        clouds = posteriors(rep.method, judged)
        told["active_units"] = active_units(clouds[0])
        told["mutual_information"] = float(mutual_information(*clouds))
        known = bank.subset(np.arange(min(len(bank), DRAWN)))
        codes = draw(posteriors(rep.method, known), 1), draw(clouds, 2)
        told["knn_drawn"] = knn(codes[0], known.labels, codes[1], judged.labels, len(bank.classes))
        if "rates" in rep.capabilities:
            told["bound"] = bound(rep.method, few).to_dict()
    return told


def draw(clouds: tuple[Tensor, Tensor], seed: int) -> np.ndarray:
    """One code of each item.  mean and log variance, [n d] each -> [n d]"""
    noise = torch.randn(clouds[0].shape, generator=torch.Generator().manual_seed(seed))
    return drawn(*clouds, noise).numpy()


def print_no(what: str) -> None:
    """The measures announce themselves; nobody watches here."""


def main() -> None:
    args = arguments()
    train, judged, bank = rows_of(args)
    began = time.process_time()
    embed = embedder(args, train)
    seconds = time.process_time() - began
    found = {} if embed is None else measured(args, embed, judged, bank)
    cost, health = ({}, None) if args.run is None else (read(args.run / "cost.json"), read(args.run / "health.json"))
    emit(
        SUMMARY,
        **found,
        diverged=embed is None,
        rows=len(train),
        flops=cost.get("flops"),
        seconds=None if args.method in BASELINES else round(seconds, 1),
        health=health,
        config=told(args.run),
        versions=versions("torch", "lightning", "numpy"),
    )


def told(run: Path | None) -> dict[str, Any]:
    """What the run was told that its health is judged by."""
    if run is None or not (run / "config.yaml").exists():
        return {}
    config = yaml.safe_load((run / "config.yaml").read_text())
    return {name: config.get(name) for name in ("options", "learning_rate", "steps", "precision")}


def read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else {}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", help=f"a method's name, supervised, {', '.join(BASELINES)}")
    parser.add_argument("source", choices=NAMES)
    parser.add_argument("--data", type=Path, help="folder with cifar10-train.parquet and cifar10-test.parquet")
    parser.add_argument("--kind", choices=("final", "trial"), default="final")
    parser.add_argument("--run", type=Path, help="run folder to make")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--views")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sabotage", choices=tuple(SABOTAGES), help="break the method on purpose")
    return parser.parse_args()


if __name__ == "__main__":
    main()
