"""Views as a whole: roles, reproducibility, what each policy may and may not do, and plain errors."""

import dataclasses

import pytest
import torch
from scipy import stats

from salience.batch import Batch, Progress
from salience.errors import UserError
from salience.modalities import find
from salience.modalities.image.spec import ImageSpec
from salience.modalities.image.unit import unit_images
from salience.modalities.table.spec import Column, TableSpec
from salience.modalities.table.unit import unit_table
from salience.views import ANY, Views, default_policy, make_views
from salience.views import views as module

COLOUR = ImageSpec((3, 16, 16), "uint8", 0, 255)
GREY = ImageSpec((1, 12, 12), "uint8", 0, 255)
TABLE = TableSpec(
    (3,),
    "float64",
    columns=(
        Column("age", mean=40, std=10),
        Column("city", "category", ("Basel", "Bern")),
        Column("one", mean=1, std=0),
    ),
)
NAN = float("nan")
CASES = [(COLOUR, p) for p in [*find("image").policies, *ANY]] + [
    (GREY, "grey-turns"),
    (GREY, "grey"),
    (GREY, "glyphs"),
    (GREY, "medical"),
]
CASES += [(TABLE, "table"), (TABLE, "identity")]


def batch_of(spec, n=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if spec is TABLE:
        x = torch.rand(n, 3, generator=generator, dtype=torch.float64) * torch.tensor([80, 2, 2])
        x[:, 1] = x[:, 1].floor()
        x[0] = NAN
        return Batch(x, torch.arange(n))
    return Batch(torch.randint(0, 256, (n, *spec.shape), generator=generator, dtype=torch.uint8), torch.arange(n))


def take(batch, rows):
    return Batch(batch.x[rows], batch.index[rows])


@pytest.mark.parametrize(("spec", "policy"), CASES)
def test_every_policy_gives_unit_scale_floats_of_the_same_shape(spec, policy):
    batch = batch_of(spec)
    views = make_views(policy, spec, {"global": 2, "clean": 1})
    drawn = views(batch, Progress())
    assert {role: len(of) for role, of in drawn.items()} == {"global": 2, "clean": 1}
    for view in [*drawn["global"], *drawn["clean"]]:
        assert view.x.dtype == torch.float32
        assert view.x.shape == views.unit(batch.x).shape
        assert torch.isfinite(view.x).all()
        assert torch.equal(view.index, batch.index)
        assert spec is TABLE or (view.x.min() >= -1e-6 and view.x.max() <= 1 + 1e-6)
    assert torch.equal(drawn["clean"][0].x, views.unit(batch.x))


@pytest.mark.parametrize("spec", [COLOUR, TABLE])
def test_one_view_alone_is_the_one_a_call_gives(spec):
    batch, at, views = batch_of(spec), Progress(epoch=1, seed=5), make_views(None, spec, {"global": 2, "clean": 1})
    drawn = views(batch, at)
    for role, number in (("global", 0), ("global", 1), ("clean", 0)):
        alone = views.one(batch, at, role, number)
        assert torch.equal(alone.x, drawn[role][number].x)
        assert torch.equal(alone.index, batch.index)


@pytest.mark.parametrize(("spec", "policy"), CASES)
def test_a_view_depends_on_its_row_and_not_on_its_batch(spec, policy):
    batch, at = batch_of(spec), Progress(epoch=3, seed=7)
    views = make_views(policy, spec)
    whole = views(batch, at)["global"]
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(0))
    for number in range(2):
        shuffled = views(take(batch, order), at)["global"][number].x
        torch.testing.assert_close(shuffled, whole[number].x[order], atol=1e-6, rtol=0)
        alone = torch.cat([views(take(batch, slice(i, i + 1)), at)["global"][number].x for i in range(len(batch))])
        torch.testing.assert_close(alone, whole[number].x, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("spec", "policy"), [case for case in CASES if case[1] != "identity"])
def test_rows_draws_epochs_and_seeds_draw_differently_and_nothing_else_does(spec, policy):
    one = batch_of(spec, 3)
    batch = Batch(one.x[1:2].repeat(8, *[1] * (one.x.dim() - 1)), torch.arange(8))  # the same item in eight rows
    views = make_views(policy, spec)

    def draw(**at):
        return [view.x for view in views(batch, Progress(**at))["global"]]

    first, second = draw()
    assert len(first.flatten(1).unique(dim=0)) == 8
    for other in (second, draw(epoch=1)[0], draw(seed=1)[0]):
        assert not (first.flatten(1) == other.flatten(1)).all(1).any()
    assert torch.equal(first, draw(step=5, total=9, rank=1, world=2)[0])


def test_large_batches_are_drawn_in_parts_with_the_same_result(monkeypatch):
    batch = batch_of(COLOUR, 23)
    views = make_views("natural", COLOUR)
    whole = views(batch, Progress())["global"][1].x
    monkeypatch.setattr(module, "_PART", 5 * 3 * 16 * 16)  # four at a time, three at last
    torch.testing.assert_close(views(batch, Progress())["global"][1].x, whole, atol=1e-6, rtol=0)


