"""Format the stored results of each suite as a section of Markdown. Requires only Python.

Figures are medians over rounds; the brackets show the lowest and the highest round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from benchmarks.render.board import AGAINST, LONGER, leaderboard, lightly, standings
from benchmarks.render.tables import Cells, number, ratio, spread, table, three, values

T_975 = {3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}  # draws -> Student's t
PEERS = {"lightly-documented": "lightly 1.6 as documented", "lightly-our-flags": "lightly 1.6, same flags as ours"}


def arms(stored: dict[str, Any]) -> dict[str, Cells]:
    """Group the cells by arm, in the order of measurement."""
    grouped: dict[str, Cells] = {}
    for cell in stored["cells"].values():
        grouped.setdefault(cell["arm"], []).append(cell)
    return grouped


def throughput(stored: dict[str, Any], title: str) -> str:
    grouped = arms(stored)
    mine = values(grouped.get("ours", []), "images_per_second")
    rows = [["Salience", spread(mine), ""]]
    for arm, name in PEERS.items():
        theirs = values(grouped.get(arm, []), "images_per_second")
        rows.append([name, spread(theirs), ratio(mine, theirs)])
    text = f"**{title}**\n\n" + table(["", "images/s", "speed-up of Salience"], rows)
    shares = values(grouped.get("ours", []), "share_of_peak")
    if shares:
        peaks = [peak for cell in grouped["ours"] for peak in cell["result"]["bf16_matmul_peak"]]
        text += (
            f"\n\nSalience reaches {spread(shares, lambda v: f'{v:.0%}')} of the machine's peak for bf16 matrix "
            f"products, {number(statistics.median(peaks) / 1e9)} GFLOP/s in the same runs."
        )
    return text


def knn(stored: dict[str, Any], title: str) -> str:
    rows = []
    for arm, name in {"ours": "Salience", **PEERS}.items():
        last = [found[-1] if isinstance(found, list) else found for found in values(arms(stored).get(arm, []), "knn")]
        if last:
            rows.append([name, spread(last, lambda v: f"{v:.3f}"), str(len(last))])
    return f"**{title}**\n\n" + table(["", "kNN accuracy", "seeds"], rows)


def breakdown(stored: dict[str, Any], title: str) -> str:
    cells = arms(stored)["ours"]
    parts = cells[0]["result"]["step_seconds"]
    names = {"data": "data", "views": "views", "network": "network and optimiser", "bare": "bare loop", "fit": "fit"}
    rows = [
        [names[part], spread([1000 * cell["result"]["step_seconds"][part] for cell in cells])]
        for part in names
        if part in parts
    ]
    percent = lambda v: f"{v:.1%}"  # noqa: E731
    return (
        f"**{title}**\n\n{table(['part', 'ms per step'], rows)}\n\n"
        f"Data and views take {spread(values(cells, 'data_and_views_share'), percent)} of a step; "
        f"`fit` adds {spread(values(cells, 'overhead'), percent)} to the bare loop."
    )


def classical(stored: dict[str, Any], title: str) -> str:
    grouped = arms(stored)
    named = {"salience": "Salience", "fit": "Salience, all of `fit`"}
    rows_and_columns = next(iter(stored["cells"].values()))["result"]["shape"]
    title = title.format(shape=" × ".join(f"{size:,}" for size in rows_and_columns))
    mine = values(grouped.get("salience", []), "seconds")
    rows = [
        [
            named.get(arm, f"scikit-learn {arm}"),
            spread(values(cells, "seconds")),
            spread(values(cells, "quality"), lambda v: f"{v:.4f}"),
            "" if arm in named else ratio(values(cells, "seconds"), mine),
        ]
        for arm, cells in grouped.items()
    ]
    return f"**{title}**\n\n" + table(["", "s", "quality", "speed-up of Salience"], rows)


def methods(stored: dict[str, Any], title: str) -> str:
    """Compare images/s with SimCLR's, and with the ratio expected from the FLOPs."""
    grouped = arms(stored)
    base = grouped.get("simclr", [])
    rows = []
    for arm, cells in grouped.items():
        mine, theirs = (statistics.median(values(found, "images_per_second")) for found in (cells, base))
        work, least = (values(found, "flops_per_image")[0] for found in (cells, base))
        slower, more = theirs / mine, work / least
        speed = spread(values(cells, "images_per_second"))
        rows.append([arm, speed, f"{slower:.2f}", f"{more:.2f}", f"{slower / more:.2f}"])
    return f"**{title}**\n\n" + table(["", "images/s", "time, SimCLR = 1", "FLOPs, SimCLR = 1", "time / FLOPs"], rows)


