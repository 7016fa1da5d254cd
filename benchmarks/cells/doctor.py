"""Measure the accuracy of the diagnosis on healthy and deliberately broken runs, labelled by their outcome.

    .venv/bin/python -m benchmarks.cells.doctor --data FOLDER   # make doctor-benchmark; run it again to resume
    .venv/bin/python -m benchmarks.cells.doctor --report        # diagnose the stored runs again, without training

A run has failed if it diverged, or if its kNN accuracy on held-out rows is at most that of the calibrated untrained
encoder or of raw pixels, whichever is higher. Whether the run was broken does not matter, because some changes do no
harm. The diagnosis uses only health.json and config.yaml, at the end and at a quarter of the budget, once with the
labels of the probe and once without. The limits were chosen on the runs of CHOSEN_ON on CIFAR-10; other methods and
other data are the test. Results: benchmarks/results/doctor.json, one cell per run, with its complete health record.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cells.leaderboard import REBUILDING
from benchmarks.harness.cell import script
from benchmarks.harness.folders import RESULTS, SCRATCH
from benchmarks.harness.machine import machine
from benchmarks.harness.pool import Job, run_all
from benchmarks.harness.stored import Stored
from salience.health.diagnosis import diagnose
from salience.measures.intervals import wilson

CHOSEN_ON = (
    "simclr",
    "simsiam",
    "byol",
    "vicreg",
    "dino",
)  # DINO: its outputs' signs were added with its runs in sight
METHODS = ("simclr", "simsiam", "byol", "vicreg", "barlowtwins", "moco", "swav", "dino", "supcon", "cmc")
OTHER_DATA = "fashion-mnist"
IMAGES = {"small-cifar10": 50_000, OTHER_DATA: 25_000, "cifar10": 25_000, "grey-cifar10": 50_000}
UNBROKEN = {"healthy": (), "healthy-64": ("--batch-size", "64")}  # more steps, in which more methods learn enough
SEEDS = {
    "small-cifar10": {"healthy": 2, "healthy-64": 2},
    OTHER_DATA: {"healthy": 1, "healthy-64": 1},
    "cifar10": {"healthy": 1, "healthy-64": 1},
    "grey-cifar10": {"healthy-64": 2},
}
BROKEN_ON = ("small-cifar10", OTHER_DATA, "cifar10")
GREY = (OTHER_DATA, "grey-cifar10")  # nothing for CMC, which holds luminance against colour
RUNS = SCRATCH / "runs" / "doctor"
Setting = tuple[str, str, tuple[str, ...]]  # method, what was done to it, arguments

BREAKS: tuple[Setting, ...] = (
    ("simsiam", "no-stop-gradient", ("--sabotage", "no-stop-gradient")),
    ("simsiam", "no-predictor", ("--sabotage", "no-predictor")),
    ("simsiam", "rate-x100", ("--learning-rate", "0.2")),
    ("simsiam", "destroying-views", ("--sabotage", "destroying-views")),
    ("simsiam", "identity-views", ("--views", "identity")),
    ("byol", "no-stop-gradient", ("--sabotage", "no-stop-gradient")),
    ("byol", "frozen-teacher", ("--option", "momentum=1.0")),
    ("byol", "rate-x300", ("--learning-rate", "0.6")),
    ("byol", "destroying-views", ("--sabotage", "destroying-views")),
    ("simclr", "temperature-0.001", ("--option", "temperature=0.001")),
    ("simclr", "temperature-100", ("--option", "temperature=100.0")),
    ("simclr", "rate-x30", ("--learning-rate", "0.06")),
    ("simclr", "rate-x1000", ("--learning-rate", "2.0")),
    ("simclr", "destroying-views", ("--sabotage", "destroying-views")),
    ("simclr", "identity-views", ("--views", "identity")),
    ("simclr", "flipped-sign", ("--sabotage", "flipped-sign")),
    ("vicreg", "no-variance", ("--option", "variance=0.0")),
    ("vicreg", "rate-x100", ("--learning-rate", "0.2")),
    ("vicreg", "destroying-views", ("--sabotage", "destroying-views")),
    ("vicreg", "identity-views", ("--views", "identity")),
    ("barlowtwins", "rate-x100", ("--learning-rate", "0.2")),
    ("barlowtwins", "destroying-views", ("--sabotage", "destroying-views")),
    ("barlowtwins", "flipped-sign", ("--sabotage", "flipped-sign")),
    ("moco", "frozen-teacher", ("--option", "momentum=1.0")),
    ("moco", "temperature-0.001", ("--option", "temperature=0.001")),
    ("moco", "destroying-views", ("--sabotage", "destroying-views")),
    ("moco", "rate-x1000", ("--learning-rate", "2.0")),
    ("swav", "dead-prototypes", ("--sabotage", "dead-prototypes")),
    ("swav", "rate-x100", ("--learning-rate", "0.2")),
    ("swav", "destroying-views", ("--sabotage", "destroying-views")),
    ("dino", "dead-prototypes", ("--sabotage", "dead-prototypes")),
    ("dino", "frozen-teacher", ("--option", "momentum=1.0")),
    ("dino", "rate-x100", ("--learning-rate", "0.2")),
    ("dino", "destroying-views", ("--sabotage", "destroying-views")),
    ("supcon", "temperature-0.001", ("--option", "temperature=0.001")),
    ("supcon", "flipped-sign", ("--sabotage", "flipped-sign")),
    ("supcon", "destroying-views", ("--sabotage", "destroying-views")),
    ("cmc", "temperature-0.001", ("--option", "temperature=0.001")),
    ("cmc", "rate-x1000", ("--learning-rate", "2.0")),
    ("cmc", "destroying-views", ("--sabotage", "destroying-views")),
)
CODES: tuple[Setting, ...] = (  # of methods that rebuild items, on the small data alone
    ("autoencoder", "rate-x300", ("--learning-rate", "0.6")),
    ("sparse_autoencoder", "weight-x200", ("--option", "weight=10.0")),
    ("contractive_autoencoder", "weight-x1000", ("--option", "weight=100.0")),
    ("denoising_autoencoder", "level-1", ("--option", "level=1.0")),
    ("rbm", "rate-x300", ("--learning-rate", "0.6")),
    ("vae", "beta-1000", ("--option", "beta=1000.0")),
    ("vae", "rate-x100", ("--learning-rate", "0.2")),
    ("crvae", "beta-1000", ("--option", "beta=1000.0")),
    ("dfcvae", "beta-100000", ("--option", "beta=100000.0")),
)
UNSCORED = ("gan",)  # neighbours are its discriminator's: they do not say whether it generates well
SMALL: tuple[Setting, ...] = (  # on the small data alone: so many steps
    ("simclr", "batch-8", ("--batch-size", "8")),
    ("vicreg", "batch-8", ("--batch-size", "8")),
    ("moco", "batch-8", ("--batch-size", "8")),
)


@dataclass(frozen=True)
class Run:
    """A stored run, as it is judged."""

    name: str
    source: str
    method: str
    broken: bool
    failed: bool
    record: dict[str, Any]
    config: dict[str, Any]

    def at(self, share: float, *, labels: bool) -> dict[str, Any]:
        """The record as it stood after this share of the budget, with or without what labels say."""
        last = share * self.config["steps"]
        probes = [probe for probe in self.record["probes"] if probe["step"] <= last]
        record: dict[str, Any] = {"about": dict(self.record["about"]), "probes": [dict(probe) for probe in probes]}
        if "diverged" in self.record and self.record["diverged"]["step"] <= last:
            record["diverged"] = self.record["diverged"]
        if not labels:
            record["about"].pop("raw_knn", None)
            for probe in record["probes"]:
                probe.pop("knn", None)
        return record


def jobs(stored: Stored, data: Path) -> list[Job]:
    found = []
    for source, images in IMAGES.items():
        seeds = range(max(SEEDS[source].values()))
        floors = [("raw", "floor", ()), *(("untrained", f"floor {seed}", ("--seed", str(seed))) for seed in seeds)]
        learning = [
            (name, f"{what} {seed}", (*UNBROKEN[what], "--seed", str(seed)))
            for what, count in SEEDS[source].items()
            for seed in range(count)
            for name in METHODS
        ]
        learning += BREAKS if source in BROKEN_ON else ()
        if source == "small-cifar10":
            learning += [*SMALL, *CODES, *((name, "healthy 0", ()) for name in sorted({name for name, *_ in CODES}))]
        learning = [setting for setting in learning if setting[0] != "cmc" or source not in GREY]
        for method, what, settings in (*floors, *learning):
            name = f"{source} {method} {what}"
            run = RUNS / name.replace(" ", "-")
            command = [*script("pretrain", method, source, "--kind", "trial", "--images", images)]
            command += [*settings, *(() if "floor" in what else ("--run", str(run))), "--data", str(data)]
            if name not in stored.content["cells"]:
                found.append(Job(name, command, run, stored))
    return found


def stored_runs(cells: Mapping[str, Any]) -> list[Run]:
    """The benchmark's own, and the leaderboard's trials on CIFAR-10 of methods that rebuild, judged alike."""
    own = {name: cell["result"] for name, cell in cells.items() if " floor" not in name}
    board = RESULTS / "leaderboard-cifar10-100000.json"
    trials = json.loads(board.read_text())["cells"] if board.exists() else {}
    for name, cell in trials.items():
        if " trial " in name and name.split()[0] in REBUILDING and name.split()[0] not in UNSCORED:
            own[f"cifar10 {name.replace(' trial ', ' healthy-trial-')}"] = cell["result"]
    judged = (judged_run(name, result, cells) for name, result in own.items())
    return [run for run in judged if run is not None]


def judged_run(name: str, result: dict[str, Any], cells: Mapping[str, Any]) -> Run | None:
    """Label a run as failed or not; None while its baselines are missing."""
    source, method, what, *seed = name.split()
    floors = (f"{source} raw floor", f"{source} untrained floor {seed[0] if seed else 0}")
    if not all(floor in cells for floor in floors):
        return None
    failed = result["diverged"] or result["knn"] <= max(cells[floor]["result"]["knn"] for floor in floors)
    config = {"method": method, **result["config"]}
    return Run(name, source, method, not what.startswith("healthy"), failed, result["health"], config)


def report(runs: list[Run]) -> str:
    """Summarise joint-embedding methods, then reconstruction methods."""
    comparing = [run for run in runs if run.method not in REBUILDING]
    rebuilding = [run for run in runs if run.method in REBUILDING]
    kinds = {
        "tuning set": [run for run in comparing if run.method in CHOSEN_ON and run.source != OTHER_DATA],
        "other methods": [run for run in comparing if run.method not in CHOSEN_ON and run.source != OTHER_DATA],
        "other data": [run for run in comparing if run.source == OTHER_DATA],
        "all": comparing,
        "all unbroken": [run for run in comparing if not run.broken],
    }
    lines = [tally(" of joint-embedding methods", comparing)]
    lines += [f"  {title:<18}{tally('', some)}" for title, some in kinds.items()]
    for labels in (True, False):
        for share in (0.25, 1.0):
            lines.append(f"\n{'with' if labels else 'without'} labels, at {share:.0%} of the budget")
            lines += [f"  {title:<18}" + scores(some, share, labels=labels) for title, some in kinds.items()]
    if rebuilding:
        parts = {
            "broken": [run for run in rebuilding if run.broken],
            "unbroken": [run for run in rebuilding if not run.broken],
        }
        lines.append("\n" + tally(" of reconstruction methods, with labels", rebuilding))
        for share in (0.25, 1.0):
            for title, some in parts.items():
                lines.append(f"  {f'{title}, at {share:.0%}':<20}" + scores(some, share, labels=True))
    lines.append("\nshare of healthy verdicts that report a doubt, at the end, with labels")
    lines += [
        f"  {title:<18}" + doubted(some)
        for title, some in {"joint embedding": comparing, "reconstruction": rebuilding}.items()
    ]
    lines.append("\nwrong verdicts at the end, with labels")
    return "\n".join([*lines, *(f"  {line}" for line in wrong(runs))])


def tally(what: str, runs: list[Run]) -> str:
    broken, failed = sum(run.broken for run in runs), sum(run.failed for run in runs)
    return f"{len(runs)} runs{what}, {broken} broken on purpose, {failed} failed"


def scores(runs: Iterable[Run], share: float, *, labels: bool) -> str:
    """Compute recall (share of failed runs that are flagged), false alarms (of the other runs) and precision."""
    pairs = [(run.failed, not diagnose(run.at(share, labels=labels), run.config).healthy) for run in runs]
    counted = {
        "recall": [alarm for bad, alarm in pairs if bad],
        "false alarms": [alarm for bad, alarm in pairs if not bad],
        "precision": [bad for bad, alarm in pairs if alarm],
    }
    return "; ".join(f"{name} {proportion(values)}" for name, values in counted.items())


def doubted(runs: Iterable[Run]) -> str:
    """Compute the share of healthy verdicts that report a doubt."""
    found = [(run.failed, diagnose(run.at(1.0, labels=True), run.config)) for run in runs]
    told = {
        bad: [bool(case.findings) for failed, case in found if case.healthy and failed is bad] for bad in (True, False)
    }
    return f"failed runs {proportion(told[True])}; other runs {proportion(told[False])}"


def proportion(values: list[bool]) -> str:
    if not values:
        return "-"
    low, high = wilson(sum(values), len(values))
    return f"{sum(values)}/{len(values)} = {sum(values) / len(values):.2f} [{low:.2f}, {high:.2f}]"


def wrong(runs: list[Run]) -> list[str]:
    lines = []
    for run in runs:
        found = diagnose(run.at(1.0, labels=True), run.config)
        if found.healthy is run.failed:
            lines.append(f"{run.name}: {'failed' if run.failed else 'did not fail'}, verdict {found.verdict}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SALIENCE_DATA"), help="or set SALIENCE_DATA")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time, one core each")
    parser.add_argument("--only", default="", help="runs with this in their name")
    parser.add_argument("--report", action="store_true", help="judge what is stored")
    parser.add_argument("--check", action="store_true", help="exit 1 where the stored summary is not today's judgement")
    args = parser.parse_args()
    if args.check:
        kept = json.loads((RESULTS / "doctor.json").read_text())
        return int(kept["summary"] != report(stored_runs(kept["cells"])))
    stored = Stored(RESULTS, "doctor", machine(), timed=False)
    if not args.report and not args.data:
        parser.error("--data: the runs need CIFAR-10; give its folder, or set SALIENCE_DATA")
    code, data = 0, Path(args.data or "").resolve()
    if not args.report:
        code = run_all(lambda: [job for job in jobs(stored, data) if args.only in job.name], args.jobs)
    stored.content["summary"] = report(stored_runs(stored.content["cells"]))
    stored.write()
    print(stored.content["summary"])
    return code


if __name__ == "__main__":
    sys.exit(main())
