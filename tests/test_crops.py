"""Windows, their maps, and the pixels that travel through them."""

import numpy as np
import pytest
import torch

import deeppose.crops
from deeppose.augment import mirror_joints, random_colour, random_windows
from deeppose.crops import (
    box_squares,
    box_windows,
    make_windows,
    reduction_for,
    sample_windows,
    to_crop,
    to_window,
)
from deeppose.pixels import RGB
from deeppose.skeletons import LSP

MEAN, STD = ([value / 255 for value in values] for values in (RGB.mean, RGB.deviation))
STRONG = {"rotation": 180.0, "scale": (0.6, 1.5), "shift": 0.2, "flip": 0.5}


def blobs(centres, size, sigma):
    """uint8 crops (B, size, size, 3), each with one Gaussian blob on black."""
    ticks = torch.arange(size, dtype=torch.float32)
    squared = (ticks[None, :, None] - centres[:, 1, None, None]) ** 2 + (ticks - centres[:, 0, None, None]) ** 2
    return (255 * torch.exp(-squared / (2 * sigma**2))).round().to(torch.uint8)[..., None].repeat(1, 1, 1, 3)


def see(crops, windows, *more):
    """Each crop's own window."""
    return sample_windows(crops, torch.arange(len(windows)), windows, *more)


def test_blob_travels_with_its_label_through_a_thousand_random_maps():
    generator = torch.Generator().manual_seed(0)
    count, crop, out = 1000, 96, 64
    windows, flipped = random_windows(*box_squares(count, crop, 1.5), generator, **STRONG)
    assert 400 < flipped.sum() < 600
    inside = to_crop(torch.rand(count, 1, 2, generator=generator) * 0.4 - 0.2, windows)[:, 0]  # crop pixels
    keep = ((inside > 15) & (inside < crop - 16)).all(1)
    assert keep.sum() > 900
    seen = see(blobs(inside, crop, 3.0), windows, out)
    black = torch.tensor([(0 - m) / s for m, s in zip(MEAN, STD)])
    beyond = see(torch.zeros(count, crop, crop, 3, dtype=torch.uint8), windows, out)
    assert torch.allclose(beyond.amin((2, 3)), black.expand(count, 3), atol=1e-5)
    light = (seen - beyond).mean(1)  # what the blob adds, (B, out, out)
    ticks = torch.arange(out, dtype=torch.float32)
    total = light.sum((1, 2))
    found = torch.stack([(light.sum(1) * ticks).sum(1), (light.sum(2) * ticks).sum(1)], 1) / total[:, None]
    expected = (to_window(inside[:, None], windows)[:, 0] + 0.5) * out - 0.5
    visible = keep & ((expected > 14) & (expected < out - 15)).all(1)
    assert visible.sum() > 500
    assert (found - expected)[visible].norm(dim=1).max() < 0.1  # output pixels


def test_maps_and_inverses_cancel():
    generator = torch.Generator().manual_seed(1)
    windows, _ = random_windows(*box_squares(200, 96, 1.5), generator, **STRONG)
    joints = torch.rand(200, 14, 2, generator=generator) * 96
    joints[3, 5] = torch.nan
    back = to_crop(to_window(joints, windows), windows)
    assert torch.allclose(back, joints, atol=1e-3, equal_nan=True)
    assert back.isnan().sum() == 2


def test_box_spans_half_to_half():
    windows = box_windows(2, 96, 1.5)
    corners = torch.tensor([[[-0.5, -0.5], [0.5, 0.5], [0.0, 0.0]]]).repeat(2, 1, 1)
    assert torch.allclose(to_crop(corners, windows)[0], torch.tensor([[15.5, 15.5], [79.5, 79.5], [47.5, 47.5]]))


def test_a_flip_is_width_minus_one_minus_x_and_twice_the_identity():
    crops = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    whole, side = torch.full((1, 2), 15.5), torch.tensor([32.0])
    straight = see(crops, make_windows(whole, side), 32)
    window = make_windows(whole, side, flipped=torch.tensor([True]))
    assert torch.allclose(see(crops, window, 32), straight.flip(3), atol=1e-4)
    joints = torch.rand(1, 14, 2) * 31
    mirrored = (to_window(joints, window) + 0.5) * 32 - 0.5
    assert torch.allclose(mirrored[..., 0], 31 - joints[..., 0], atol=1e-4)
    flipped = torch.tensor([True])
    assert torch.equal(mirror_joints(mirror_joints(joints, flipped, LSP.mirror), flipped, LSP.mirror), joints)
    assert torch.equal(mirror_joints(joints, flipped, LSP.mirror)[0, 0], joints[0, LSP.index("l_ankle")])