def doctor(stored: dict[str, Any], title: str) -> str:
    return f"**{title}**\n\n```\n{stored['summary']}\n```"


def memory(stored: dict[str, Any], title: str) -> str:
    def megabytes(cells: Cells, key: str) -> str:
        return spread([cell["result"]["anonymous_bytes"][key] / 1e6 for cell in cells])

    rows = [[arm, megabytes(cells, "peak"), megabytes(cells, "last")] for arm, cells in arms(stored).items()]
    return f"**{title}**\n\n" + table(["", "peak, MB", "at the last step, MB"], rows)


def store(stored: dict[str, Any], title: str) -> str:
    results = [cell["result"] for cell in stored["cells"].values()]
    search, build = ([one[part] for one in results] for part in ("search", "build"))
    title = title.format(rows=f"{results[0]['rows']:,}", dim=results[0]["dim"])

    def over(found: list[dict[str, float]], key: str, form: Callable[[float], str] = number) -> str:
        return spread([one[key] for one in found], form)

    rows = [
        ["recall@10 against exact search", over(search, "recall_at_10", lambda v: f"{v:.4f}")],
        ["index: median ms per query", over(search, "index_ms")],
        ["index: 99th percentile, ms", over(search, "index_ms_p99")],
        ["exact search: median ms per query", over(search, "exact_ms")],
        ["speed-up by the index", over(search, "faster", lambda v: f"{v:.1f}×")],
        ["building the index, s", over(build, "seconds")],
        ["index on disk, MB", over([{"mb": one["index_bytes"] / 1e6} for one in build], "mb")],
        ["all other files on disk, MB", over([{"mb": one["table_bytes"] / 1e6} for one in build], "mb")],
    ]
    anonymous = [one["anonymous_bytes"] for one in results]
    of_rows = [
        [f"{int(size):,}", *(spread([one[size][key] / 1e6 for one in anonymous]) for key in ("before", "peak", "last"))]
        for size in anonymous[0]
    ]
    head = ["rows", "before opening, MB", "peak, MB", "after the last search, MB"]
    memory = "Anonymous memory of a process that opens a store and searches it:"
    return f"**{title}**\n\n{table(['', ''], rows)}\n\n{memory}\n\n{table(head, of_rows)}"


def startup(stored: dict[str, Any], title: str) -> str:
    result = next(iter(stored["cells"].values()))["result"]
    names = {
        "help": "`salience --help`",
        "fit_help": "`salience fit --help`",
        "fit_simclr_help": "`salience fit simclr --help`",
        "methods": "`salience methods`",
        "import_salience": "`import salience`",
        "import_torch": "`import torch`",
        "python": "Python without imports",
    }
    rows = [[names[name], number(seconds)] for name, seconds in result["seconds"].items() if name in names]
    rows += [
        [f"from imports to first training step, {source}, second run", number(found["first_step"])]
        for source, found in result["first_step"].items()
    ]
    return f"**{title}**\n\n" + table(["", "s"], rows)


def startup_verbs(stored: dict[str, Any], title: str) -> str:
    """Seconds of this checkout and of those measured in turn with it."""
    seconds = next(iter(stored["cells"].values()))["result"]["seconds"]
    head = ["", *(f"{name}, {kind}" for name in seconds for kind in ("s", "s of processor"))]
    rows = [
        [f"`{line}`", *(number(found[line][kind]) for found in seconds.values() for kind in ("wall", "cpu"))]
        for line in seconds["ours"]
    ]
    return f"**{title}**\n\n" + table(head, rows)


def linear_probe(stored: dict[str, Any], title: str) -> str:
    found = next(iter(stored["cells"].values()))["result"]["features"]["conv"]
    ours, sgd = found["probe"], found["sgd"]
    rows = [
        ["Salience: L-BFGS, selects penalty and scaling", number(ours["seconds"]), f"{ours['accuracy']:.4f}", ""],
        [
            "100 epochs of SGD, selects learning rate and scaling",
            number(sgd["seconds"]),
            f"{sgd['accuracy']:.4f}",
            f"{found['faster_than_seconds']:.1f}×",
        ],
        ["  one run, learning rate given", number(sgd["one_run"]), "", f"{found['faster_than_one_run']:.1f}×"],
        ["  this run with a DataLoader", number(sgd["with_loader"]), "", f"{found['faster_than_with_loader']:.1f}×"],
    ]
    if (cell := stored["cells"].get("scikit-learn 0")) is not None:
        both = cell["result"]["features"]["conv"]
        peer, faster = both["scikit_learn"], f"{both['faster_than_cpu']:.1f}×"
        name = f"scikit-learn's L-BFGS along the same path, CPU seconds (Salience: {number(both['probe']['cpu'])})"
        rows.append([name, number(peer["cpu"]), f"{peer['accuracy']:.4f}", faster])
    return f"**{title}**\n\n" + table(["", "s", "test accuracy", "speed-up of Salience"], rows)


