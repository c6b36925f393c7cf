"""Batch normalisation folded into the convolution before it, for networks that only look."""
import copy

from torch import nn
from torch.nn.utils import fuse_conv_bn_eval


def folded(network):
    """A copy of an evaluated network, faster and the same but for rounding: in each nn.Sequential a BatchNorm2d that
    follows a convolution is part of that."""
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            for place in range(len(module) - 1):
                if isinstance(module[place], nn.Conv2d) and isinstance(module[place + 1], nn.BatchNorm2d):
                    module[place] = fuse_conv_bn_eval(module[place], module[place + 1])
                    module[place + 1] = nn.Identity()
    return network
