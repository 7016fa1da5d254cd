"""The architecture as the import statements have it, read without running them."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import salience

SOURCE = Path(salience.__file__).parent
LAYERS = (
    (
        "errors",
        "units",
        "batch",
        "distributed",
        "files",
        "locks",
        "untrusted",
        "allocator",
        "processors",
        "worker_process",
    ),
    ("warning_signs", "source_values", "origins"),
    ("option", "source_names", "store_names", "reading", "csv_text", "label_files", "drawing", "progress"),
    ("views",),
    ("nets",),
    ("heads",),
    ("fields",),
    ("modalities",),
    ("data", "catalogue", "class_entries"),
    ("methods",),
    ("losses",),
    (
        "run_records",
        "config",
        "own_code",
        "run_metrics",
        "spec_files",
        "run",
        "run_weights",
        "run_data",
        "representation",
    ),
    ("store", "measures"),
    ("health",),
    ("evaluation",),
    ("training",),
    ("verbs",),
    ("explorer",),
    ("sklearn",),
    ("cli", "__main__"),
)
LAYER = {part: number for number, parts in enumerate(LAYERS) for part in parts}
HEAVY = ("torch", "numpy", "pandas", "lightning", "sklearn", "matplotlib")


def imported(path: Path) -> set[str]:
    """The parts of salience that a file imports, wherever in it, except under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            deep = node.module == "salience"
            modules |= {f"salience.{name.name}" for name in node.names} if deep else {str(node.module)}
    return {module.split(".")[1] for module in modules if module.startswith("salience.")}


FILES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem != "__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_only_to_earlier_parts(path):
    part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert part in LAYER, f"{part} has no place in the order of the parts"
    later = {other for other in imported(path) if LAYER[other] > LAYER[part]}
    assert not later, f"{part} comes before {', '.join(later)}"


def test_the_reader_of_imports_sees_every_form(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "import salience.cli\ndef f():\n    from salience import verbs\n    from salience.data.open import x\n"
    )
    assert imported(path) == {"cli", "verbs", "data"}


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def loaded_by(code: str) -> set[str]:
    return {name.partition(".")[0] for name in modules_after(code)}


@pytest.mark.parametrize(
    "code",
    [
        "import salience; salience.UserError; dir(salience)",
        "import salience.cli.verbs, salience.cli.messages",
        "from salience import catalogue; catalogue.entries()",
        "from salience.cli import main; main(['methods', '--json'])",
        "from salience.cli import main; main(['fit', 'simclr', '--help'])",
        "from salience.cli import main; main(['fit', 'nothing'])",
        "from salience.cli import main; main(['fit', 'simclr', 'no/such/folder'])",
        "from salience.cli import main; main(['fit', 'simclr', 'digits', '--out', '.'])",
        "from salience.cli import main; main(['fit', 'simclr', 'digits', '--init', 'nowhere'])",
        "from salience.cli import main; main(['fit', '--resume', 'nowhere'])",
        "from salience.cli import main; main(['embed', 'nowhere', 'digits', '--out', 'x.parquet'])",
        "from salience.cli import main; main(['evaluate', 'nowhere', '--on', 'digits'])",
        "from salience.cli import main; main(['evaluate', 'nowhere'])",
        "from salience.cli import main; main(['reconstruct', 'nowhere'])",
        "from salience.cli import main; main(['reconstruct', '--help'])",
        "from salience.cli import main; main(['--help'])",
        "from salience.cli import main; main(['compare', 'nowhere', 'nowhere'])",
        "from salience.cli import main; main(['data', 'digits', 'no/such/file.csv'])",
        "from salience.cli import main; main(['search', 'nowhere.lance', 'x'])",
        "from salience.cli import main; main(['cluster', '.'])",
        "from salience.cli import main; main(['duplicates', 'qdrant://host/items'])",
        "from salience.cli import main; main(['anomalies', 'nowhere.lance'])",
        "from salience.cli import main; main(['views', 'simclr', 'digits', '--out', '.'])",
    ],
)
def test_help_and_lists_load_nothing_heavy(code):
    assert not loaded_by(code) & set(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "from salience.losses import nt_xent",
        "from salience.heads import head",
        "from salience.methods.contrastive.simclr import SimCLR",
        "from salience.methods.contrastive.byol import BYOL",
        "from salience.methods.generative.dfcvae import DFCVAE",
        "from salience.methods.generative.gan import GAN",
        "from salience.methods.boltzmann.dbn import DBN",
        "from salience.methods import ClosedForm, Context, Method",
    ],
)
def test_building_blocks_load_neither_lightning_nor_the_list_of_methods(code):
    loaded = modules_after(code)
    assert {"torch", code.split()[1]} <= loaded
    unwanted = {"lightning", "torchmetrics", "torchvision", "timm", "sklearn", "pandas", "scipy"}
    assert not loaded & {*unwanted, "torch._dynamo", "salience.catalogue"}