def against(stored: dict[str, Any], title: str) -> str:
    """Compare speed, and quality if it was measured; first Salience, then the peer."""
    grouped = arms(stored)
    speed = "rows_per_second" if values(grouped["salience"], "rows_per_second") else "images_per_second"
    mine = values(grouped["salience"], speed)
    rows = []
    for arm, cells in grouped.items():
        theirs = values(cells, speed)
        quality = spread(values(cells, "pseudo_likelihood"), lambda v: f"{v:.1f}")
        times = "" if arm == "salience" else ratio(mine, theirs)
        rows.append(["Salience" if arm == "salience" else arm, spread(theirs), quality, times])
    head = ["", speed.replace("_per_second", "/s"), "pseudo-likelihood of test images, nats", "speed-up of Salience"]
    if all(row[2] == "–" for row in rows):
        head, rows = [head[0], head[1], head[3]], [[row[0], row[1], row[3]] for row in rows]
    return f"**{title}**\n\n" + table(head, rows)


def accuracies(stored: dict[str, Any], title: str) -> str:
    names = {"raw": "raw pixels, logistic regression", "rbm": "RBM, logistic regression", "dbn": "DBN, fine-tuned"}
    of_draw = {
        arm: {cell["round"]: cell["result"]["accuracy"] for cell in cells} for arm, cells in arms(stored).items()
    }
    rows = []
    for arm, found in of_draw.items():
        raw = of_draw.get("raw", {})
        gains = [value - raw[draw] for draw, value in found.items() if draw in raw]
        rows.append([names[arm], spread(list(found.values()), three), "" if arm == "raw" else mean_gain(gains)])
    return f"**{title}**\n\n" + table(["", "test accuracy", "gain over raw pixels, paired by draw"], rows)


def mean_gain(gains: list[float]) -> str:
    """Format the mean gain, its 95 % interval by Student's t, and the number of positive gains."""
    if len(gains) not in T_975:
        return "–"
    half = T_975[len(gains)] * statistics.stdev(gains) / len(gains) ** 0.5
    mean = statistics.mean(gains)
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}], {sum(gain > 0 for gain in gains)} of {len(gains)}"


