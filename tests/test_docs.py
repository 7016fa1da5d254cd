"""What the documents say can be typed."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import salience
from salience.cli.verbs import make_app
from salience.config import OPTIONS
from salience.verbs import table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "console" for line in block.splitlines() if line]
PYTHON = [block for kind, block in BLOCKS if kind == "python"]
LINKS = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
TERMS = [
    "baseline",
    "representation",
    "embedding",
    "encoder",
    "head",
    "linear probe",
    "kNN",
    "collapse",
    "checkpoint",
    "resume",
    "seed",
    "epoch",
    "batch",
    "learning rate schedule",
    "confidence interval",
    "validation set",
    "held-out",
    "near-duplicate",
    "outlier",
    "cluster",
    "label",
    "class",
    "item",
    "view",
    "policy",
    "unit scale",
    "modality",
]
TARGETS = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("command", [line for line in COMMANDS if "--config" not in line])
def test_a_command_of_the_readme_parses(command):
    program, *argv = shlex.split(command)
    assert program == "salience"
    make_app(argv).parse_args(argv, exit_on_error=False, print_error=False)


def test_the_readme_shows_commands_and_python():
    assert len(COMMANDS) >= 5
    assert PYTHON


@pytest.mark.parametrize("block", PYTHON)
def test_python_of_the_readme_uses_public_names(block):
    used = {
        node.attr
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "salience"
    }
    assert used
    assert used <= set(salience.__all__)


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON)
def test_python_of_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = re.sub(r"epochs=\d+", "epochs=1", block)
    assert short != block
    exec(compile(short, "README.md", "exec"), {})


def test_every_verb_has_its_line_in_the_readme():
    listed = re.findall(r"^\| `salience ([\w-]+)", README, flags=re.MULTILINE)
    assert tuple(listed) == table.names()


def test_the_reference_is_what_the_code_declares():
    done = subprocess.run(
        [sys.executable, "docs/make_reference.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_reference_lists_every_option_of_fit_and_every_verb():
    options = (ROOT / "docs" / "reference" / "fit.md").read_text()
    for name, option in OPTIONS.items():
        assert f"| `--{name.replace('_', '-')}` | `{name}` |" in options
        assert option.meaning.replace("|", "\\|") in options
        assert all(f"`{choice}`" in options for choice in option.choices)
    commands = (ROOT / "docs" / "reference" / "commands.md").read_text()
    assert re.findall(r"^## (.*)$", commands, flags=re.MULTILINE) == list(table.names())


@pytest.mark.parametrize("link", LINKS)
def test_a_local_link_of_the_readme_leads_to_a_file(link):
    assert (ROOT / link).is_file()


def test_the_readme_links_the_glossary_which_defines_the_standard_terms():
    assert "docs/reference/glossary.md" in LINKS
    rows = re.findall(
        r"^\| \*\*(.+?)\*\* \| (.+) \|$", (ROOT / "docs/reference/glossary.md").read_text(), flags=re.MULTILINE
    )
    defined = {term: meaning for names, meaning in rows for term in names.split(", ")}
    assert [term for term in TERMS if not defined.get(term, "").endswith(".")] == []


def test_every_make_command_is_a_target():
    named = set(re.findall(r"\bmake (\w+)(?=`|\s+#)", README))
    assert named >= {"demo", "test"}
    assert named <= set(TARGETS)


def test_the_changelog_has_the_version_of_the_package():
    assert f"## {salience.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def run_module(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)


def test_every_figure_in_the_documents_is_a_stored_result():
    done = run_module("benchmarks.render.readme", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_doctors_figures_are_todays_judgement_of_the_stored_runs():
    done = run_module("benchmarks.cells.doctor", "--check")
    remedy = "run python -m benchmarks.cells.doctor --report, then python -m benchmarks.render.readme"
    assert done.returncode == 0, f"{remedy}\n{done.stderr}"


ARCHITECTURE = ROOT / "docs" / "explanation" / "architecture.md"


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`([\w/]+(?:\.py|/))(?::[^`]*)?`", ARCHITECTURE.read_text()))))
def test_a_file_that_the_architecture_page_names_is_there(named):
    places = [ROOT / "src/salience" / named, ROOT / named, *(ROOT / "src/salience").glob(f"**/{named}")]
    assert any(place.exists() for place in places)


def test_the_architecture_page_names_the_layers_in_their_order():
    from tests.test_imports import LAYER

    rows = [
        re.findall(r"`([\w]+)(?:\.py|/)`", line.split("|")[1])
        for line in ARCHITECTURE.read_text().splitlines()
        if line.startswith("| `")
    ]
    layers = [max(LAYER[part] for part in parts) for parts in rows]
    assert layers == sorted(layers)


def test_links_between_documents_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
