import numpy as np
import pytest
import torch

from salience.verbs.paths import brought_to, directions, lerp, log_reach, slerp

T = torch.linspace(0, 1, 5)


def codes(n=6, d=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, n, d, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("way", [lerp, slerp])
def test_ends_are_exact(way):
    a, b = codes()
    path = way(a, b, T)
    assert path.shape == (6, 5, 7)
    torch.testing.assert_close(path[:, 0], a)
    torch.testing.assert_close(path[:, -1], b)


def test_lerp_divides_the_way_evenly():
    a, b = codes()
    torch.testing.assert_close(lerp(a, b, T)[:, 1], 0.75 * a + 0.25 * b)


def test_slerp_of_unit_vectors_stays_on_the_sphere_and_turns_evenly():
    a, b = torch.nn.functional.normalize(codes(), dim=2)
    path = slerp(a, b, T)
    torch.testing.assert_close(path.norm(dim=2), torch.ones(6, 5, dtype=torch.float64))
    steps = torch.arccos((path[:, 1:] * path[:, :-1]).sum(dim=2))
    torch.testing.assert_close(steps, steps[:, :1].expand(6, 4))
    torch.testing.assert_close(steps.sum(dim=1), torch.arccos((a * b).sum(dim=1)))


def test_slerp_from_one_axis_to_another_is_a_quarter_of_a_circle():
    path = slerp(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([0.0, 1 / 3, 1.0]))
    torch.testing.assert_close(path[0, 1], torch.tensor([2 * 0.75**0.5, 1.0]))


def test_it_is_straight_where_there_is_no_one_arc():
    a = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    b = torch.tensor([[2.0, 4.0], [1.0, 2.0], [-1.0, -2.0], [3.0, 1.0]])  # along it, equal, opposite, from nowhere
    torch.testing.assert_close(slerp(a, b, T), lerp(a, b, T))


def test_a_small_angle_is_exact():
    angle = 1e-3
    a = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    b = torch.tensor([[np.cos(angle), np.sin(angle)]])
    middle = slerp(a, b, torch.tensor([0.5], dtype=torch.float64))[0, 0]
    expected = torch.tensor([np.cos(angle / 2), np.sin(angle / 2)])
    torch.testing.assert_close(middle, expected, rtol=1e-12, atol=1e-12)


def test_the_reach_is_the_distance_to_the_kth_neighbour_that_counts():
    generator = np.random.default_rng(0)
    x, real = generator.normal(size=(700, 3)), generator.normal(size=(40, 3))
    order = np.argsort(np.linalg.norm(x[:, None] - real[None], axis=2), axis=1)
    without = order[:, [0, 2]]  # the nearest and another near one do not count
    found = log_reach(x, real, without, k=4)
    for row in (0, 511, 512, 699):
        others = np.delete(real, without[row], axis=0)
        distances = np.sort(np.linalg.norm(others - x[row], axis=1))
        assert found[row] == pytest.approx(np.log(distances[3]))


def test_real_items_have_density_0_and_farther_ones_less_by_the_logarithm():
    real = np.random.default_rng(0).normal(size=(200, 2))
    own = np.arange(200)[:, None]
    reference = log_reach(real, real, own).mean()
    far = log_reach(1e6 * np.ones((1, 2)), real, own[:1])
    farther = log_reach(np.e * 1e6 * np.ones((1, 2)), real, own[:1])
    assert (reference - log_reach(real, real, own)).mean() == pytest.approx(0)
    assert (farther - far).item() == pytest.approx(1, abs=1e-4)


def test_directions_are_of_length_1_and_leave_the_length_aside():
    x, centre = np.array([[4.0, 1.0], [7.0, 5.0], [1.0, 1.0]]), np.array([1.0, 1.0])
    found = directions(x, centre)
    np.testing.assert_allclose(found, [[1, 0], [np.sqrt(0.6923076923), 4 / np.hypot(6, 4)], [0, 0]], atol=1e-9)
    np.testing.assert_allclose(directions(centre + 0.1 * (x - centre), centre), found)


def test_items_are_brought_to_one_brightness_and_contrast():
    x = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = brought_to(x, torch.tensor(0.3), torch.tensor(0.2))
    assert found.shape == x.shape
    torch.testing.assert_close(found.mean((1, 2, 3)), torch.full((5,), 0.3, dtype=torch.float64))
    torch.testing.assert_close(found.std((1, 2, 3), correction=0), torch.full((5,), 0.2, dtype=torch.float64))
    torch.testing.assert_close(brought_to(0.5 * x + 0.1, torch.tensor(0.3), torch.tensor(0.2)), found)
    flat = brought_to(torch.full((1, 1, 2, 2), 0.7), torch.tensor(0.3), torch.tensor(0.2))
    torch.testing.assert_close(flat, torch.full((1, 1, 2, 2), 0.3))