def collapse(stored: dict[str, Any], title: str) -> str:
    """Format one row per arm and beta; the brackets show the range over seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, cell in stored["cells"].items():
        found.setdefault(name.partition(" seed ")[0], []).append(cell["result"])
    rows = []
    for name, results in found.items():
        arm, _, beta = name.partition(" beta ")
        active = spread([one["active_units"] for one in results])
        nats = spread([one["mutual_information"] for one in results], lambda value: f"{value:.2f}")
        drawn = spread([one["knn_drawn"] for one in results], three)
        means = [spread([one[what]["value"] for one in results], three) for what in ("knn", "linear")]
        rows.append([beta, arm, active, nats, drawn, *means, spread([one["bound"]["value"] for one in results])])
    rows.sort(key=lambda row: (float(row[0]), row[1]))
    head = ["beta", "", "active dimensions of 16", "nats per code", "kNN of samples", "kNN of means", "linear", "bound"]
    return f"**{title}**\n\n" + table(head, rows)


def explorer(stored: dict[str, Any], title: str) -> str:
    grouped = {arm: cells[-1]["result"] for arm, cells in arms(stored).items()}
    rows = []
    if load := grouped.get("load"):
        rows += [
            [f"{load['clients']} clients for {load['seconds']:.0f} s, requests/s", number(load["requests_per_second"])],
            ["request time, median, ms", number(load["p50_ms"])],
            ["request time, 99th percentile, ms", number(load["p99_ms"])],
            ["failed requests, lost labels", f"{load['failures']}, {max(load['lost'].values())}"],
        ]
    if drawn := grouped.get("map"):
        moving = drawn["moving"]
        rows += [
            [f"drawing {drawn['rows']:,} points, ms", number(drawn["draw_ms"])],
            ["from opening the page to the complete map, ms", number(drawn["open_ms"])],
            ["maximum number of points while the map is dragged", f"{moving['most_drawn']:,}"],
            ["ms per frame while the map is dragged", number(moving["frame_ms"])],
        ]
    return f"**{title}**\n\n" + table(["", ""], rows)


SECTIONS: dict[str, tuple[Callable[[dict[str, Any], str], str], str]] = {
    "throughput-convnet": (throughput, "SimCLR on CIFAR-10, small convolutional network, end to end"),
    "throughput-fp32": (throughput, "The same without bf16"),
    "throughput-resnet18": (throughput, "SimCLR on CIFAR-10, ResNet-18, end to end"),
    "throughput-vit": (throughput, "SimCLR on CIFAR-10, ViT-tiny, end to end"),
    "knn-convnet": (
        knn,
        "Weighted kNN (k = 20) on CIFAR-10's test images after one epoch of 25,000 training images, small network",
    ),
    "methods-convnet": (methods, "All joint-embedding methods, small network, batch size 256, in consecutive rounds"),
    "leaderboard-cifar10-100000": (
        leaderboard,
        "CIFAR-10, small network, 100,000 images seen, equal tuning, at least three seeds",
    ),
    "leaderboard-fashion-mnist-100000": (
        leaderboard,
        "Fashion-MNIST, small network, 100,000 images seen, equal tuning, three seeds",
    ),
    LONGER: (
        standings,
        "Fashion-MNIST, 400,000 images seen, hyperparameters from 100,000 images, one seed",
    ),
    AGAINST: (
        lightly,
        "CIFAR-10, small network, 100,000 images seen, the same six trials for both libraries, five paired seeds",
    ),
    "doctor": (doctor, "Accuracy of the diagnosis"),
    "breakdown-convnet": (breakdown, "Time of a training step by part, small network, batch size 256"),
    "pca": (classical, "PCA, 64 components of {shape}; quality: share of explained variance"),
    "kmeans": (classical, "k-means, 20 centres of {shape}; quality: mean squared distance (lower is better)"),
    "vae-dense": (against, "Training a VAE on Fashion-MNIST, pythae's default dense network, batch size 128"),
    "vae-conv": (against, "Training a VAE on Fashion-MNIST, Salience's convolutional network, batch size 128"),
    "vae-conv-fp32": (against, "The same without bf16"),
    "vae-large": (against, "Training a VAE on Fashion-MNIST, pythae's published convolutional network, batch size 128"),
    "boltzmann-256": (against, "An RBM of 256 hidden units on Fashion-MNIST, batch size 256, 10 epochs, complete fit"),
    "boltzmann-10": (against, "The same with batch size 10, two epochs"),
    "thousand-labels": (accuracies, "Fashion-MNIST with 1,000 labels, a new random draw in each round"),
    "collapse": (collapse, "Posterior collapse on Fashion-MNIST by beta, decoder, contrastive term; ranges over seeds"),
    "linear-probe": (linear_probe, "Linear probe, 50,000 × 512 random-filter features of CIFAR-10"),
    "memory": (memory, "Anonymous memory of training on prepared 32×32 images"),
    "explorer": (explorer, "`salience explore`: server, and map in a browser without a GPU"),
    "store": (store, "Search in a store of {rows} × {dim} embeddings: Fashion-MNIST with added noise"),
    "startup": (startup, "Start-up times"),
    "startup-verbs": (startup_verbs, "Seconds of every verb, on a table of 50 rows and on digits"),
}


def provenance(files: list[dict[str, Any]]) -> str:
    """Describe the machines, commits, dates and versions of the printed results."""
    cells = [cell for stored in files for cell in stored["cells"].values()]
    commits, dates = sorted({cell["commit"] for cell in cells}), sorted(cell["date"] for cell in cells)
    found = {f"{name} {version}" for cell in cells for name, version in cell["versions"].items()}
    busy = max(cell.get("busy_before", 0.0) for cell in cells)
    return (
        f"Measured on {'; and on '.join(machines(files))}. {', '.join(sorted(found))}; commit {', '.join(commits)}; "
        f"{dates[0]} to {dates[-1]}; other processes used at most {busy:.0%} of the machine before a measurement."
    )


def machines(files: list[dict[str, Any]]) -> list[str]:
    """Describe each machine; if there are several, also the suites that were measured on it."""
    suites: dict[str, list[str]] = {}
    for stored in files:
        for here in [stored["machine"], *(cell["machine"] for cell in stored["cells"].values() if "machine" in cell)]:
            told = f"{here['cpu']}, {here['cores']} cores ({', '.join(here['flags'])}), {here['memory_gb']} GB"
            named = suites.setdefault(f"{told}, Python {here['python']}", [])
            if stored["suite"] not in named:
                named.append(stored["suite"])
    if len(suites) == 1:
        return list(suites)
    return [f"{told}: {', '.join(named)}" for told, named in suites.items()]
