"""Networks that only look, made faster: batch normalisation folded into the convolution before it, and on a CPU the
activation after it computed in the same pass."""
import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from deeppose.devices import memory_format

from .efficientnet_lite import SamePadding

ACTIVATIONS = {nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}  # as oneDNN calls them, and their limits


def folded(network, bfloat16=False):
    """A copy of an evaluated network, faster and the same but for rounding: in each nn.Sequential a BatchNorm2d that
    follows a convolution is part of that, and on a CPU a ReLU or ReLU6 after them. bfloat16: compute in that, but for
    what the network keeps in float32."""
    network = copy.deepcopy(network).eval()
    network.to(memory_format=memory_format(next(network.parameters()).device))
    for module in list(network.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        for place, layer in enumerate(module):
            if isinstance(layer, nn.BatchNorm2d) and place and isinstance(module[place - 1], nn.Conv2d):
                module[place - 1], module[place] = fuse_conv_bn_eval(module[place - 1], layer), nn.Identity()
        for place, layer in enumerate(module):
            if isinstance(layer, nn.Conv2d) and fits(layer):
                after = next((number for number in range(place + 1, len(module))
                              if not isinstance(module[number], nn.Identity)), None)
                name, limits = ACTIVATIONS.get(type(module[after]), ("none", [])) if after else ("none", [])
                module[place] = Activated(layer, name, limits)
                if name != "none":
                    module[after] = nn.Identity()
    if bfloat16:
        forward = network.forward

        def in_bfloat16(images, *told):
            with torch.autocast(images.device.type, torch.bfloat16):
                return forward(images, *told)
        network.forward = in_bfloat16
    return network


def fits(layer):
    """Whether a convolution can be Activated."""
    return torch.backends.mkldnn.is_available() and layer.weight.device.type == "cpu" \
        and layer.weight.dtype == torch.float32 and layer.padding_mode == "zeros" \
        and not isinstance(layer.padding, str) and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


class Activated(nn.Module):
    """A convolution and the activation after it, by oneDNN as torch.compile has it call it: the same numbers with fewer
    passes over memory, and also for few images, for which torch's own choice is a slower way where it has one thread.

    layer   nn.Conv2d; one with SamePadding needs no copy of its input: where there must be more padding below and right
            than above and left there is the same everywhere, and the kernel begins with a row and a column of zeros
    name    of the activation
    limits  its numbers
    """

    def __init__(self, layer, name, limits):
        super().__init__()
        self.layer, self.name, self.limits = layer, name, limits

    def forward(self, x):
        layer = self.layer
        weight, bias, padding = layer.weight, layer.bias, layer.padding
        if torch.is_autocast_enabled("cpu"):  # which does not know of this convolution
            x, weight = x.bfloat16(), weight.bfloat16()
            bias = None if bias is None else bias.bfloat16()
        if isinstance(layer, SamePadding):
            rows, columns = (max((-(-side // step) - 1) * step + kernel - side, 0) for side, step, kernel
                             in zip(x.shape[2:], layer.stride, layer.kernel_size))
            padding = (rows + 1) // 2, (columns + 1) // 2
            if rows % 2 or columns % 2:
                weight = F.pad(weight, (columns % 2, 0, rows % 2, 0))
        return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, padding, layer.stride, layer.dilation,
                                                       layer.groups, self.name, self.limits, "")
