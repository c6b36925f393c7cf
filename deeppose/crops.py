"""Windows on stored crops: the maps between crop pixels and a window's frame, and the pixels that a network sees.

Frames
    crop pixels    a stored crop's pixels, x right, y down, centres at integers: S pixels span -0.5 ... S - 0.5
    window frame   0 at the window's centre, ±0.5 at its sides; may be turned, scaled and mirrored against the crop

A window is a (2, 3) matrix [A | t]: crop pixels = A @ window frame + t.
"""
import functools

import torch
import torch.nn.functional as F

MEAN = (0.485, 0.456, 0.406)  # ImageNet's mean and deviation of RGB in 0 ... 1, as torchvision's weights expect
STD = (0.229, 0.224, 0.225)


def make_windows(centres, sides, degrees=None, flipped=None):
    """Windows from their centres, sides and turns.

    centres  (B, 2) crop pixels
    sides    (B,) crop pixels
    degrees  (B,) clockwise turn of the window on the crop; None = upright
    flipped  (B,) bool, the window shows the crop mirrored left-right; None = none is
    Returns  (B, 2, 3)
    """
    radians = torch.zeros_like(sides) if degrees is None else torch.deg2rad(degrees)
    sign = torch.ones_like(sides) if flipped is None else 1 - 2 * flipped.to(sides)
    cos, sin = sides * radians.cos(), sides * radians.sin()
    return torch.stack([torch.stack([cos * sign, -sin, centres[:, 0]], 1),
                        torch.stack([sin * sign, cos, centres[:, 1]], 1)], 1)


def box_windows(count, crop_size, context, device=None):
    """The windows that a network sees at test: each crop's box, upright. Returns (count, 2, 3)."""
    centres = torch.full((count, 2), (crop_size - 1) / 2, device=device)
    return make_windows(centres, torch.full((count,), crop_size / context, device=device))


def to_crop(joints_window, windows):
    """Window frame -> crop pixels. joints_window (B, P, 2), windows (B, 2, 3); NaN stays NaN. Returns (B, P, 2)."""
    return joints_window @ windows[:, :, :2].mT + windows[:, None, :, 2]


def to_window(joints_px, windows):
    """Crop pixels -> window frame; the inverse of `to_crop`. joints_px (B, P, 2), windows (B, 2, 3)."""
    (a, b), (c, d) = windows[:, :, :2].permute(1, 2, 0)
    inverse = torch.stack([torch.stack([d, -b], 1), torch.stack([-c, a], 1)], 1) / (a * d - b * c)[:, None, None]
    return (joints_px - windows[:, None, :, 2]) @ inverse.mT


def sample_windows(crops, windows, size, oversampling=1):
    """What the network sees: each window's pixels, bilinear, normalised; 0 (the mean colour) beyond the crop.

    crops         (B, S, S, 3) uint8 RGB
    windows       (B, 2, 3)
    size          output pixels along a side
    oversampling  samples per output pixel along a side, averaged (see `oversampling_for`)
    Returns       (B, 3, size, size) float32
    """
    fine, side = size * oversampling, crops.shape[1]
    ticks = (torch.arange(fine, device=crops.device) + 0.5) / fine - 0.5
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    points = to_crop(torch.stack([x, y], -1).view(1, -1, 2), windows).view(-1, fine, fine, 2)  # crop pixels
    grid = (2 * points + 1) / side - 1  # grid_sample's frame without align_corners
    seen = F.grid_sample(crops.permute(0, 3, 1, 2).float(), grid, align_corners=False)  # (B, 3, fine, fine)
    # grid_sample fades to 0 beyond the crop, so what is subtracted must fade alike; normalising what was sampled rather
    # than whole crops touches fewer pixels
    inside = torch.minimum(points + 1, side - points).clamp(0, 1).prod(-1)[:, None]  # (B, 1, fine, fine)
    mean, deviation = _mean_and_deviation(crops.device)
    seen = torch.addcmul(seen, inside, mean, value=-1).div_(deviation)
    return F.avg_pool2d(seen, oversampling) if oversampling > 1 else seen


def oversampling_for(window_side, size):
    """Samples per output pixel along a side that keep a window of `window_side` crop pixels free of aliasing."""
    return max(1, round(window_side / size))


@functools.cache
def _mean_and_deviation(device):
    """Of each channel in 0 ... 255, (3, 1, 1); kept, since copying constants to a GPU makes it wait."""
    return tuple(255 * torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD))