def test_a_quarter_turn_moves_right_to_where_it_should_be():
    window = make_windows(torch.tensor([[50.0, 50.0]]), torch.tensor([20.0]), degrees=torch.tensor([90.0]))
    # the window is turned clockwise: its own right looks down in the crop
    assert torch.allclose(to_crop(torch.tensor([[[0.5, 0.0]]]), window), torch.tensor([[[50.0, 60.0]]]), atol=1e-5)


def test_beyond_the_crop_is_the_mean_colour():
    crops = torch.full((1, 20, 20, 3), 255, dtype=torch.uint8)
    seen = see(crops, make_windows(torch.tensor([[100.0, 100.0]]), torch.tensor([20.0])), 8)
    assert torch.equal(seen, torch.zeros(1, 3, 8, 8))


def test_reduction_averages_what_a_single_sample_would_miss():
    stripes = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    windows = make_windows(torch.full((1, 2), 31.5), torch.tensor([64.0]))
    assert reduction_for(64, 16) == 4
    grey = see(stripes, windows, 16, reduction_for(64, 16)) * torch.tensor(STD)[:, None, None] \
        + torch.tensor(MEAN)[:, None, None]
    assert (grey - 0.5).abs().max() < 0.01


def sampled_in_float64(crops, row, window, size, reduction):
    """What one window shows, pixel by pixel, from the definitions. Returns (3, size, size)."""
    side = crops.shape[1] // reduction
    whole = crops[row, :side * reduction, :side * reduction].numpy().astype(np.float64)
    colours = whole.reshape(side, reduction, side, reduction, 3).mean((1, 3)) / 255
    colours = np.pad((colours - MEAN) / STD, ((1, 1), (1, 1), (0, 0)))  # 0 beyond the crop
    ticks = (np.arange(size) + 0.5) / size - 0.5
    places = np.stack([*np.meshgrid(ticks, ticks), np.ones((size, size))], -1) @ window.numpy().astype(np.float64).T
    places = (places - (reduction - 1) / 2) / reduction  # squares' centres
    first = np.floor(places).astype(int)
    seen = np.zeros((size, size, 3))
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = np.moveaxis(first, -1, 0) + np.array([dx, dy])[:, None, None]
            weight = (1 - abs(places[..., 0] - x)) * (1 - abs(places[..., 1] - y))
            seen += weight[..., None] * colours[np.clip(y + 1, 0, side + 1), np.clip(x + 1, 0, side + 1)]
    return seen.transpose(2, 0, 1)


@pytest.mark.parametrize("part", ["touched_parts", "whole_crops"])  # a CPU's way and a GPU's
@pytest.mark.parametrize("reduction", range(1, 17))
def test_windows_show_what_float64_finds_there(reduction, part, monkeypatch):
    monkeypatch.setattr(deeppose.crops, "touched_parts", getattr(deeppose.crops, part))
    generator = torch.Generator().manual_seed(reduction)
    for crop in (64, 83):
        crops = torch.randint(0, 256, (4, crop, crop, 3), dtype=torch.uint8, generator=generator)
        rows = torch.randint(0, 4, (24,), generator=generator)
        low, high = 0.2 * torch.ones(24), 0.45 * torch.ones(24)  # sides in crops: eight well within their crop,
        low[8:], high[8:] = 0.5, 1.2                             # eight across its edges or as large,
        low[16:], high[16:] = 1.5, 4.0                           # eight that see far beyond it
        sides = crop * (low + (high - low) * torch.rand(24, generator=generator))
        places = torch.rand(24, 2, generator=generator)
        centres = torch.where(torch.arange(24)[:, None] < 8, sides[:, None] / 2 + (crop - sides[:, None]) * places,
                              crop * (1.5 * places - 0.25))
        degrees = 360 * torch.rand(24, generator=generator)
        degrees[::2] = 0  # upright ones touch their edges exactly
        windows = make_windows(centres, sides, degrees, torch.rand(24, generator=generator) < 0.5)
        wanted = np.stack([sampled_in_float64(crops, row, window, 11, reduction) for row, window in zip(rows, windows)])
        together = sample_windows(crops, rows, windows, 11, reduction)
        alone = torch.cat([sample_windows(crops, rows[[i]], windows[[i]], 11, reduction) for i in range(24)])
        assert np.abs(together.numpy() - wanted).max() < 2e-4
        assert np.abs(alone.numpy() - wanted).max() < 2e-4


def test_what_a_window_may_touch_is_cut_out_and_no_more():
    crops = torch.zeros(2, 90, 90, 3, dtype=torch.uint8)
    windows = make_windows(torch.tensor([[4.0, 10.0], [9.5, 3.5]]), torch.tensor([5.0, 5.0]))  # squares of 5 pixels
    pixels, corners, within = deeppose.crops.touched_parts(crops, torch.tensor([0, 1]), windows, 5, 18)
    # 1.5 ... 6.5 and 7.5 ... 12.5: squares 1 to 7 and 7 to 13, 1 to 7
    assert pixels.shape == (2, 35, 35, 3) and corners.tolist() == [[1, 7], [7, 1]] and within
    windows[0, 0, 2] = 2.4  # from square -1 on
    assert not deeppose.crops.touched_parts(crops, torch.tensor([0, 1]), windows, 5, 18)[2]
    windows[0, 0, 2] = 15.0  # 17.5 lies beyond the last centre
    assert not deeppose.crops.touched_parts(crops, torch.tensor([0, 1]), windows, 5, 18)[2]


@pytest.mark.parametrize("part", ["touched_parts", "whole_crops"])
def test_windows_of_any_size_and_place_and_none_at_all(part, monkeypatch):
    monkeypatch.setattr(deeppose.crops, "touched_parts", getattr(deeppose.crops, part))
    crops = torch.full((3, 30, 30, 3), 255, dtype=torch.uint8)
    white = (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    centres = torch.tensor([[15.0, 15], [15, 15], [15, 15], [1e30, 15], [torch.nan, 15], [-0.5, 15], [15, 15]])
    sides = torch.tensor([10.0, 0, torch.nan, 10, 10, 0, 1e30])
    windows = make_windows(centres, sides)
    for reduction in (1, 4):
        seen = sample_windows(crops, torch.tensor([0, 1, 2, 0, 1, 2, 0]), windows, 8, reduction)
        assert torch.allclose(seen[0], white[:, None, None].expand(3, 8, 8), atol=1e-5)
        assert torch.allclose(seen[1], seen[0], atol=1e-5)  # side 0: its centre's colour, everywhere
        assert seen[[2, 4]].isnan().all()
        assert (seen[[3, 6]] == 0).all()
        assert (seen[5] == seen[5, :, :1, :1]).all()
        assert seen[[0, 1, 3, 5, 6]].isfinite().all()
    assert torch.allclose(seen[5, :, 0, 0], white * 0.5, atol=1e-5)  # squares of 4: half between the first and beyond
    assert sample_windows(crops, torch.zeros(0, dtype=torch.long), windows[:0], 8).shape == (0, 3, 8, 8)
    assert sample_windows(crops, torch.tensor([0]), windows[:1], 8, 30).isfinite().all()
    with pytest.raises(ValueError, match="crops of 30 pixels can't be reduced 31 times"):
        sample_windows(crops, torch.tensor([0]), windows[:1], 8, 31)


def test_maps_of_no_window_of_nan_and_of_side_0():
    nothing = torch.zeros(0, 14, 2), torch.zeros(0, 2, 3)
    assert to_window(*nothing).shape == to_crop(*nothing).shape == (0, 14, 2)
    windows = make_windows(torch.tensor([[5.0, 5], [5, 5], [torch.nan, 5]]), torch.tensor([10.0, 0, 10]))
    joints = torch.tensor([[[7.0, 3], [torch.nan, 3]]]).expand(3, 2, 2)
    found = to_window(joints, windows)
    assert torch.allclose(found[0, 0], torch.tensor([0.2, -0.2])) and found[0, 1, 0].isnan()
    assert not found[1].isfinite().any()
    assert found[2, :, 0].isnan().all()
    assert (to_crop(joints, windows)[1, 0] == 5).all()  # side 0: the centre, wherever in the window
    none = torch.Generator()
    squares = box_squares(0, 96, 1.5)
    assert random_windows(*squares, none, **STRONG)[0].shape == (0, 2, 3)
    assert random_colour(0, none, 0.2)[0].shape == (0, 3, 1, 1)


def test_random_windows_keep_to_their_limits_and_each_knob_matters():
    def draw(**knobs):
        return random_windows(*box_squares(500, 96, 1.5), torch.Generator().manual_seed(3), **knobs)

    plain, flipped = draw()
    assert torch.allclose(plain, box_windows(500, 96, 1.5), atol=1e-4) and not flipped.any()
    scaled, _ = draw(scale=(0.5, 2.0))
    sides = scaled[:, :, 0].norm(dim=1)
    assert 32 <= sides.min() < 36 and 120 < sides.max() <= 128.1
    shifted, _ = draw(shift=0.25)
    assert 15 < (shifted[:, :, 2] - 47.5).abs().max() <= 16
    turned, _ = draw(rotation=40.0)
    angles = torch.rad2deg(torch.atan2(turned[:, 1, 0], turned[:, 0, 0]))
    assert 38 < angles.abs().max() <= 40.001
    assert draw(flip=1.0)[1].all()
    assert torch.linalg.det(draw(flip=1.0)[0][:, :, :2]).max() < 0
