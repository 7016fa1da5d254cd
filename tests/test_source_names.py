import pytest

from salience.data.sources import builtin
from salience.errors import UserError
from salience.source_names import BUILT_IN, require_source, with_split, without_split


def test_built_in_names_are_those_that_can_be_opened():
    assert set(BUILT_IN) == set(builtin.NAMES)


@pytest.mark.parametrize("text", ["digits", "digits:test", "cifar10", "hf://owner/name", "here", "here:val", "a:b"])
def test_what_may_be_there_is_not_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("here", "a:b"):
        (tmp_path / name).mkdir()
    require_source(text)
    with pytest.raises(UserError, match=rf"source: not-{text.partition(':')[0]}.* does not exist"):
        require_source(f"not-{text}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dgits", "source: dgits does not exist; did you mean digits?"),
        ("no/where", "source: no/where does not exist; give a path, hf://owner/name, or one of: digits, fashion-mnist"),
        ("no/where:test", "source: no/where does not exist"),
    ],
)
def test_what_cannot_be_there_is_refused(text, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        require_source(text)
    assert str(caught.value).startswith(says)


def test_a_split_is_cut_off_unless_the_whole_is_a_path(tmp_path):
    (tmp_path / "a:b").touch()
    assert without_split(f"{tmp_path}/a:b") == (f"{tmp_path}/a:b", None)
    assert without_split(f"{tmp_path}/a:c") == (f"{tmp_path}/a", "c")
    assert without_split("digits:test") == ("digits", "test")
    assert without_split("C:/data") == ("C:/data", None)


@pytest.mark.parametrize(
    ("name", "split", "shown"),
    [
        ("test", "train", "test"),  # a folder of that name
        ("digits", "train", "digits"),
        ("fashion-mnist", "test", "fashion-mnist:test"),
        ("fashion-mnist:test", "test", "fashion-mnist:test"),
        ("x.npz", None, "x.npz"),
    ],
)
def test_a_source_is_shown_as_it_is_typed(name, split, shown):
    assert with_split(name, split) == shown
