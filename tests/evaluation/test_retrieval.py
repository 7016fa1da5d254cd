import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from salience.evaluation import retrieval


def problem(n=150, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    return torch.randn(classes, 8, generator=generator)[labels] + torch.randn(n, 8, generator=generator), labels


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_pytorch_metric_learning(seed):
    x, labels = problem(seed=seed)
    x, labels = torch.cat([x, x[:1] + 1]), torch.cat([labels, torch.tensor([9])])  # and a class of one row
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(CosineSimilarity()),
        device=torch.device("cpu"),
    )
    expected = calculator.get_accuracy(x, labels, x, labels, ref_includes_query=True)
    found = retrieval.retrieval_metrics(x, labels)
    assert found["precision_at_1"].value == pytest.approx(expected["precision_at_1"], abs=1e-6)
    assert found["r_precision"].value == pytest.approx(expected["r_precision"], abs=1e-6)
    assert found["map_at_r"].value == pytest.approx(expected["mean_average_precision_at_r"], abs=1e-6)


def test_one_query_by_hand():
    angles = torch.tensor([0.0, 10.0, 20.0, 30.0, 90.0]).deg2rad()
    x = torch.stack([angles.cos(), angles.sin()], 1)
    values = retrieval.retrieval_values(x, torch.tensor([0, 0, 1, 0, 1]))
    # row 0 (R = 2) ranks 1, 2, 3, 4: relevant, not, relevant beyond R
    assert values["precision_at_1"][0] == 1
    assert values["r_precision"][0] == 0.5
    assert values["map_at_r"][0] == 0.5
    # row 4 (R = 1) ranks 3 first: of another class
    assert [values[name][4] for name in values] == [0, 0, 0]


def test_blocks_change_nothing(monkeypatch):
    x, labels = problem()
    whole = retrieval.retrieval_values(x, labels)
    search = retrieval.neighbours
    monkeypatch.setattr(retrieval, "neighbours", lambda *args, own: search(*args, own=own, block=7))
    for name, values in retrieval.retrieval_values(x, labels).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-12)


def test_nothing_to_retrieve_gives_nothing():
    assert retrieval.retrieval_metrics(torch.eye(3), torch.arange(3)) == {}
