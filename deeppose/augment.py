"""Random windows, mirrored labels and colours for a whole batch at a time, on the device.

Randomness comes from the torch.Generator passed in, which lives on the device of the batch.
"""
import math

import torch

from .crops import make_windows


def uniform(count, low, high, generator):
    """(count,) float32 between low and high, on the generator's device."""
    return torch.rand(count, device=generator.device, generator=generator) * (high - low) + low


def random_windows(centres, sides, generator, rotation=0.0, scale=(1.0, 1.0), shift=0.0, flip=0.0, turns=0.0):
    """Windows that differ from squares by a random turn, scale, shift and mirroring.

    centres   (B, 2) and
    sides     (B,) of the squares, crop pixels
    rotation  largest turn either way, degrees
    scale     least and largest side, in the square's; drawn evenly in its logarithm
    shift     largest move along x and y, in the square's sides
    flip      probability of mirroring
    turns     (B,) of the squares, degrees, as `make_windows` has them
    Returns   windows (B, 2, 3) and flipped (B,) bool
    """
    count = len(sides)
    low, high = (math.log(factor) for factor in scale)
    varied = sides * uniform(count, low, high, generator).exp()
    centres = centres + sides[:, None] * uniform((count, 2), -shift, shift, generator)
    flipped = uniform(count, 0, 1, generator) < flip
    degrees = turns + uniform(count, -rotation, rotation, generator)
    return make_windows(centres, varied, degrees, flipped), flipped


def mirror_joints(joints, flipped, mirror):
    """Exchange left and right labels in flipped rows; the coordinates are the window's business.

    joints (B, J, 2), flipped (B,) bool, mirror (J,): index of each joint's partner; on a GPU a tensor there, since
    it waits for numbers from elsewhere. Returns (B, J, 2).
    """
    return torch.where(flipped[:, None, None], joints[:, torch.as_tensor(mirror, device=joints.device)], joints)


def random_colour(count, generator, strength, channels=3):
    """Changes of brightness, contrast and each channel's gain, for `sample_windows`.

    strength  0 = none; 0.4 = contrast within 0.6 ... 1.4, times each channel's gain within 0.8 ... 1.2, and each
              channel's offset within 0.4 standard deviations
    Returns   factors and offsets on normalised channels, (count, channels, 1, 1) both; None where strength is 0
    """
    if not strength:
        return None
    gains = uniform((count, 1, 1, 1), 1 - strength, 1 + strength, generator) \
        * uniform((count, channels, 1, 1), 1 - strength / 2, 1 + strength / 2, generator)
    return gains, uniform((count, channels, 1, 1), -strength, strength, generator)
