"""ResNets of few numbers, known to torchvision by the names below: for tests of what surrounds the network.

torchvision's smallest has 11 million, and writing its checkpoints took half of those tests' time. The process that
imports this knows them, others do not.
"""
from torch import nn
from torchvision.models._api import register_model
from torchvision.models.resnet import BasicBlock, ResNet

NAME, DEEPER = "resnet_narrow", "resnet_narrow_deeper"


class Narrow(ResNet):
    """Channels 8, 16, 32 and 64 where ResNet-18 has 64, 128, 256 and 512, and fewer blocks; `first` before any stride.
    """

    def __init__(self, first):
        super().__init__(BasicBlock, [first, 1, 1, 1])
        self.fc = nn.Linear(64, 1000)

    def _make_layer(self, block, planes, *given, **more):
        return super()._make_layer(block, planes // 8, *given, **more)


def register(name, first):
    def builder(*, weights=None, **more):
        return Narrow(first)
    builder.__module__ = ResNet.__module__  # one of torchvision's ResNets to whoever lists them
    register_model(name)(builder)


register(NAME, 2)
register(DEEPER, 3)