def test_random_state_of_torch_is_neither_used_nor_changed():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = make_views("natural", COLOUR)(batch_of(COLOUR), Progress())["global"][0].x
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(make_views("natural", COLOUR)(batch_of(COLOUR), Progress())["global"][0].x, first)


def test_natural_flips_half_and_glyphs_and_scans_none():
    ramp = torch.arange(16).repeat(16, 1).mul(16).to(torch.uint8)  # dark left, light right
    batch = Batch(ramp.expand(2000, 1, 16, 16), torch.arange(2000))
    spec = dataclasses.replace(GREY, shape=(1, 16, 16))

    def rising(policy):
        x = make_views(policy, spec)(batch, Progress())["global"][0].x
        return x[:, 0, 4:12, 4:8].mean((1, 2)) < x[:, 0, 4:12, 8:12].mean((1, 2))

    assert stats.binomtest(int(rising("grey").sum()), 2000).pvalue > 1e-4
    assert rising("glyphs").all()
    assert rising("medical").all()


@pytest.mark.parametrize("name", ["natural", "grey", "crops"])
def test_the_variants_never_flip_and_lay_a_square_in_all_eight_ways(name):
    """One corner of the image is light: a flip or a turn moves it."""
    n = 1600
    picture = torch.zeros(16, 16)
    picture[:8, :4] = 200  # twice as high as wide, so that a turn is told from a flip
    batch = Batch(picture.to(torch.uint8).expand(n, 3, 16, 16), torch.arange(n))
    flipped, plain, laid = (
        make_views(name + variant, COLOUR)(batch, Progress())["global"][0].x.mean(1)
        for variant in ("", "-noflip", "-turns")
    )

    def same(x, way):
        return (x - way).abs().amax((1, 2)) < 1e-5

    assert (same(flipped, plain) | same(flipped, plain.flip(-1))).all()
    telling = ~same(plain, plain.flip(-1))
    kept = same(flipped, plain)[telling]
    assert stats.binomtest(int(kept.sum()), len(kept)).pvalue > 1e-4
    eight = [turn for x in (plain, plain.flip(-1)) for turn in (x.rot90(k, (-2, -1)) for k in range(4))]
    laid_as = torch.stack([same(laid, way) for way in eight])  # [8 n]
    assert laid_as.any(0).all()
    telling = laid_as.sum(0) == 1  # all eight differ
    assert telling.sum() > 400
    counts = laid_as[:, telling].sum(1)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_a_part_is_turned_like_the_whole():
    batch = batch_of(COLOUR, 64)
    views, plain = (make_views(p, COLOUR, {"local": 1}, local_side=8) for p in ("crops-turns", "crops-noflip"))
    x, upright = (v(batch, Progress())["local"][0].x for v in (views, plain))
    assert x.shape == upright.shape == (64, 3, 8, 8)
    same = [(x == way).flatten(1).all(1) for y in (upright, upright.flip(-1)) for way in [y, y.flip(-2), y.mT]]
    assert all(found.any() for found in same)


def test_what_a_method_compares_follows_the_variant_of_the_data():
    for suited, expected in [(None, "crops"), ("natural-noflip", "crops-noflip"), ("natural-turns", "crops-turns")]:
        assert find("image").policy_variant("crops", dataclasses.replace(COLOUR, views=suited)) == expected
    assert find("image").policy_variant("crops", dataclasses.replace(COLOUR, views="glyphs")) == "crops"
    assert find("image").policy_variant("medical", dataclasses.replace(COLOUR, views="natural-noflip")) == "medical"


def test_a_table_hides_whole_columns_as_often_as_said_and_leaves_categories_exact():
    n = 20_000
    batch = Batch(torch.tensor([[60.0, 1, 1]]).repeat(n, 1), torch.arange(n))
    x = make_views("table", TABLE)(batch, Progress())["global"][0].x  # [n 4]: age, Basel, Bern, one
    hidden = x == 0
    assert stats.binomtest(int(hidden[:, 0].sum()), n, 0.3).pvalue > 1e-4
    assert stats.binomtest(int(hidden[:, 2].sum()), n, 0.3).pvalue > 1e-4
    assert set(x[:, 1].unique().tolist()) == {0}
    assert set(x[:, 2].unique().tolist()) == {0, 1}
    both = int((hidden[:, 0] & hidden[:, 2]).sum())
    assert stats.binomtest(both, n, 0.09).pvalue > 1e-4  # columns are hidden independently
    seen = x[~hidden[:, 0], 0].double()
    assert stats.kstest(seen.numpy(), stats.norm(2, 0.1).cdf).pvalue > 1e-4


def test_a_table_hides_both_values_of_a_two_valued_category_together():
    spec = TableSpec((2,), "float32", columns=(Column("a", "category", ("x", "y", "z")), Column("b")))
    batch = Batch(torch.tensor([[2.0, 0.0]]).repeat(500, 1), torch.arange(500))
    x = make_views("table", spec)(batch, Progress())["global"][0].x
    assert {tuple(row) for row in x[:, :3].tolist()} == {(0, 0, 0), (0, 0, 1)}


