"""Windows on stored crops: the maps between crop pixels and a window's frame, and the pixels that a network sees.

Frames
    crop pixels    a stored crop's pixels, x right, y down, centres at integers: S pixels span -0.5 ... S - 0.5
    window frame   0 at the window's centre, ±0.5 at its sides; may be turned, scaled and mirrored against the crop

A window is a (2, 3) matrix [A | t]: crop pixels = A @ window frame + t.
"""
import functools

import torch
import torch.nn.functional as F

from .pixels import RGB

CPU_PIXELS = 2 ** 18  # sampled at once on a CPU: few enough to stay in its cache


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
    return make_windows(*box_squares(count, crop_size, context, device))


def box_squares(count, crop_size, context, device=None):
    """The boxes of stored crops: centres (count, 2) and sides (count,), crop pixels."""
    return (torch.full((count, 2), (crop_size - 1) / 2, device=device),
            torch.full((count,), crop_size / context, device=device))


def to_crop(joints_window, windows):
    """Window frame -> crop pixels. joints_window (B, P, 2), windows (B, 2, 3); NaN stays NaN. Returns (B, P, 2)."""
    return joints_window @ windows[:, :, :2].mT + windows[:, None, :, 2]


def to_window(joints_px, windows):
    """Crop pixels -> window frame; the inverse of `to_crop`. joints_px (B, P, 2), windows (B, 2, 3); NaN stays NaN, and
    a window of side 0 has no frame: NaN or infinite."""
    (a, b), (c, d) = windows[:, :, :2].permute(1, 2, 0)
    inverse = torch.stack([torch.stack([d, -b], 1), torch.stack([-c, a], 1)], 1) / (a * d - b * c)[:, None, None]
    return (joints_px - windows[:, None, :, 2]) @ inverse.mT


def sample_windows(crops, rows, windows, size, reduction=1, colour=None, out=None, pixels=RGB):
    """What the network sees: each window's pixels, bilinear, normalised; 0 (the mean) beyond the crop.

    crops      (N, S, S, C) uint8, or int16 that holds the bits of uint16
    rows       (B,) int64, the crop that each window lies on; there may be none
    windows    (B, 2, 3); of any size and place, also of side 0; one that holds NaN gives NaN in all its pixels, and
               changes no other
    size       output pixels along a side
    reduction  side of the squares of crop pixels averaged before they are sampled (see `reduction_for`)
    colour     factors and offsets on the normalised channels, (B, C or 1, 1, 1) both; None = as they are
    out        (at least B, C, size, size) float32 to write into, since fresh memory costs a CPU as much as the sampling
    pixels     Pixels of the crops, whose mean and deviation normalise them
    Returns    (B, C, size, size) float32
    Raises     ValueError where a crop does not hold a single square of `reduction`
    """
    if reduction > crops.shape[1]:
        raise ValueError(f"crops of {crops.shape[1]} pixels can't be reduced {reduction} times")
    images = image_buffer(len(rows), size, crops.device, pixels.channels) if out is None else out[:len(rows)]
    mean, deviation = _mean_and_deviation(pixels, crops.device)
    if colour is None:
        colour = windows.new_ones(len(rows), 1, 1, 1), windows.new_zeros(len(rows), 1, 1, 1)
    gains, offsets = colour[0] / deviation, colour[1]
    # what a window does not touch costs a CPU more than the sampling; a GPU would have to be waited for
    part, chunk = whole_crops, max(1, len(rows))
    if crops.device.type == "cpu" and len(rows):
        sides = windows[:, :, :2].abs().sum(2).nan_to_num(0.0).clamp(max=crops.shape[1])
        part, chunk = touched_parts, max(1, CPU_PIXELS // max(size, int(sides.max())) ** 2)
    for parts in zip(*(whole.split(chunk) for whole in (rows, windows, images, gains, offsets))):
        _sample(part, crops, *parts, mean, reduction)
    return images


def image_buffer(count, size, device, channels=3):
    """Memory for `count` images of `sample_windows`."""
    return torch.empty(count, channels, size, size, device=device)


def reduction_for(window_side, size):
    """Crop pixels to average along a side so that a window of `window_side` crop pixels is sampled without aliasing."""
    return max(1, round(window_side / size))


def _sample(part, crops, rows, windows, images, gains, offsets, mean, reduction):
    """Fill images (B, C, size, size) with (pixels - mean) * gains + offsets, see `sample_windows`. part: function that
    gives the part of each crop to sample, `touched_parts` or `whole_crops`."""
    size, side = images.shape[-1], crops.shape[1] // reduction  # a last pixel or two may not fill a reduced one
    # from here on all is in reduced pixels: the i-th has its centre at crop pixel reduction * i + (reduction - 1) / 2
    windows = torch.cat([windows[:, :, :2], windows[:, :, 2:] - (reduction - 1) / 2], 2) / reduction
    pixels, corners, within = part(crops, rows, windows, reduction, side)
    seen = _reduced(pixels, reduction).permute(0, 3, 1, 2)  # (B, P, P, C) -> (B, C, P, P)
    # grid_sample's frame without align_corners: pixel i of the P lies at (2 i + 1) / P - 1
    to_grid = 2 / seen.shape[-1]
    origins = (0.5 - corners) * to_grid - 1  # (B, 2), where the crop's pixel 0 lies in that frame
    framed = torch.cat([windows[:, :, :2] * to_grid, windows[:, :, 2:] * to_grid + origins[..., None]], 2)
    grid = window_points(framed, size)
    seen = F.grid_sample(seen, grid, align_corners=False)  # (B, C, size, size)
    if within:
        torch.addcmul(offsets - mean * gains, seen, gains, out=images)
        return
    # grid_sample fades to 0 beyond the crop, so what is subtracted must fade alike
    points = window_points(windows, size)
    inside = torch.minimum(points + 1, side - points).clamp_(0, 1)
    inside = (inside[..., 0] * inside[..., 1])[:, None]  # (B, 1, size, size)
    torch.addcmul(offsets, seen, gains, out=images).addcmul_(inside, mean * gains, value=-1)


def window_points(windows, size):
    """Where the centres of a window's size * size pixels lie: windows (B, 2, 3) -> (B, size, size, 2)."""
    ticks = (torch.arange(size, device=windows.device) + 0.5) / size - 0.5
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], 2).view(-1, 3)
    # one product for all windows, several times as fast as one for each
    points = places @ windows.permute(2, 0, 1).flatten(1)  # (size * size, 3) @ (3, B * 2)
    return points.view(size, size, -1, 2).permute(2, 0, 1, 3)


