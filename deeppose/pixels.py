"""What the pixels of stored crops are: their channels, bits and normalisation. Travels with data and checkpoints."""
import math
from dataclasses import dataclass

import numpy as np

DTYPES = {8: np.uint8, 16: np.uint16}


@dataclass(frozen=True)
class Pixels:
    """channels   1 (grey, depth) or 3 (RGB)
    bits       8 or 16, of one channel
    mean       of each channel in stored units: what a network sees as 0, and what stands beyond an image's edge
    deviation  of each channel in stored units: what a network sees as 1
    """
    channels: int
    bits: int
    mean: tuple
    deviation: tuple

    @property
    def dtype(self):
        return DTYPES[self.bits]

    @property
    def padding(self):
        """The mean as stored, (C,) int."""
        return tuple(round(value) for value in self.mean)

    def plain(self):
        """As a dictionary of numbers and lists, for JSON and checkpoints; `pixels_of` reads it."""
        return {"channels": self.channels, "bits": self.bits, "mean": list(self.mean),
                "deviation": list(self.deviation)}


# ImageNet's mean and deviation of RGB, as torchvision's weights expect
RGB = Pixels(3, 8, tuple(255 * value for value in (0.485, 0.456, 0.406)),
             tuple(255 * value for value in (0.229, 0.224, 0.225)))


def pixels_of(content):
    """Pixels from what `plain` made. Raises ValueError, in words, where it is none."""
    if not isinstance(content, dict) or content.keys() < RGB.plain().keys():
        raise ValueError("it does not tell what its pixels are")
    channels, bits = content["channels"], content["bits"]
    if type(channels) is not int or type(bits) is not int or channels not in (1, 3) or bits not in DTYPES:
        raise ValueError(f"its pixels have {channels} channels of {bits} bits, expected 1 or 3 of 8 or 16")
    for name in ("mean", "deviation"):
        values = content[name]
        if not isinstance(values, list) or len(values) != channels or not all(
                type(value) in (int, float) and math.isfinite(value) for value in values):
            raise ValueError(f"its pixels' {name} is {values!r}, expected {channels} numbers")
    if not all(0 <= value < 2 ** bits for value in content["mean"]) or min(content["deviation"]) <= 0:
        raise ValueError("the mean or deviation of its pixels is none that they can have")
    return Pixels(channels, bits, tuple(content["mean"]), tuple(content["deviation"]))