def test_unit_images():
    x = torch.tensor([0, 1, 255], dtype=torch.uint8).reshape(3, 1, 1, 1)
    torch.testing.assert_close(unit_images(x, GREY).flatten(), torch.tensor([0, 1 / 255, 1]))
    deep = dataclasses.replace(GREY, dtype="uint16", high=65535)
    x = torch.tensor([0, 40_000, 65_535], dtype=torch.uint16).reshape(3, 1, 1, 1)
    torch.testing.assert_close(unit_images(x, deep).flatten(), torch.tensor([0, 40_000 / 65_535, 1]))
    signed = dataclasses.replace(GREY, dtype="float32", low=-1, high=3)
    x = torch.tensor([-1.0, 0, 3]).reshape(3, 1, 1, 1)
    torch.testing.assert_close(unit_images(x, signed).flatten(), torch.tensor([0, 0.25, 1]))


def test_unit_table():
    x = torch.tensor([[50, 0, 1], [NAN, 1, 3], [40, NAN, NAN], [40, 7, 1]], dtype=torch.float64)
    expected = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(unit_table(x, TABLE), expected.float())
    precise = unit_table(torch.tensor([[40 + 1e-9, 0, 1]], dtype=torch.float64), TABLE, torch.float64)
    assert precise[0, 0].item() == pytest.approx(1e-10, rel=1e-4)


def test_the_default_policy_suits_the_data_and_says_why():
    for spec, name in [
        (COLOUR, "natural"),
        (GREY, "grey"),
        (dataclasses.replace(GREY, views="glyphs"), "glyphs"),
        (TABLE, "table"),
        (dataclasses.replace(COLOUR, shape=(2, 8, 8)), "grey"),
    ]:
        policy, reason = default_policy(spec)
        assert policy == name
        assert reason
        assert make_views(None, spec).policy == name


def test_every_policy_is_described():
    for kind in (find("image"), find("table")):
        assert all(callable(kind.policy(name)) for name in kind.policies)


@pytest.mark.parametrize(
    ("policy", "spec", "says"),
    [
        ("natrual", COLOUR, "did you mean 'natural'"),
        ("x", COLOUR, "the policies are natural, grey"),
        ("table", COLOUR, "use 'natural'"),
        ("glyphs", TABLE, "use 'table'"),
        ("natural", GREY, "use 'grey'"),
        ("natural-noflip", GREY, "use 'grey-noflip'"),
    ],
)
def test_a_policy_that_is_unknown_or_does_not_fit_is_refused_in_one_line(policy, spec, says):
    with pytest.raises(UserError, match=says) as caught:
        Views(policy, spec)
    assert repr(policy) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "policy"), [(COLOUR, "natural"), (GREY, "glyphs"), (GREY, "medical"), (TABLE, "table")]
)
def test_a_draw_compiles_whole_and_a_new_epoch_compiles_nothing(spec, policy):
    """The tracing half of compilation, which breaks or recompiles; the other half needs a C++ compiler."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    views, plain = make_views(policy, spec), make_views(policy, spec)
    views.draw.compile(backend=backend, fullgraph=True, dynamic=False)
    batch = batch_of(spec, 4)
    for epoch in range(3):
        ours, expected = (v(batch, Progress(epoch=epoch, step=epoch))["global"] for v in (views, plain))
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a.x, b.x)
    assert len(graphs) == 1


@pytest.mark.parametrize(("spec", "policy"), CASES)
def test_local_views_are_small_parts_of_their_own_side(spec, policy):
    batch, at = batch_of(spec), Progress(seed=1)
    views = make_views(policy, spec, {"global": 2, "local": 3}, local_side=8)
    drawn = views(batch, at)
    assert [len(drawn[role]) for role in ("global", "local")] == [2, 3]
    for view in drawn["local"]:
        if spec is not TABLE and policy != "identity":
            assert view.x.shape == (len(batch), spec.channels, 8, 8)
        else:
            assert view.x.shape == views.unit(batch.x).shape
    plain = make_views(policy, spec, {"global": 2})(batch, at)["global"]
    assert all(torch.equal(one.x, other.x) for one, other in zip(drawn["global"], plain, strict=True))


def test_local_crops_show_a_tenth_to_four_tenths_of_the_image():
    ramp = torch.arange(64).float().div(64).expand(1, 64, 64)  # brightness says how far to the right
    spec = ImageSpec((3, 64, 64), "float32", 0, 1)
    batch = Batch(ramp.expand(200, 3, 64, 64).contiguous(), torch.arange(200))
    views = make_views("crops", spec, {"local": 1}, local_side=32)
    x = views(batch, Progress())["local"][0].x
    seen = (x[:, 0, 0, 31] - x[:, 0, 0, 0]).abs() * 32 / 31  # share of the width
    assert seen.min() > 0.25
    assert seen.max() < 0.75
    assert 0.4 < seen.mean() < 0.6  # sqrt of 0.25 is 0.5
