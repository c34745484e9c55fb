from __future__ import annotations

import pytest

from compressor.config.data import DataSettings, validation
from compressor.errors import UsageError


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("0.485,0.456,0.406", (0.485, 0.456, 0.406)),
        (("0.485, 0.456,0.406",), (0.485, 0.456, 0.406)),
        ((0.5, 0.25), (0.5, 0.25)),
        (0.5, (0.5,)),
        ((), ()),
    ],
)
def test_numbers_are_read_as_text_or_numbers(given: object, want: tuple[float, ...]) -> None:
    assert DataSettings.parse({"mean": given}).mean == want
    assert DataSettings.parse({"std": given}).std == want


def test_changes_are_read_together_or_apart() -> None:
    for given in ("flip,crop", ("flip,crop",), ("flip", "crop"), ["flip", "crop", "flip"]):
        assert DataSettings.parse({"augment": given}).augment == ("flip", "crop")
    assert DataSettings().augment == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": "a,b"}, "mean: 'a,b' is not a list of numbers such as 0.485,0.456,0.406"),
        ({"mean": "nan"}, "mean must be a finite number, not nan"),
        ({"mean": True}, "mean: True is not a list of texts separated by commas"),
        ({"std": "0.2,0"}, "std must be above 0, not 0.0"),
        ({"augment": "flop"}, "augment: 'flop' is not an augmentation (flip, crop)"),
        ({"layout": "hwc"}, "layout does not know 'hwc'; did you mean 'nhwc'? (choose from auto, nchw, nhwc)"),
        ({"crop_padding": 0}, "crop_padding must be at least 1, not 0"),
        ({"val_share": 1}, "val_share must be below 1, not 1"),
        ({"batch_size": "many"}, "batch_size must be a whole number, not 'many'"),
    ],
)
def test_what_is_wrong_is_said(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        DataSettings.parse(values)
    assert str(caught.value) == message


def test_samples_to_judge_on_are_never_augmented() -> None:
    assert validation(DataSettings()) is None
    own = validation(DataSettings.parse({"data": "a.npz", "val_data": "b.npz", "augment": "flip", "mean": "0.5"}))
    assert own is not None
    assert (own.data, own.augment, own.mean) == ("b.npz", (), (0.5,))
