import torch

from salience.evaluation.lbfgs import backtrack, minimise


def quadratics(seed=0, b=4, p=12):
    """b problems 1/2 w'Aw - c'w, badly conditioned, each differently."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(b, p, p, generator=generator, dtype=torch.float64))[0]
    eigenvalues = torch.logspace(0, 3, p, dtype=torch.float64) * torch.arange(1, b + 1)[:, None]
    a = q @ torch.diag_embed(eigenvalues) @ q.mT
    c = torch.randn(b, p, generator=generator, dtype=torch.float64)

    def objective(w):
        aw = (a @ w[..., None])[..., 0]
        return (w * aw).sum(1) / 2 - (w * c).sum(1), aw - c

    return a, c, objective


def test_finds_the_minimum_of_every_problem():
    a, c, objective = quadratics()
    w = minimise(objective, torch.zeros_like(c), precondition=lambda g: g, steps=300, tolerance=1e-16)
    torch.testing.assert_close(w, torch.linalg.solve(a, c), rtol=1e-5, atol=1e-7)


def test_curvature_pairs_save_steps():
    a, c, objective = quadratics()
    best = objective(torch.linalg.solve(a, c))[0]
    missing = {}
    for memory in (1, 10):
        w = minimise(objective, torch.zeros_like(c), precondition=lambda g: g, steps=60, tolerance=0.0, memory=memory)
        missing[memory] = float((objective(w)[0] - best).max())
    assert missing[10] < missing[1] / 3


def test_an_exact_preconditioner_needs_one_step():
    a, c, objective = quadratics()
    w = minimise(
        objective, torch.zeros_like(c), precondition=lambda g: torch.linalg.solve(a, g), steps=1, tolerance=0.0
    )
    torch.testing.assert_close(w, torch.linalg.solve(a, c))


def test_a_problem_does_not_depend_on_its_company():
    _, c, objective = quadratics()
    together = minimise(objective, torch.zeros_like(c), precondition=lambda g: g, steps=300, tolerance=1e-14)

    def first_alone(w):
        value, gradient = objective(torch.cat([w, torch.zeros_like(c[1:])]))
        return value[:1], gradient[:1]

    alone = minimise(first_alone, torch.zeros_like(c[:1]), precondition=lambda g: g, steps=300, tolerance=1e-14)
    torch.testing.assert_close(together[:1], alone, rtol=1e-5, atol=1e-8)


def test_backtracking_gives_each_problem_its_own_step_and_refuses_an_ascent():
    def objective(w):  # curvatures 1 and 100
        scale = torch.tensor([[1.0], [100.0], [1.0]])
        return (scale * w.square()).sum(1) / 2, scale * w

    w = torch.ones(3, 1)
    value, gradient = objective(w)
    direction = torch.tensor([[-1.0], [-3.0], [1.0]])
    step, new_value, _ = backtrack(objective, w, value, gradient, direction)
    assert step[0] == 1
    assert 0 < step[1] < 1
    assert step[2] == 0
    assert new_value[2] == value[2]
