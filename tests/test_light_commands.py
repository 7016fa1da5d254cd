"""A command loads what it needs: which packages, by name, each command may load.

Commands run one after the other in one process for each group, which tells what is loaded after each of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from salience import catalogue
from salience.verbs import table

DRAWING = ("matplotlib",)
SOLVING = ("sklearn", "scipy.stats")
COMPILER = ("torch._dynamo", "torch._inductor", "sympy")
TRAINING = ("lightning", "pytorch_lightning", "torchmetrics", "torchvision", "timm", *COMPILER)
SERVING = ("fastapi", "starlette", "uvicorn")
HEAVY = ("torch", "scipy", *SOLVING, *DRAWING, *TRAINING, *SERVING)
IMPORTED_FOR_DATA = ("numpy", "pandas", "pyarrow", "PIL")
ONE_EPOCH = ("--epochs", "1", "--batch-size", "16")
PROGRAM = """
import contextlib, io, json, sys
from salience.cli import main
commands, watched = json.loads(sys.argv[1])
for argv in commands:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            code = main(argv)
        except SystemExit as ended:
            code = ended.code
    loaded = [name for name in watched if name in sys.modules]
    print(json.dumps([argv, code, loaded, said.getvalue()]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables, images, labels, and runs of them."""
    folder = tmp_path_factory.mktemp("light")
    rng = np.random.default_rng(0)
    numbers = {name: rng.normal(size=60) for name in "abc"}
    frame = pd.DataFrame(numbers | {"kind": rng.choice(["x", "y"], 60), "label": np.arange(60) % 2})
    frame.to_csv(folder / "t.csv", index=False)
    pd.DataFrame({"item": range(20), "label": frame.label[:20]}).to_csv(folder / "labels.csv", index=False)
    for name in ("one", "two"):
        (folder / "photos" / name).mkdir(parents=True)
        for row in range(8):
            pixels = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{row}.jpg")
    fits = (
        ["pca", "t.csv", "--out", "pca", "--labels", "label"],
        [
            "autoencoder",
            "t.csv",
            "--out",
            "net",
            "--labels",
            "label",
            "--epochs",
            "1",
            "--batch-size",
            "16",
            "--dim",
            "2",
        ],
        ["pca", "photos", "--out", "pictures", "--dim", "4"],
    )
    more = (
        ["evaluate", "pca"],
        ["embed", "net", "t.csv", "--out", "net.lance"],
        ["embed", "pictures", "photos", "--out", "pictures.lance"],
    )
    for argv, code, _, said in run(folder, [*(["fit", *words] for words in fits), *more], ()):
        assert code == 0, (argv, said)
    return folder


def run(
    folder: Path, commands: list[list[str]], watched: tuple[str, ...]
) -> list[tuple[list[str], int, list[str], str]]:
    """-> of each command its words, its exit code, what is loaded after it, and what it said"""
    words = json.dumps([commands, watched])
    done = subprocess.run([sys.executable, "-c", PROGRAM, words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_light(folder: Path, commands: list[str], *, allowed: tuple[str, ...], codes: tuple[int, ...] = (0,)) -> None:
    """Each command ends with one of these codes, and after it nothing of HEAVY is loaded but what is allowed."""
    watched = tuple(name for name in HEAVY if name not in allowed)
    found = run(folder, [line.split() for line in commands], watched)
    assert not [(" ".join(argv), code, said) for argv, code, _, said in found if code not in codes]
    first = next(((" ".join(argv), loaded) for argv, _, loaded, _ in found if loaded), None)
    assert first is None, f"{first[0]}: loads {', '.join(first[1])}"


def test_help_and_lists_load_nothing_heavy(folder: Path) -> None:
    commands = ["--help", "--version", *(f"{name} --help" for name in table.names())]
    commands += [f"fit {name} --help" for name in catalogue.names()]
    commands += ["methods", "methods --json", "methods simclr"]
    found = run(folder, [line.split() for line in commands], (*HEAVY, *IMPORTED_FOR_DATA))
    assert not [(argv, code, loaded) for argv, code, loaded, _ in found if code != 0 or loaded]


def test_describing_a_table_and_the_health_of_a_run_need_no_torch(folder: Path) -> None:
    commands = ["doctor net", "data t.csv", "data t.csv t.csv --labels label", "data t.csv --json"]
    assert_light(folder, commands, allowed=(), codes=(0, 1))  # 1: of a run that is not healthy


def test_comparing_runs_draws_and_needs_no_torch(folder: Path) -> None:
    assert_light(folder, ["compare pca --out compared"], allowed=DRAWING)


REFUSED = (
    "nothing",
    "data nowhere.csv",
    "data t.csv --labels nothing",
    "data t.csv nowhere.csv",
    "doctor nowhere",
    "doctor pca",
    "compare net",
    "embed nowhere t.csv --out x.parquet",
    "embed pca nowhere.csv --out x.parquet",
    "evaluate nowhere --on t.csv",
    "search nowhere.lance 0",
    "predict pca t.csv --labels t.csv",
    "fit nothing t.csv",
    "fit pca t.csv --dim 0",
    "fit pca t.csv --epochs 3",
    "fit pca t.csv --out pca",
    "fit simclr t.csv --epochs 3 --budget 3s",
    "fit simclr t.csv --budget 3parsecs",
    "fit simclr t.csv --resolution 8",
    "fit simclr t.csv --labels nothing",
    "fit simclr t.csv --labels label --without nobody",
    "fit cmc t.csv",
    "fit --resume nowhere",
    "views simclr nowhere.csv",
    "embed pca t.csv --out x.txt",
    "embed pca t.csv --out s3://somewhere/x.lance",
    "embed pca t.csv --out x.lance --shard 9/2",
    "embed pca t.csv --out x.parquet --shard 1/2",
    "embed pca labels.csv --out x.parquet",
    "evaluate pca --on labels.csv",
    "evaluate pca --test labels.csv",
    "evaluate pca --labels a",
    "predict pca labels.csv --labels labels.csv",
    "search net.lance nobody",
    "search net.lance [1,2,3]",
    "search net.lance 0 --where nothing=1",
    "cluster net.lance -k 99",
    "cluster net.lance --method hdbscan -k 2",
    "duplicates net.lance --threshold 3",
    "anomalies net.lance --score likelihood",
    "anomalies net.lance --held-out nobody",
    "anomalies pca --score likelihood",
    "anomalies pca labels.csv",
    "reconstruct pca labels.csv",
    "denoise nowhere",
    "sample pca",
    "interpolate pca",
    "arithmetic net --add 0 --subtract 1",
    "super-resolve pca",
    "fit pca t.csv --dim 99",
    "fit kmeans t.csv --k 99",
    "fit autoencoder t.csv --dim 99",
    "explore nowhere.lance",
)


def test_what_is_refused_without_weights_needs_no_torch(folder: Path) -> None:
    assert_light(folder, list(REFUSED), allowed=(), codes=(2,))


def test_every_verb_that_reads_something_refuses_something_without_torch() -> None:
    refusing = {line.split()[0] for line in REFUSED}
    assert {verb.name for verb in table.TABLE if verb.reads} - refusing == {"methods"}


def test_embedding_needs_torch_alone(folder: Path) -> None:
    commands = ["embed net t.csv --out out.parquet", "embed pca t.csv --out solved.parquet"]
    assert_light(folder, [*commands, "embed pictures photos --out photos.parquet"], allowed=("torch",))


def test_searching_by_an_item_or_a_vector_needs_no_torch(folder: Path) -> None:
    commands = ["search net.lance 0 --json", "search net.lance [0.5,1] --json", "search net.lance 0 --out table"]
    assert_light(folder, commands, allowed=())
    assert_light(folder, ["search pictures.lance one/1.jpg --out found"], allowed=DRAWING)


@pytest.mark.slow
def test_verbs_on_a_store_need_no_lightning(folder: Path) -> None:
    assert_light(
        folder, ["duplicates net.lance --out d", "duplicates pictures.lance --out p"], allowed=("torch", *DRAWING)
    )
    allowed = ("torch", "scipy", *SOLVING, *DRAWING)
    assert_light(folder, ["cluster net.lance --out c", "anomalies net.lance --out strange"], allowed=allowed)


@pytest.mark.slow
def test_verbs_on_a_run_need_no_lightning(folder: Path) -> None:
    commands = [
        "reconstruct net --out reconstructed",
        "denoise net --out denoised",
        "interpolate pictures photos --out between",
        "arithmetic pictures photos --add one --subtract two --out added",
        "anomalies net --out strangest",
    ]
    assert_light(folder, commands, allowed=("torch", "scipy", *SOLVING, *DRAWING))


@pytest.mark.slow
def test_evaluating_and_predicting_need_no_lightning(folder: Path) -> None:
    commands = ["predict pca t.csv --labels labels.csv --out p.csv", "evaluate net", "evaluate pictures"]
    assert_light(folder, commands, allowed=("torch", "scipy", *SOLVING, *DRAWING))


def test_closed_forms_are_solved_without_lightning(folder: Path) -> None:
    commands = ["fit pca t.csv --out pca-again", "fit kmeans photos --out kmeans"]
    assert_light(folder, commands, allowed=("torch", "scipy", *SOLVING))


def test_the_page_is_served_without_lightning(folder: Path) -> None:
    program = (
        "import sys\n"
        "from starlette.testclient import TestClient\n"
        "from salience.explorer.app import make_app\n"
        "from salience.explorer.state import Explorer\n"
        "from salience.store import open_store\n"
        "with TestClient(make_app(Explorer(open_store('net.lance'))), base_url='http://127.0.0.1:8300') as client:\n"
        "    assert client.get('/store').status_code == 200\n"
        f"print(*(name for name in {TRAINING!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_jpeg_files_are_decoded_by_torchvision_without_the_rest_of_it() -> None:
    program = (
        "import sys\n"
        "from salience.modalities.image.decode import _torchvision_jpeg\n"
        "print(_torchvision_jpeg() is not None, 'torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr
