"""What stage 1's networks stand on: torchvision's ResNets and AlexNet, EfficientNet-Lite0, and initial weights."""
import copy
import math
import os
import pickle
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from deeppose.checkpoints import read_tensors, weights_fault
from deeppose.errors import Failure, UserError, reason
from deeppose.restoring import form, misfit, restored
from .alexnet import ALEXNETS, AlexNet
from .efficientnet_lite import EfficientNetLite0, imagenet_file, load_weights

LITE = "efficientnet_lite0"


class Stage1Network(nn.Module):
    """What stage 1's networks share: a backbone with its features, parts of it frozen, making from a checkpoint.

    backbone        a torchvision ResNet by name, efficientnet_lite0, or where it is pooled alexnet or alexnet_bn;
                    randomly initialised (see `load_initial_weights`)
    pooled          whether features at stride 32 will be pooled: efficientnet_lite0's then come after its last
                    convolution, and AlexNet's, which are one place for the whole image, can be had
    dropout         before AlexNet's wide layers
    image_channels  C, 3 or 1: of one, images are seen as by a network of three that is shown the same in each

    global_contrast, False at first, has every image less its own mean, over its own deviation; a checkpoint says so
    beside the network's arguments.

    A network adds `arguments`, with which its constructor makes it again, `loss_name`, and
        forward(images)             (B, C, S, S) normalised -> its output
        loss(output, joints)        a scalar; joints (B, J, 2) in the window's frame, NaN adds nothing
        joints(output)              joints (B, J, 2) in the window's frame, and their confidence (B, J), 0 ... 1, or
                                    None where it has none
        mirrored(output, partner)   what the mirrored images' output says of the images; partner (J,), the other side's
    """

    input_step = 1  # of which the input's side must be a multiple

    def __init__(self, backbone, pooled=False, dropout=0.5, image_channels=3):
        super().__init__()
        if image_channels not in (1, 3):
            raise UserError(f"a network sees images of 1 or 3 channels, not of {image_channels}")
        known = (LITE, *(ALEXNETS if pooled else ()))
        if backbone not in known and backbone not in resnets():
            raise UserError(f"no backbone named {backbone!r} for this network; there are: "
                            f"{', '.join([*known, *resnets()])}")
        if backbone == LITE:
            self.backbone = EfficientNetLite0(head=pooled)
            self.widths = self.backbone.channels
        elif backbone in ALEXNETS:
            self.backbone = AlexNet(backbone == "alexnet_bn", dropout)
            self.widths = self.backbone.channels
        else:
            import torchvision
            self.backbone = torchvision.models.get_model(backbone, weights=None)
            width = self.backbone.fc.in_features
            self.widths = (width // 4, width // 2, width)
            self.backbone.fc, self.backbone.early_channels = nn.Identity(), width // 8
        self.image_channels = image_channels
        if image_channels == 1:
            _to_grey(self.backbone)
        self.frozen_stages, self.frozen_batchnorm, self.global_contrast = 0, False, False

    def features(self, images, told=None):
        """images (B, C, H, W) normalised, -> features at strides 8, 16 and 32, sides rounded up; AlexNet's: one of a
        single place. told (B, the backbone's early_channels, H / 4, W / 4): added to the features at stride 4; not
        AlexNet's."""
        net = self.backbone
        if self.global_contrast:
            images = of_even_contrast(images)
        if isinstance(net, AlexNet):
            return net(images)
        if isinstance(net, EfficientNetLite0):
            return net(images, told)
        x = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(images)))))
        if told is not None:
            x = x + told
        return [x := layer(x) for layer in (net.layer2, net.layer3, net.layer4)]

    def completed(self, weights):
        """Weights of a checkpoint by name, with those of this network that a checkpoint may lack."""
        return weights

    def convolutions(self):
        """The backbone's parameters, AlexNet's without its wide layers: what `--backbone-rate` and `--frozen-steps` are
        about. They go before all others in `parameters()`."""
        net = self.backbone
        return list((net.features if isinstance(net, AlexNet) else net).parameters())

    def freeze(self, stages=0, batchnorm=False):
        """Leave parts as they are, in training too.

        stages     leading parts of the backbone, the stem being the first; 0 = none
        batchnorm  BatchNorm in all of the backbone: its statistics and its weights
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
        norms = (module for module in self.backbone.modules() if isinstance(module, _BatchNorm))
        return [*(module for part in self._parts()[:self.frozen_stages] for module in part),
                *(norms if self.frozen_batchnorm else ())]

    def _parts(self):
        """The backbone's parts that can be frozen, stem first, in the order in which they see an image."""
        net = self.backbone
        if isinstance(net, AlexNet):
            return [[part] for part in net.parts]
        if isinstance(net, EfficientNetLite0):
            return [[net.stem], *([stage] for stage in net.stages)]
        return [[net.conv1, net.bn1], [net.layer1], [net.layer2], [net.layer3], [net.layer4]]

    @classmethod
    def from_checkpoint(cls, checkpoint):
        """The network of a stage-1 checkpoint (as train_stage1.py saves it), in evaluation mode. Raises Failure where
        it holds none."""
        network = restored(cls, checkpoint)
        network.global_contrast = checkpoint.get("global_contrast", False)  # which older ones lack
        if not isinstance(network.global_contrast, bool):
            raise Failure(f"its global_contrast is {network.global_contrast!r}; train it again")
        return network


