import errno
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import salience.training
from salience import catalogue
from salience.cli import main
from salience.config import BY_GRADIENT, OPTIONS
from salience.errors import UserError
from salience.training import Interrupted


@pytest.fixture
def fitted(monkeypatch):
    """Stands in for the training: keeps what `fit` was called with."""
    calls = []

    def fit(method, source, **settings):
        calls.append((method, source, settings))
        return SimpleNamespace(run=Path("runs") / f"{method}-{source}-1")

    monkeypatch.setattr(salience.training, "fit", fit)
    return calls


def error_of(capsys, argv: list[str]) -> str:
    """The one line on standard error of a command that must fail."""
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


# --- fit ---------------------------------------------------------------------------------------------------------


def test_only_what_was_given_reaches_fit(fitted, capsys):
    argv = ["fit", "simclr", "digits", "--epochs", "10", "--temperature", "0.2", "--out", "runs/x", "--no-compile"]
    assert main(argv) == 0
    assert fitted == [("simclr", "digits", {"epochs": 10, "temperature": 0.2, "out": "runs/x", "compile": False})]
    printed = capsys.readouterr().out
    assert "run: runs/simclr-digits-1" in printed
    assert "salience evaluate runs/simclr-digits-1 --on digits" in printed


def test_options_may_come_before_the_source_and_with_equals_signs(fitted):
    assert main(["fit", "simclr", "--epochs=3", "--use-labels", "--learning-rate=1e-3", "digits"]) == 0
    assert fitted == [("simclr", "digits", {"epochs": 3, "use_labels": True, "learning_rate": 0.001})]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("fit", "METHOD: none given; write: salience fit METHOD SOURCE"),
        ("fit simlcr digits", "METHOD: unknown method 'simlcr'; did you mean simclr?"),
        ("fit simclr", "SOURCE: none given"),
        ("fit --epochs 3 simclr digits", "METHOD: --epochs came before it"),
        ("fit simclr digits --epochs 1.5", "--epochs: '1.5' is not a whole number"),
        ("fit simclr digits --epochs 0", "--epochs: 0 is out of range; it must be >= 1"),
        ("fit simclr digits --epochs ten", "--epochs: 'ten' is not a whole number"),
        ("fit simclr digits --epochs", "--epochs: a value is missing"),
        ("fit simclr digits --epochs 1 --epochs 2", "--epochs: given more than once"),
        ("fit simclr digits --epochs 1 --budget 1min", "--epochs, --budget: expected only one"),
        ("fit simclr digits --budget soon", "--budget: 'soon' is not a duration; write it like 90s, 10min"),
        ("fit simclr digits --temperature nan", "--temperature: 'nan' is not a finite number"),
        ("fit simclr digits --temperature inf", "--temperature: 'inf' is not a finite number"),
        ("fit simclr digits --temperature -inf", "--temperature: '-inf' is not a finite number"),
        ("fit simclr digits --temperature=0", "--temperature: 0 is out of range; it must be > 0"),
        ("fit simclr digits --seed -1", "--seed: -1 is out of range; it must be >= 0"),
        (
            "fit simclr digits --temprature 1",
            "--temprature: fit simclr has no such option; did you mean --temperature?",
        ),
        ("fit pca digits --epochs 3", "--epochs: pca has a closed form"),
        ("fit pca digits --dim 1.5", "--dim: '1.5' is not a whole number"),
        ("fit simclr digits train", "'train': more words than fit simclr takes"),
        ("fit simclr digits --resume runs/x", "--resume: a run stores its method and its source"),
        ("fit --resume", "--resume: a value is missing"),
        ("fit --resume nowhere", "error: --resume: nowhere does not exist"),
        ("fit simclr digits --init nowhere", "error: --init: nowhere does not exist"),
        ("fit --config nowhere", "--config: nowhere cannot be read"),
        ("frobnicate", "there is no verb 'frobnicate'"),
        ("evalute runs/x", "did you mean evaluate?"),
        ("data", "SOURCE: none given"),
        ("data nowhere/at-all", "error: SOURCE: nowhere/at-all does not exist"),
        ("data digits nowhere/at-all", "error: OTHER: nowhere/at-all does not exist"),
        ("data digits --labels x", "error: --labels: digits has built-in labels"),
        ("data digits:test", "error: SOURCE: digits has no split 'test'"),
        ("views simclr digits --resolution 1.5", "--resolution: '1.5' is not a whole number"),
        ("views smclr digits", "error: METHOD: unknown method 'smclr'; did you mean simclr?"),
        (
            "views simclr digits --views glyfs",
            "error: --views: 'glyfs' is not a policy of image data; did you mean 'glyphs'?",
        ),
        ("views simclr digits --out a.txt", "error: --out: a.txt is not an image file"),
        ("methods smclr", "error: METHOD: unknown method 'smclr'; did you mean simclr?"),
        ("evaluate", "RUN: none given"),
        ("evaluate nowhere --on digits", "error: RUN: nowhere does not exist"),
        ("embed nowhere digits", "--out: a value is missing"),
        ("embed nowhere digits --out x.parquet", "error: RUN: nowhere does not exist"),
        ("predict nowhere digits --labels x.csv", "error: RUN: nowhere does not exist"),
        ("compare nowhere", "error: RUNS: nowhere does not exist"),
        ("compare", "error: RUNS: expected the folders of runs, got none"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(fitted, capsys, words, complaint):
    assert complaint in error_of(capsys, words.split())
    assert fitted == []


def test_options_of_fit_are_parameters_of_fit():
    import inspect

    from salience.training.fit import fit

    known = inspect.signature(fit).parameters
    assert {*OPTIONS, "method", "source", "reading", "progress", "options"} == set(known)
    for name, option in OPTIONS.items():
        assert known[name].default == option.default, name


def test_closed_forms_are_not_offered_what_they_lack(capsys):
    assert main(["fit", "pca", "--help"]) == 0
    offered = capsys.readouterr().out
    assert "--dim" in offered
    assert "--resolution" in offered
    for option in BY_GRADIENT:
        assert f"--{option.name.replace('_', '-')} " not in offered


@pytest.mark.parametrize("name", catalogue.names())
def test_help_of_a_method_shows_its_hyper_parameters(capsys, name):
    assert main(["fit", name, "--help"]) == 0
    offered = capsys.readouterr().out
    assert all(f"--{option.name.replace('_', '-')} " in offered for option in catalogue.find(name).options)


def test_what_exists_is_not_overwritten(fitted, capsys, tmp_path):
    assert f"--out: {tmp_path} exists; name another folder" in error_of(
        capsys, ["fit", "pca", "digits", "--out", str(tmp_path)]
    )
    assert fitted == []


def test_under_a_launcher_the_run_folder_may_be_there_already(fitted, monkeypatch, tmp_path):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(["fit", "pca", "digits", "--out", str(tmp_path)]) == 0
    assert fitted == [("pca", "digits", {"out": str(tmp_path)})]


# --- --config ----------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    stored = {
        "method": "simclr",
        "source": "digits",
        "epochs": 7,
        "seed": 3,
        "checkpoint_every": 120.0,
        "encoder": None,
        "reading": {},
        "spec": {"modality": "image"},
        "options": {"dim": 64, "temperature": 0.1},
    }
    path.write_text(yaml.safe_dump(stored))
    return path


