"""What is decided where the user says nothing: each rule by cases on both sides of its limits."""

from __future__ import annotations

import pytest

from salience import processors
from salience.errors import UserError
from salience.processors import Free
from salience.training import recipe
from salience.training.recipe import Choices


@pytest.mark.parametrize(
    ("rows", "world", "batch"),
    [
        (100_000, 1, 256),
        (2048, 1, 256),  # eight steps of 256
        (2040, 1, 255),
        (800, 1, 100),
        (256, 1, 32),
        (100, 1, 32),  # fewer would be too few for batch statistics
        (20, 1, 20),  # all there are
        (300, 4, 37),
        (100, 8, 12),  # each process has 12 rows
        (2, 1, 2),
    ],
)
def test_the_default_batch_gives_an_epoch_eight_steps(rows: int, world: int, batch: int) -> None:
    choices = Choices()
    assert recipe.choose_batch(choices, rows=rows, world=world, given=None) == batch
    assert choices.values["batch_size"] == batch
    assert choices.reasons["batch_size"] == ("the default" if batch == 256 else f"fits {rows} rows")


def test_a_batch_that_is_given_is_taken_where_the_data_have_it() -> None:
    assert recipe.choose_batch(Choices(), rows=96, world=1, given=96) == 96
    assert recipe.choose_batch(Choices(), rows=96, world=2, given=48) == 48
    assert recipe.choose_batch(Choices(), rows=96, world=1, given=2) == 2
    for rows, world, given, told in (
        (96, 1, 97, r"batch_size: 97 is more than the data has \(96 rows\); give at most 96"),
        (96, 2, 49, r"batch_size: 49 .*48 for each of 2 processes\); give at most 48"),
        (96, 1, 1, "batch_size: 1 is too small for batch norm; expected at least 2"),
        (3, 2, None, "source: 3 rows are too few to train on in batches; give at least 4"),
    ):
        with pytest.raises(UserError, match=told):
            recipe.choose_batch(Choices(), rows=rows, world=world, given=given)


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [(100, 200), (2500, 200), (2600, 192), (10_000, 50), (49_000, 10), (50_000, 10), (10**7, 10)],
)
def test_epochs_by_default_are_those_in_which_half_a_million_items_are_seen(rows: int, epochs: int) -> None:
    choices = Choices()
    assert recipe.choose_epochs(choices, rows=rows, given=None) == epochs
    assert choices.reasons["epochs"] == "about 500,000 items seen, within 10 to 200 epochs"
    assert recipe.choose_epochs(choices, rows=rows, given=3) == 3
    assert choices.reasons["epochs"] == "as given"


@pytest.mark.parametrize(
    ("batch", "encoder", "usual", "rate"),
    [
        (256, "convnet", None, 2e-3),
        (64, "convnet", None, 1e-3),  # a quarter of the batch, half of the rate
        (1024, "mlp", None, 4e-3),
        (256, "vit_tiny_patch16_224:pretrained", None, 5e-4),
        (256, "convnet:vit.safetensors", None, 2e-3),  # a file, and no transformer
        (64, "vit_tiny_patch16_224", None, 2.5e-4),
        (256, "vit_tiny_patch16_224", 3e-4, 3e-4),
        (64, "convnet", 3e-4, 1.5e-4),
    ],
)
def test_the_default_rate_goes_by_method_encoder_and_batch(
    batch: int, encoder: str, usual: float | None, rate: float
) -> None:
    chosen = recipe.choose_learning_rate(Choices(), batch=batch, encoder=encoder, given=None, usual=usual)
    assert chosen == pytest.approx(rate)
    assert recipe.choose_learning_rate(Choices(), batch=batch, encoder=encoder, given=0.7, usual=usual) == 0.7


def test_threads_are_those_given_else_one_for_a_tiny_net_else_a_share_of_the_free_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processors, "free_cores", lambda: Free(7, 8, 1.2))
    cases = [
        (False, 1, None, 7, "8 cores, but the machine is busy (load 1.2)"),
        (False, 2, None, 3, "8 cores, but the machine is busy (load 1.2)"),
        (False, 9, None, 1, "8 cores, but the machine is busy (load 1.2)"),
        (True, 1, None, 1, "the net is tiny"),
        (True, 1, 5, 5, "as given"),
        (False, 2, 5, 5, "as given"),
    ]
    for tiny, share, given, threads, reason in cases:
        choices = Choices()
        assert recipe.choose_threads(choices, tiny=tiny, share=share, given=given) == threads
        assert choices.reasons["threads"] == reason


def test_a_forecast_grows_with_the_work_and_falls_with_cores_and_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "cores", lambda: 4)
    assert recipe.expected_seconds(32 * 10**10, 10, precision="32-true") == pytest.approx(10 + 0.03)
    assert recipe.expected_seconds(32 * 10**10, 10, precision="32-true", world=2) == pytest.approx(20 + 0.03)
    assert recipe.expected_seconds(8 * 10**11, 10, precision="bf16-mixed") == pytest.approx(10 + 0.03)


def test_choices_are_shown_a_line_each_with_their_reason() -> None:
    choices = Choices()
    choices.decide("threads", 2, "as given")
    choices.decide("batch_size", 256, "the default")
    assert choices.lines() == [
        "  threads        2            as given",
        "  batch_size     256          the default",
    ]