def of_even_contrast(images, floor=0.05):
    """Global contrast normalisation: each image less its mean, over its deviation, both of all channels and pixels.

    images   (B, C, H, W) float32, normalised; what stands beyond a crop's edge, 0 there, counts as any other pixel
    floor    smallest deviation: an image of one colour stays 0, and its noise small
    Returns  (B, C, H, W); a common gain and offset of the image make no difference, but to one below the floor
    """
    pixels = images.flatten(1)  # (B, C * H * W)
    pixels = pixels - pixels.mean(1, keepdim=True)
    # a norm takes half of the time of torch's deviation
    deviations = torch.linalg.vector_norm(pixels, dim=1, keepdim=True) / math.sqrt(pixels.shape[1])
    return (pixels / deviations.clamp(min=floor)).view_as(images)


def resnets():
    """Names of torchvision's ResNets (also ResNeXt and Wide ResNet, which share their form)."""
    import torchvision  # here and elsewhere where it is needed, since it takes as long to load as torch itself
    models = torchvision.models
    return [name for name in models.list_models()
            if models.get_model_builder(name).__module__ == models.resnet.__name__]


@dataclass
class Begun:
    """What a checkpoint that a network begins with was trained on: without which part of its split (--without), and
    [split, test set] of it and of all that it began with itself."""
    without: str
    seen: list

    def warn_of_other_split(self, source, split):
        """Print a warning where one of those splits is not that of the persons who are to be trained on."""
        if any(own != split for own, _ in self.seen):
            print(f"warning: {source} was trained on another split of the persons: those held out here may be among "
                  "them and their scores too good")


def load_initial_weights(model, source):
    """Initialise a stage-1 network.

    source  "imagenet": its backbone with torchvision's default weights, downloaded once into torch's cache, or those of
            efficientnet_lite0's package;
            "none": leave the random initialisation;
            anything else: a file. With the state_dict of the same torchvision network, or the package's: its backbone;
            a checkpoint of train_stage1.py, or of a pose refiner for another: all of it, global_contrast as well
            A backbone's weights are of three channels: for one they are summed, see `_to_grey`
    Returns Begun; None without a checkpoint
    Raises  UserError where the weights can't be had or do not fit, Failure where the file holds none.
    """
    name = model.arguments["backbone"]
    if source == "none":
        return None
    if source == "imagenet" and name != LITE:
        state = torchvisions_weights(name.removesuffix("_bn"), f"ImageNet weights of {name}",
                                     f"use --weights FILE (torchvision's {name} weights), or --weights none (random)")
    else:
        source = os.path.realpath(imagenet_file() if source == "imagenet" else source)
        state = _read_weights(source, name)
    if {"model", "optimiser"} <= state.keys():
        raise UserError(f"{source} is what an interrupted training goes on from; name the .pt without _last beside it")
    if {"weights", "split"} <= state.keys():
        weights = state["weights"]
        if isinstance(weights, dict):
            weights = model.completed(weights)
        if fault := misfit(model, weights):
            raise UserError(f"{source} can't begin this network: {fault}; set what it was trained with, or "
                            "name other --weights")
        model.load_state_dict(weights)
        model.global_contrast = state.get("global_contrast", False) is True
        return Begun(state.get("without", ""), [[state["split"], state.get("test_set")], *state.get("seen", [])])
    if fault := weights_fault(state):
        raise Failure(f"{source} {fault}; {_expected(name)}")
    if model.image_channels == 1:
        backbone = _to_colour(copy.deepcopy(model.backbone))
        _load_backbone(backbone, name, state, source)
        model.backbone.load_state_dict(_to_grey(backbone).state_dict())
    else:
        _load_backbone(model.backbone, name, state, source)
    return None


