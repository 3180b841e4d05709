"""What each space keeps of a photo, gives to the generator and makes of its output."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from colorgan import color
from colorgan.color import UInt8Array
from colorgan.config import SPACES
from colorgan.spaces import Space, get_space

CHANNELS = {"rgb": (3, 3), "lab": (1, 2)}


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> Space:
    return get_space(request.param)


def batch(space: Space, photos: UInt8Array) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = zip(*(space.arrays(photo) for photo in photos), strict=True)
    return torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(targets))


def test_encoded_batches_are_channels_first_within_one(space, real_photos) -> None:
    n = len(real_photos)
    arrays = batch(space, real_photos)
    assert arrays[0].dtype == arrays[1].dtype == torch.uint8
    input, target = space.encode(*arrays)
    assert (space.in_channels, space.out_channels) == CHANNELS[space.name]
    assert input.shape == (n, space.in_channels, 64, 64)
    assert target.shape == (n, space.out_channels, 64, 64)
    for tensor in (input, target):
        assert tensor.dtype == torch.float32
        assert tensor.min() >= -1
        assert tensor.max() <= 1


def test_the_target_decodes_to_the_photo(space: Space, real_photos: UInt8Array) -> None:
    """RGB to the letter; LAB within 1.5 in Lab, because L and ab were rounded to a byte."""
    pictures = space.decode(*space.encode(*batch(space, real_photos)))
    assert pictures.shape == real_photos.shape
    assert pictures.dtype == torch.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    back = color.uint8_from_unit(pictures).numpy()
    off = np.linalg.norm(rgb2lab(back / 255.0) - rgb2lab(real_photos / 255.0), axis=-1)
    assert off.max() <= {"rgb": 0, "lab": 1.5}[space.name]


def test_the_gray_output_decodes_to_gray_of_the_same_lightness(space, real_photos) -> None:
    input = space.encode_input(batch(space, real_photos)[0])
    output = space.gray_output(input)
    assert output.shape == (len(real_photos), space.out_channels, 64, 64)
    gray = color.uint8_from_unit(space.decode(input, output)).numpy().astype(int)
    assert np.ptp(gray, axis=-1).max() <= 1
    kept = space.arrays(gray[0].astype(np.uint8))[0].astype(int)
    assert np.abs(kept - space.arrays(real_photos[0])[0]).max() <= 1


def test_lab_is_encoded_as_pix2pix_does() -> None:
    lab = get_space("lab")
    arrays = [[[0, 255]]], [[[[128, 128], [238, 18]]]]
    input, target = lab.encode(*(torch.tensor(x, dtype=torch.uint8) for x in arrays))
    assert input.tolist() == [[[[-1, 1]]]]
    assert target.tolist() == [[[[0, 1]], [[0, -1]]]]


def test_any_output_decodes_to_a_picture(space: Space) -> None:
    torch.manual_seed(0)
    input = torch.rand(2, space.in_channels, 8, 8) * 2 - 1
    output = torch.rand(2, space.out_channels, 8, 8) * 2 - 1
    for dtype in (torch.float32, torch.bfloat16):
        picture = space.decode(input, output.to(dtype))
        assert picture.dtype == torch.float32
        assert 0 <= picture.min() <= picture.max() <= 1


def test_from_ab_maps_lab_outputs_to_residuals_to_gray(space, real_photos) -> None:
    """Nearly: on pale photos the error is under a quarter of that of gray."""
    lab = color.lab_from_rgb(real_photos / np.float32(255))
    lab[..., 1:] *= 0.5
    pale = color.uint8_from_unit(color.rgb_from_lab(lab))
    input, target = space.encode(*batch(space, pale))
    ab = torch.from_numpy(lab[..., 1:]).movedim(-1, 1) / color.AB_SCALE
    added = torch.einsum("ck,nkhw->nchw", torch.from_numpy(space.from_ab()), ab)
    found = space.gray_output(input) + added
    gray_error = (space.gray_output(input) - target).abs().mean()
    assert (found - target).abs().mean() < 0.25 * gray_error


def test_a_photo_to_be_coloured_is_seen_as_in_training(space, real_photos) -> None:
    """But for the bytes that training goes through, of gray or of L."""
    input, target = batch(space, real_photos)
    encoded, wanted = space.encode(input, target)
    for photo, seen, output in zip(real_photos, encoded, wanted, strict=True):
        given = space.network_input(photo.astype(np.float32) / 255)
        assert (given.shape, given.dtype) == (tuple(seen.shape), np.float32)
        np.testing.assert_allclose(given, seen.numpy(), atol=1.1 / 255)
        ab = space.ab(output.numpy())
        truth = color.lab_from_rgb(photo.astype(np.float32) / 255)[..., 1:]
        np.testing.assert_allclose(ab, truth, atol=0.51)
