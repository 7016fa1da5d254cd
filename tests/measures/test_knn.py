import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from salience.measures.knn import knn_scores, neighbours


def rows(n, d=5, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_votes_equal_scikit_learns_with_the_same_weights():
    train, test, labels = rows(200), rows(30, seed=1), torch.arange(200) % 4
    model = KNeighborsClassifier(20, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.1))
    expected = model.fit(train.numpy(), labels.numpy()).predict_proba(test.numpy())
    found = knn_scores(train, labels, test, 4, k=20, temperature=0.1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_blocks_change_nothing_and_match_an_exhaustive_search():
    train, test = rows(100), rows(23, seed=1)
    expected = NearestNeighbors(n_neighbors=7, metric="cosine").fit(train).kneighbors(test, return_distance=False)
    for block in (1, 5, 23, 64):
        found = torch.cat([index for _, index in neighbours(test, train, 7, block=block)])
        np.testing.assert_array_equal(found.numpy(), expected)


def test_a_row_is_not_its_own_neighbour():
    x = rows(50)
    found = torch.cat([index for _, index in neighbours(x, x, 49, own=True, block=8)])
    assert not (found == torch.arange(50)[:, None]).any()
    assert (found.sort(1).values.diff(dim=1) > 0).all()


def test_every_row_can_ask_all_the_others():
    x, labels = rows(40), torch.arange(40) % 3
    found = knn_scores(x, labels, None, 3, k=5)
    for row in range(40):
        others = torch.arange(40) != row
        expected = knn_scores(x[others], labels[others], x[row : row + 1], 3, k=5)[0]
        torch.testing.assert_close(found[row], expected)
    assert knn_scores(x[:3], labels[:3], None, 3).sum(1).tolist() == [1, 1, 1]  # k is more than there are


def test_fewer_rows_than_k_all_vote():
    scores = knn_scores(torch.eye(3), torch.tensor([0, 1, 1]), torch.eye(3)[:1], 2, k=20, temperature=1.0)
    e = torch.tensor(1.0).exp()
    torch.testing.assert_close(scores, torch.stack([e / (e + 2), 2 / (e + 2)])[None])
