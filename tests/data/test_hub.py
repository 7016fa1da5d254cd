import io

import numpy as np
import pytest
from PIL import Image

from salience.data import open_data
from salience.errors import UserError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


def picture(value):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value,) * 3).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


@pytest.fixture
def images():
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    values = {"image": [picture(v) for v in (10, 20, 30, 40)], "label": [0, 1, 1, 0]}
    return datasets.Dataset.from_dict(values, features=features)


def test_a_dataset_of_images(images):
    for _ in range(2):
        data = open_data(images)
        assert data.x[:, 0, 0, 0].tolist() == [10, 20, 30, 40]
        assert data.classes == ("cat", "dog")
        assert data.labels.tolist() == [0, 1, 1, 0]


def test_chosen_rows_are_obeyed(images):
    data = open_data(images.select([3, 1]))
    assert data.x[:, 0, 0, 0].tolist() == [40, 20]
    assert data.labels.tolist() == [0, 1]


def test_a_dataset_of_columns():
    data = open_data(datasets.Dataset.from_dict({"a": [1.5, None], "b": ["x", "y"], "label": [7, 9]}))
    np.testing.assert_array_equal(data.x, [[1.5, 0], [np.nan, 1]])
    assert data.classes == ("7", "9")


def test_splits_of_a_dataset_dict(images):
    both = datasets.DatasetDict({"train": images.select([0, 1, 2]), "test": images.select([3])})
    assert len(open_data(both)) == 3
    assert open_data(both, split="test").x[0, 0, 0, 0] == 40
    with pytest.raises(UserError, match="no split 'val'; it has: train, test"):
        open_data(both, split="val")


def test_streams_are_refused_with_the_remedy(images):
    with pytest.raises(UserError, match=r"unsupported Hugging Face type IterableDataset; .*without streaming"):
        open_data(images.to_iterable_dataset())


@pytest.mark.parametrize("name", ["hf://mnist", "hf://", "hf://a/b/c/d"])
def test_a_malformed_name_is_refused(name):
    with pytest.raises(UserError, match="expected hf://owner/name"):
        open_data(name)


def test_what_cannot_be_reached_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(
        UserError, match=r"hf://nobody/nothing cannot be opened.*check the name and the network"
    ) as error:
        open_data("hf://nobody/nothing:test")
    assert "\n" not in str(error.value)
    assert datasets.config.HF_UPDATE_DOWNLOAD_COUNTS is False