def test_config_gives_method_source_and_options(fitted, config):
    assert main(["fit", "--config", str(config)]) == 0
    expected = {"epochs": 7, "seed": 3, "checkpoint_every": "120.0s", "dim": 64, "temperature": 0.1}
    assert fitted == [("simclr", "digits", expected)]


def test_the_command_line_wins_over_config(fitted, config):
    argv = [
        "fit",
        "simclr",
        "fashion-mnist",
        f"--config={config}",
        "--seed",
        "5",
        "--temperature",
        "1",
        "--budget",
        "9s",
    ]
    assert main(argv) == 0
    [(method, source, settings)] = fitted
    assert (method, source) == ("simclr", "fashion-mnist")
    expected = {"seed": 5, "checkpoint_every": "120.0s", "dim": 64, "temperature": 1.0, "budget": "9s"}
    assert settings == expected


def test_another_method_takes_no_hyper_parameters_from_config(fitted, config):
    assert main(["fit", "pca", "--config", str(config)]) == 0
    assert fitted == [("pca", "digits", {"seed": 3})]


def test_a_budget_resolved_to_a_part_of_an_epoch_is_rounded_up(fitted, config):
    config.write_text(yaml.safe_dump({"method": "simclr", "source": "digits", "epochs": 0.3}))
    assert main(["fit", "--config", str(config)]) == 0
    assert fitted[0][2] == {"epochs": 1}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("method: [", "is not valid YAML"),
        ("- a\n- list", "names no method"),
        ("source: digits", "names no method"),
        ("method: simlcr", "did you mean simclr?"),
        ("method: simclr\nsource: digits\nepochs: many", "--config: epochs: 'many' is not a whole number"),
        ("method: simclr\nsource: digits\noptions: {temperature: .nan}", "temperature: 'nan' is not a finite number"),
        ("method: simclr\nsource: digits\noptions: {dimm: 3}", "no option dimm; did you mean dim?"),
        ("method: !!python/object/apply:os.system [ls]", "is not valid YAML"),
    ],
)
def test_a_broken_config_is_named(fitted, capsys, config, text, complaint):
    config.write_text(text)
    message = error_of(capsys, ["fit", "--config", str(config)])
    assert complaint in message
    assert fitted == []


