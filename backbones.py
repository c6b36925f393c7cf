"""What stage 1's networks stand on: torchvision's ResNets and EfficientNet-Lite0, and their initial weights."""
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from deeppose.errors import UserError
from efficientnet_lite import EfficientNetLite0, imagenet_file, load_weights

LITE = "efficientnet_lite0"


class Stage1Network(nn.Module):
    """What stage 1's networks share: a backbone with its features, parts of it frozen, making from a checkpoint.

    backbone  a torchvision ResNet by name, or efficientnet_lite0; randomly initialised (see `load_initial_weights`)
    pooled    whether features at stride 32 will be pooled: efficientnet_lite0's then come after its last convolution
    """

    def __init__(self, backbone, pooled=False):
        super().__init__()
        if backbone != LITE and backbone not in resnets():
            raise UserError(f"no backbone named {backbone!r}; there are: {LITE}, {', '.join(resnets())}")
        if backbone == LITE:
            self.backbone = EfficientNetLite0(head=pooled)
            self.widths = self.backbone.channels
        else:
            self.backbone = torchvision.models.get_model(backbone, weights=None)
            width = self.backbone.fc.in_features
            self.widths = (width // 4, width // 2, width)
            self.backbone.fc = nn.Identity()
        self.frozen_stages, self.frozen_batchnorm = 0, False

    def features(self, images):
        """images (B, 3, H, W) normalised, -> features at strides 8, 16 and 32, sides rounded up."""
        net = self.backbone
        if isinstance(net, EfficientNetLite0):
            return net(images)
        x = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(images)))))
        return [x := layer(x) for layer in (net.layer2, net.layer3, net.layer4)]

    def freeze(self, stages=0, batchnorm=False):
        """Leave parts as they are, in training too.

        stages     leading parts of the backbone, the stem being the first; 0 = none
        batchnorm  BatchNorm everywhere: its statistics and its weights
        Raises     UserError where the backbone has no so many parts
        """
        parts = self._parts()
        if stages > len(parts):
            raise UserError(f"{self.arguments['backbone']} has {len(parts)} stages with its stem; {stages} can't be "
                            "frozen")
        self.frozen_stages, self.frozen_batchnorm = stages, batchnorm
        for module in self._frozen():
            module.requires_grad_(False)

    def train(self, mode=True):
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self

    def _frozen(self):
        norms = (module for module in self.modules() if isinstance(module, _BatchNorm))
        return [*(module for part in self._parts()[:self.frozen_stages] for module in part),
                *(norms if self.frozen_batchnorm else ())]

    def _parts(self):
        """The backbone's parts that can be frozen, stem first, in the order in which they see an image."""
        net = self.backbone
        if isinstance(net, EfficientNetLite0):
            return [[net.stem], *([stage] for stage in net.stages)]
        return [[net.conv1, net.bn1], [net.layer1], [net.layer2], [net.layer3], [net.layer4]]

    @classmethod
    def from_checkpoint(cls, checkpoint):
        """The network of a stage-1 checkpoint (as train_stage1.py saves it), in evaluation mode. Raises UserError."""
        model = cls(**checkpoint["network"])
        model.load_checkpoint(checkpoint)
        return model.eval()

    def load_checkpoint(self, checkpoint):
        """Take all weights of a stage-1 checkpoint; raises UserError where they are another network's."""
        own, given = self.state_dict(), checkpoint["weights"]
        for name in sorted(own.keys() | given.keys()):
            shapes = [tuple(state[name].shape) if name in state else "none" for state in (own, given)]
            if shapes[0] != shapes[1]:
                raise UserError(f"the checkpoint's weights are of another network, or of an older version's: {name} is "
                                f"{shapes[0]} here and {shapes[1]} there; train again, or set what it was trained with")
        self.load_state_dict(given)


def resnets():
    """Names of torchvision's ResNets (also ResNeXt and Wide ResNet, which share their form)."""
    models = torchvision.models
    return [name for name in models.list_models()
            if models.get_model_builder(name).__module__ == models.resnet.__name__]


def load_initial_weights(model, source):
    """Initialise a stage-1 network.

    source  "imagenet": its backbone with torchvision's default weights, downloaded once into torch's cache, or those of
            efficientnet_lite0's package;
            "none": leave the random initialisation;
            anything else: a file. With the state_dict of the same torchvision ResNet, or the package's: its backbone;
            a checkpoint of train_stage1.py: all of it
    Returns the split that the checkpoint was trained on; None without one
    Raises  UserError where the weights can't be had or do not fit.
    """
    name = model.arguments["backbone"]
    if source == "none":
        return None
    if source == "imagenet" and name == LITE:
        source = imagenet_file()
    if source == "imagenet":
        weights = torchvision.models.get_model_weights(name).DEFAULT
        try:
            state = weights.get_state_dict(progress=True, check_hash=True)
        except (URLError, OSError, RuntimeError) as error:
            cached = Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[-1])
            raise UserError(
                f"ImageNet weights of {name} can't be downloaded ({error}). Choices:\n"
                f"  put {weights.url}\n    at {cached}\n"
                f"  --weights FILE    a file with torchvision's {name} weights\n"
                f"  --weights none    start from random weights") from None
    else:
        try:
            state = torch.load(source, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise UserError(f"weights file {Path(source).resolve()} not found; "
                            "--weights takes a file, 'imagenet' or 'none'") from None
        except Exception as error:  # torch raises many kinds for what is no weights file
            reason = str(error).splitlines()[0]
            raise UserError(f"{Path(source).resolve()} is not a file of weights: {reason}") from None
        if not isinstance(state, dict):
            raise UserError(f"{Path(source).resolve()} is not a file of weights: it holds a {type(state).__name__}")
        if {"weights", "split"} <= state.keys():
            model.load_checkpoint(state)
            return state["split"]
    if name == LITE:
        load_weights(model.backbone, state, source)
        return None
    own = model.backbone.state_dict()
    wanted = {key for key in own if not key.startswith("fc.")}
    given = {key: value for key, value in state.items() if key in wanted and value.shape == own[key].shape}
    # older files lack BatchNorm's num_batches_tracked, which evaluation does not use
    if missing := {key for key in wanted - given.keys() if not key.endswith("num_batches_tracked")}:
        raise UserError(f"{source} does not fit {name}: {len(missing)} of {len(wanted)} tensors missing or of another "
                        f"shape, among them {min(missing)}")
    model.backbone.load_state_dict(given, strict=False)
    return None
