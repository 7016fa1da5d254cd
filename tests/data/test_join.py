"""Several sources by name become one data set: matched by id, else row by row."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from salience.data import open_data
from salience.errors import UserError
from salience.fields.stored_items import Ragged
from salience.modalities import Spec, register, registry
from tests.modalities import toys

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 8, 8), dtype=np.uint8)
ROWS = RNG.normal(0, 1, (12, 3)).astype(np.float32)


def test_arrays_are_joined_row_by_row():
    data = open_data({"picture": IMAGES, "numbers": ROWS}, progress=False)
    batch = data.batch(np.array([3, 1]))
    assert set(batch.x) == {"picture", "numbers"}
    assert np.array_equal(batch.x["picture"][:, 0].numpy(), IMAGES[[3, 1]])
    assert np.array_equal(batch.x["numbers"].numpy(), ROWS[[3, 1]])
    assert any("joined row by row" in note for note in data.notes)


def test_labels_are_those_of_the_first_and_others_are_tasks():
    other = pd.DataFrame({"a": ROWS[:, 0], "label": np.arange(12) % 3})
    data = open_data({"picture": IMAGES, "table": other}, labels=np.arange(12) % 2, progress=False)
    batch = data.batch(np.array([5, 2]))
    assert batch.y["label"].tolist() == [1, 0]
    assert batch.y["table"].tolist() == [2, 2]
    some = data.subset(np.array([4, 5])).batch(np.array([1]))
    assert (some.y["label"].item(), some.y["table"].item()) == (1, 2)


def test_files_are_joined_by_id(tmp_path):
    for folder, names in (("a", "pqr"), ("b", "rqx")):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("L", (8, 8), ord(name)).save(tmp_path / folder / f"{name}.png")
    data = open_data({"left": tmp_path / "a", "right": tmp_path / "b"}, progress=False)
    assert list(data.ids) == ["q.png", "r.png"]
    batch = data.batch(np.arange(2))
    assert torch.equal(batch.x["left"], batch.x["right"])
    assert batch.x["left"][:, 0, 0, 0].tolist() == [ord("q"), ord("r")]
    assert "1 item of left is in no other source and left out" in data.notes


def test_no_common_item_is_refused(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / folder / f"{folder}.png")
    with pytest.raises(UserError, match=r"no item is in all sources; expected equal ids, got: x has 'a\.png'"):
        open_data({"x": tmp_path / "a", "y": tmp_path / "b"}, progress=False)


def test_unequal_lengths_and_a_single_source_are_refused():
    with pytest.raises(UserError, match=r"a has 12, b has 11"):
        open_data({"a": IMAGES, "b": ROWS[:11]}, progress=False)
    with pytest.raises(UserError, match="expected two sources or more"):
        open_data({"a": IMAGES}, progress=False)


def test_an_error_names_the_source_it_is_in(tmp_path):
    with pytest.raises(UserError, match=r"^second: "):
        open_data({"first": IMAGES, "second": tmp_path / "missing"}, progress=False)


def test_its_spec_is_kept_and_read_again():
    data = open_data({"picture": IMAGES, "numbers": ROWS}, progress=False)
    again = Spec.from_dict(data.spec.to_dict())
    assert again == data.spec
    assert again.form == data.spec.form
    new = open_data({"picture": IMAGES.astype(np.float32) / 255, "numbers": ROWS}, spec=again, progress=False)
    assert new.spec.form == data.spec.form
    assert np.array_equal(new.batch(np.arange(3)).x["picture"].numpy(), data.batch(np.arange(3)).x["picture"].numpy())


def test_the_flat_form_is_the_parts_side_by_side():
    data = open_data({"picture": IMAGES, "numbers": ROWS}, progress=False)
    kind, batch = data.spec.modality, data.batch(np.arange(5))
    flat = kind.flat(batch.x, data.spec, torch.float32)
    assert flat.shape == (5, kind.width(data.spec)) == (5, 67)
    torch.testing.assert_close(flat[:, :64], torch.from_numpy(IMAGES[:5].reshape(5, -1) / np.float32(255)))


def test_a_ragged_part_brings_its_mask():
    register(toys.WALK)
    try:
        walks = Ragged.of(np.ones((length, 2), np.float32) for length in range(1, 13))
        from salience.data.dataset import Dataset
        from salience.fields.build_options import Options
        from salience.fields.content import Found
        from salience.fields.ids import Ids

        built = toys.WALK.build(Found(walks), Options())  # type: ignore[arg-type]
        part = Dataset("walks", "train", built.spec, walks, None, (), Ids(12), built.fingerprint)
        data = open_data({"picture": IMAGES, "walk": part}, progress=False)
        batch = data.batch(np.array([0, 9]))
        assert batch.x["walk.mask"].sum(1).tolist() == [1, 10]
        assert batch.to("cpu").x["walk"].shape == (2, 12, 2)
    finally:
        del registry._added["walk"]