def whole_crops(crops, rows, windows, reduction, side):
    """What windows lie on, all of it, without a look at where they lie. As `touched_parts`, never `within`."""
    pixels = crops[:, :side * reduction, :side * reduction][rows]
    return pixels, windows.new_zeros(len(rows), 2), False


def touched_parts(crops, rows, windows, reduction, side):
    """The part of each crop that its window may touch, in reduced pixels, of which the crop has `side` along a side.

    windows  (B, 2, 3), reduced pixels
    Returns  crop pixels (B, P, P, C), P a multiple of reduction; the parts' first pixels' x and y (B, 2), reduced
             pixels; whether all windows lie within their crops
    """
    centres, reach = windows[:, :, 2], windows[:, :, :2].abs().sum(2) / 2  # (B, 2) both
    # bilinear sampling at q looks at floor(q) and the next; beyond the crop, and at NaN, there is nothing to look at
    low, high = (centres - reach).floor(), (centres + reach).floor() + 1
    within = bool(((low >= 0) & (high < side)).all())
    low, high = (edge.nan_to_num(0.0).clamp(0, side - 1) for edge in (low, high))
    span = int((high - low).max()) + 1
    corners = low.clamp(max=side - span)  # (B, 2)
    x, y = (corners.long() * reduction).T
    length = span * reduction
    runs = crops.unfold(2, length, 1).movedim(3, 4)  # every run of `length` pixels of a line, a view (N, S, ., P, C)
    lines = y[:, None] + torch.arange(length)  # (B, P)
    return runs[rows[:, None], lines, x[:, None]], corners, within


def _reduced(blocks, reduction):
    """Means of squares of pixels; sums of integers, which on a CPU take a quarter of the time of avg_pool2d.

    blocks (B, P, P, C) uint8 or int16 for uint16, P a multiple of reduction. Returns (B, P / reduction, P / reduction,
    C) float32.
    """
    if blocks.dtype == torch.int16:
        blocks = blocks.to(torch.int32) & 0xFFFF
    if reduction == 1:
        return blocks.float()
    wide = torch.int16 if blocks.dtype == torch.uint8 and reduction < 12 else torch.int32
    lines = blocks[:, ::reduction].to(wide, copy=True)
    for step in range(1, reduction):
        lines += blocks[:, step::reduction]
    lines = lines.unflatten(2, (-1, reduction))  # (B, P / reduction, P, C) -> (..., P / reduction, reduction, C)
    squares = lines[:, :, :, 0].clone()
    for step in range(1, reduction):
        squares += lines[:, :, :, step]
    return squares.float().div_(reduction ** 2)


@functools.cache
def _mean_and_deviation(pixels, device):
    """Of each channel as stored, (C, 1, 1); kept, since copying constants to a GPU makes it wait."""
    return tuple(torch.tensor(values, device=device).view(-1, 1, 1) for values in (pixels.mean, pixels.deviation))