def test_a_type_checker_sees_the_public_names():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    named = {one.asname for node in checked.body if isinstance(node, ast.ImportFrom) for one in node.names}
    assert named == set(salience.PUBLIC)


def test_every_public_name_exists():
    missing = [name for name in salience.__all__ if getattr(salience, name, None) is None]
    assert not missing


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'typo'"):
        salience.typo  # noqa: B018


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert salience.__version__ == version("salience")


@pytest.mark.parametrize("name", sorted(salience.PUBLIC))
def test_what_is_public_is_what_its_module_has_under_that_name(name):
    assert name in salience.__all__
    found = getattr(salience, name)
    assert found is getattr(import_module(salience.PUBLIC[name]), name)
    assert found.__name__ == name


KINDS_OF_DATA = sorted(path.name for path in (SOURCE / "modalities").iterdir() if (path / "spec.py").exists())
TELLING = [name for name in KINDS_OF_DATA if name != "text"]  # which is an ordinary word, as of a search


def compared(node: ast.AST) -> list[ast.AST]:
    """What a comparison, a lookup or a collection holds."""
    match node:
        case ast.Compare():
            return [node.left, *node.comparators]
        case ast.Dict():
            return [key for key in node.keys if key is not None]
        case ast.Set() | ast.Tuple() | ast.List():
            return list(node.elts)
        case ast.Subscript():
            return [node.slice]
        case ast.MatchValue():
            return [node.value]
    return []


def told_apart(path: Path) -> list[str]:
    """Where a file tells kinds of data apart by their names, or looks into their specs by class."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = [one for one in compared(node) if isinstance(one, ast.Constant) and one.value in TELLING]
        found += [f"line {one.lineno}: {one.value!r}" for one in names]
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            specs = [name for name in ("ImageSpec", "TableSpec", "TextSpec") if name in ast.unparse(node.args[1])]
            found += [f"line {node.lineno}: isinstance of {name}" for name in specs]
    return found


def test_the_names_of_kinds_of_data_are_found():
    assert KINDS_OF_DATA == ["audio", "image", "joined", "series", "table", "text"]


@pytest.mark.parametrize(
    "path", [path for path in FILES if "modalities" not in path.parts], ids=lambda path: str(path.relative_to(SOURCE))
)
def test_no_other_part_tells_kinds_of_data_apart(path):
    assert not told_apart(path)


def test_telling_kinds_of_data_apart_is_noticed(tmp_path):
    path = tmp_path / "module.py"
    for line in ("spec.modality.name == 'image'", "x in ('table', 'y')", "{'image': 1}[x]", "isinstance(x, ImageSpec)"):
        path.write_text(line)
        assert told_apart(path)


def modules_imported(path: Path) -> set[Path]:
    """The files of salience that a file imports, wherever in it, except under TYPE_CHECKING; no package's __init__."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    names = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{name.name}" for name in node.names)}
    places = [SOURCE.parent / f"{name.replace('.', '/')}.py" for name in names if name.startswith("salience.")]
    return {place for place in places if place.is_file()}


def circles() -> list[str]:
    """Files of which each imports the next, directly or by others, and so itself."""
    graph = {path: modules_imported(path) for path in FILES}
    reached = {path: set(known) for path, known in graph.items()}
    while True:
        grown = {path: known.union(*(reached.get(other, ()) for other in known)) for path, known in reached.items()}
        if grown == reached:
            return sorted(str(path.relative_to(SOURCE)) for path in graph if path in reached[path])
        reached = grown


def test_no_two_files_import_each_other():
    assert not circles()


def test_a_circle_is_noticed(monkeypatch, tmp_path):
    package = tmp_path / "salience"
    package.mkdir()
    for name, other in {"a": "b", "b": "c", "c": "a", "d": "a"}.items():
        (package / f"{name}.py").write_text(f"def f():\n    from salience.{other} import x\n")
    monkeypatch.setitem(globals(), "SOURCE", package)
    monkeypatch.setitem(globals(), "FILES", sorted(package.glob("*.py")))
    assert circles() == ["a.py", "b.py", "c.py"]
