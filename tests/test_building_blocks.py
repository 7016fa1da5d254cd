"""The public building blocks: light to import, pure, typed, and enough for a training of one's own."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import salience
from salience import losses, views
from salience.errors import UserError

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "how-to" / "simclr-in-plain-pytorch.md").read_text()
MISSPELT = """
from salience.methods.contrastive.simclr import SimCLR
from salience.nets import Encoder
from salience.views import Views

def make(encoder: Encoder, views: Views) -> SimCLR:
    return SimCLR(encoder, views, {option}=0.5)
"""


def test_importing_the_losses_loads_little_beside_torch() -> None:
    """The time of the import cannot be tested on a busy machine; what it loads can."""
    script = "import sys, torch; before = set(sys.modules); import salience.losses; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "salience" in loaded
    assert loaded <= {"salience", "annotated_types", "torch", "__future__", "difflib", "yaml", *sys.stdlib_module_names}
    assert len([name for name in done.stdout.split() if name.startswith("torch.")]) < 20


def codes(seed: int = 0, *shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (6, 4)), generator=torch.Generator().manual_seed(seed))


A, B, POSITIVE = codes(0), codes(1), codes(2).abs() + 0.1
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "barlow_twins_loss": ((A, B), {"redundancy": 0.01}),
    "bernoulli_loss": ((A, B.sigmoid()), {}),
    "byol_loss": ((A, B), {}),
    "cmc_loss": ((A, B), {"temperature": 0.5}),
    "contraction": ((A, None), {"encode": torch.tanh}),
    "dino_loss": (
        (codes(6, 3, 6, 4), codes(7, 2, 6, 4), torch.zeros(4)),
        {"student_temperature": 0.1, "teacher_temperature": 0.05},
    ),
    "discriminator_loss": ((A[:, 0], B[:, 0]), {}),
    "gaussian_loss": ((A, B, torch.tensor(0.3)), {}),
    "generator_loss": ((A[:, 0],), {}),
    "iwae_bound": ((A,), {}),
    "kl_divergence": ((A, B), {}),
    "kl_penalty": ((B.sigmoid().mean(0),), {"sparsity": 0.05}),
    "l1_penalty": ((A,), {}),
    "moco_loss": ((A, B, codes(3, 8, 4)), {"temperature": 0.2}),
    "nt_xent": ((A, B), {"temperature": 0.5}),
    "reconstruction_error": ((A, B), {}),
    "simsiam_loss": ((A, B), {}),
    "supcon_loss": ((A, B, torch.tensor([0, 0, 1, 1, 2, -1])), {"temperature": 0.1}),
    "swav_loss": ((codes(4, 2, 6, 4), codes(5, 2, 0, 4)), {"temperature": 0.1, "epsilon": 0.05, "iterations": 3}),
    "vicreg_loss": ((A, B), {}),
}


def copied(value: Any) -> Any:
    if isinstance(value, list):
        return [copied(one) for one in value]
    return value.clone() if isinstance(value, torch.Tensor) else value


def tensors(value: Any) -> list[torch.Tensor]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    return [one for part in parts for one in ([part] if isinstance(part, torch.Tensor) else [])]


@pytest.mark.parametrize("name", losses.__all__)
def test_a_loss_is_a_pure_function_of_its_arguments(name: str) -> None:
    args, options = CALLS[name]
    before, state = copied(list(args)), torch.get_rng_state()
    first = tensors(getattr(losses, name)(*args, **options))
    again = tensors(getattr(losses, name)(*args, **options))
    assert first
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(tensors(list(args)), tensors(before), strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", views.OF_IMAGES)
def test_a_view_of_plain_tensors_depends_on_seed_epoch_and_row_alone(name: str) -> None:
    draw = getattr(views, name)
    x = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([7, 3, 11, 2, 5])
    whole = draw(x, seed=0, rows=rows)
    assert whole.shape == x.shape
    torch.testing.assert_close(draw(x[1:3], seed=0, rows=rows[1:3]), whole[1:3], rtol=0, atol=1e-6)
    for other in (draw(x, seed=1, rows=rows), draw(x, seed=0, epoch=1, rows=rows), draw(x, seed=0, rows=rows + 1)):
        assert all(not torch.allclose(one, two, atol=1e-3) for one, two in zip(whole, other, strict=True))


def test_a_view_takes_stored_pixels_and_says_what_it_does_not_take() -> None:
    x = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(views.crops(x, seed=0), views.crops(x.float() / 255, seed=0))
    mirrored = views.crops(x[..., :1].expand(-1, -1, -1, 8), seed=0)  # equal columns: a flip changes nothing
    assert mirrored.min() >= 0
    with pytest.raises(UserError, match="natural"):
        views.natural(x[:, :1], seed=0)
    with pytest.raises(UserError, match="square"):
        views.crops(x[..., :4], seed=0)
    with pytest.raises(UserError, match="int64"):
        views.crops(x.long(), seed=0)


def test_views_without_flips_never_flip() -> None:
    ramp = torch.linspace(0, 1, 16).expand(64, 1, 16, 16).contiguous()
    rising = {flip: (views.crops(ramp, seed=0, flip=flip).diff(dim=-1).sum((1, 2, 3)) > 0) for flip in (True, False)}
    assert rising[False].all()
    assert 16 < int(rising[True].sum()) < 48


def test_the_plain_loop_of_the_page_learns() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    short = block.replace("range(10)", "range(2)")
    assert short != block
    names: dict[str, Any] = {}
    exec(compile(short, "simclr-in-plain-pytorch.md", "exec"), names)
    assert names["codes"].shape == (1797, 1024)
    assert (
        float(names["loss"].detach()) < math.log(2 * len(names["rows"]) - 1) - 0.3
    )  # the loss of codes that are all alike


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(salience.__file__).parent / "py.typed").exists()
    assert '"py.typed"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.slow
def test_a_type_checker_catches_a_misspelt_option(tmp_path: Path) -> None:
    said = {}
    for option in ("temprature", "temperature"):
        path = tmp_path / f"{option}.py"
        path.write_text(MISSPELT.format(option=option))
        options = ("--follow-imports=silent", "--cache-dir", str(tmp_path / "cache"))
        done = subprocess.run(
            [sys.executable, "-m", "mypy", *options, str(path)],
            capture_output=True, text=True, env=os.environ | {"MYPYPATH": str(Path(salience.__file__).parents[1])},
            cwd=tmp_path,
        )  # fmt: skip
        said[option] = done.returncode, done.stdout
    assert said["temperature"][0] == 0, said["temperature"][1]
    assert said["temprature"][0] == 1
    assert 'argument "temprature"' in said["temprature"][1]