def _load_backbone(backbone, name, state, source):
    """Weights of a file that holds those of a backbone, of three channels both. Raises UserError where they do not fit,
    and has changed nothing then."""
    if name == LITE:
        load_weights(backbone, state, source)
        return
    own = backbone.state_dict()
    wanted = set(own)
    if name == "alexnet_bn":  # which takes plain AlexNet's weights; its normalisation stays as it is
        wanted -= {f"{place}.{key}" for place, module in backbone.named_modules()
                   if isinstance(module, _BatchNorm) for key in module.state_dict()}
    given = {key: value for key, value in state.items() if key in wanted and form(value) == form(own[key])}
    # older files lack BatchNorm's num_batches_tracked, which evaluation does not use
    if missing := {key for key in wanted - given.keys() if not key.endswith("num_batches_tracked")}:
        raise UserError(f"{source} does not fit {name}: {len(missing)} of {len(wanted)} tensors missing or of another "
                        f"form, among them {min(missing)}; {_expected(name)}")
    backbone.load_state_dict(given, strict=False)


def _to_grey(backbone):
    """Let a backbone of three channels see one, as if it stood in all three: the first convolution's weights become
    their sum over them. (Of random weights, too: their variance is then right for the fewer inputs.) Returns it."""
    first = _first_convolution(backbone)
    first.in_channels, first.weight = 1, nn.Parameter(first.weight.detach().sum(1, keepdim=True))
    return backbone


def _to_colour(backbone):
    """Give a backbone of one channel a first convolution of three, with any weights. Returns it."""
    first = _first_convolution(backbone)
    first.in_channels, first.weight = 3, nn.Parameter(first.weight.detach().repeat(1, 3, 1, 1))
    return backbone


def _first_convolution(backbone):
    return next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))


def torchvisions_weights(name, what, instead):
    """The state_dict of the default weights of torchvision's network `name`, from torch's cache or the network.

    Raises UserError where they can't be had, which says `what` they are and what to do `instead`
    """
    import torchvision
    weights = torchvision.models.get_model_weights(name).DEFAULT
    cached = Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[-1])
    had = cached.exists()
    try:
        return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, HTTPException) as error:  # URLError is an OSError
        fault = f"{cached} is broken; remove it" if had else \
            f"{what} can't be downloaded ({error}); put {weights.url} at {cached}"
        raise UserError(f"{fault}, or {instead}") from None


def _read_weights(path, backbone):
    """The dictionary in a file of weights; nothing in the file is executed."""
    if not os.path.exists(path):
        raise UserError(f"weights file {path} not found; --weights takes a file, 'imagenet' or 'none'")
    if not os.path.isfile(path):
        raise UserError(f"{path} is no file; --weights takes a file, 'imagenet' or 'none'")
    try:
        state = read_tensors(path)
    except OSError as error:
        raise Failure(f"weights can't be read: {reason(error)}; --weights takes a file, 'imagenet' or 'none'") from None
    except pickle.UnpicklingError:  # torch's own words go on to advise how to open it nevertheless
        raise Failure(f"{path} is not a file of weights: it is broken, or holds more than tensors, numbers and "
                      f"strings; {_expected(backbone)}") from None
    except Exception:  # torch raises many kinds for what is no weights file
        raise Failure(f"{path} is not a file of weights: it is empty, broken or something else; "
                      f"{_expected(backbone)}") from None
    if not isinstance(state, dict):
        raise Failure(f"{path} is not a file of weights: it holds a {type(state).__name__}; {_expected(backbone)}")
    return state


def _expected(backbone):
    own = "the .pth of efficientnet_lite0's package" if backbone == LITE else f"torchvision's weights of {backbone}"
    return (f"--weights takes {own}, a stage1.pt with the same settings (a pose refiner also another's file), "
            "'imagenet' or 'none'")