# --- what goes wrong while it runs -------------------------------------------------------------------------------


def raising(monkeypatch, exception: BaseException) -> None:
    def fit(*_, **__):
        raise exception

    monkeypatch.setattr(salience.training, "fit", fit)


def test_a_full_disk_is_one_line(monkeypatch, capsys):
    raising(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "runs/x/last.ckpt"))
    message = error_of(capsys, ["fit", "pca", "digits"])
    assert message.startswith("error: runs/x/last.ckpt: No space left on device; free some space, or choose another")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("batch_size: 1 is too small", "--batch-size: 1 is too small"),
        ("epochs, budget: both were given", "--epochs, --budget: both were given"),
        ("source: x: no such thing", "SOURCE: x: no such thing"),
        ("run: x is damaged", "RUN: x is damaged"),
        ("temperature: 0 is too low", "--temperature: 0 is too low"),
        ("cache: no space left", "cache: no space left"),  # is no argument of fit
        ("training has diverged: lower epochs: 3", "training has diverged: lower epochs: 3"),
    ],
)
def test_an_argument_is_named_as_it_is_typed(monkeypatch, capsys, said, shown):
    raising(monkeypatch, UserError(said))
    assert error_of(capsys, ["fit", "simclr", "digits"]) == f"error: {shown}\n"


def test_a_message_of_many_lines_becomes_one(monkeypatch, capsys):
    raising(monkeypatch, UserError("first\n  second"))
    assert error_of(capsys, ["fit", "pca", "digits"]) == "error: first second\n"


def test_ctrl_c_is_130(monkeypatch, capsys):
    raising(monkeypatch, KeyboardInterrupt("stopped at step 7"))
    assert main(["fit", "pca", "digits"]) == 130
    assert capsys.readouterr().err == "interrupted: stopped at step 7\n"


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch):
    raising(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["fit", "pca", "digits"])


# --- lists and help ----------------------------------------------------------------------------------------------


def test_methods_as_json_is_a_list_of_objects(capsys):
    assert main(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"pca", "kmeans", "autoencoder", "simclr"} <= {entry["name"] for entry in listed}
    assert all(set(entry) == {"name", "family", "modality", "capabilities", "paper"} for entry in listed)


def test_one_method_shows_formula_and_hyper_parameters(capsys):
    assert main(["methods", "simclr"]) == 0
    shown = capsys.readouterr().out
    assert "exp(z_i . z_j / temperature)" in shown
    assert "--temperature  float  0.5      > 0" in shown
    assert main(["methods", "simclr", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert [option["name"] for option in described["hyper_parameters"]] == ["dim", "temperature"]


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["fit", "--help"], ["data", "--help"], ["--version"]])
def test_help_succeeds(capsys, argv):
    assert main(argv) == 0
    assert capsys.readouterr().out


def test_every_verb_is_in_the_help(capsys):
    main(["--help"])
    shown = capsys.readouterr().out
    assert all(
        f" {verb} " in shown
        for verb in ("methods", "views", "data", "fit", "embed", "evaluate", "compare", "predict", "demo")
    )


# --- as a process ------------------------------------------------------------------------------------------------


def salience_process(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from salience.cli import main; sys.exit(main())", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_exit_codes_and_streams_of_a_process():
    failed = salience_process("fit", "nothing", "digits")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("error: METHOD: unknown method 'nothing'")
    listed = salience_process("methods", "--json")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert json.loads(listed.stdout)


def test_a_reader_that_goes_away_is_no_error():
    ours = f'{sys.executable} -c \'from salience.cli import main; main(["methods", "simclr"])\''
    command = f"{ours} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    assert done.stderr == ""


def ended_by(number: int, before: str = "pass") -> subprocess.CompletedProcess[str]:
    script = (
        f"import os, signal, sys; {before}; from salience import catalogue; from salience.cli import main\n"
        f"catalogue.entries = lambda: os.kill(os.getpid(), {int(number)}) or ()\n"
        "sys.exit(main(['methods']))"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted\n"),
        (signal.SIGTERM, 143, "terminated\n"),
        (signal.SIGHUP, 129, "hung up\n"),
    ],
)
def test_a_signal_ends_a_process_with_its_own_code(number, code, said):
    done = ended_by(number)
    assert (done.returncode, done.stderr) == (code, said)


def test_a_hang_up_that_nohup_ignores_ends_nothing():
    done = ended_by(signal.SIGHUP, before="signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_training_that_a_signal_stopped_says_which(monkeypatch, capsys, number, code, said):
    raising(monkeypatch, Interrupted("stopped at step 7", number=number))
    before = signal.getsignal(signal.SIGTERM)
    assert main(["fit", "pca", "digits"]) == code
    assert capsys.readouterr().err == f"{said}: stopped at step 7\n"
    assert signal.getsignal(signal.SIGTERM) is before
