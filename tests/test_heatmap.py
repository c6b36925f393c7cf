"""The heatmap network: what its maps are compared with, and how joints are read from them."""
import pytest
import torch

from deeppose.errors import UserError
from networks.heatmap import HeatmapNet, peaks


def gaussians(places, side, sigma=2.0):
    """Maps (B, J, side, side) of the top 1 at places (B, J, 2), x and y in map pixels."""
    ticks = torch.arange(side)
    x, y = (torch.exp(-((ticks - places[..., [axis]]) / sigma) ** 2 / 2) for axis in (0, 1))
    return y[..., :, None] * x[..., None, :]


def network_of(joints=2, **options):
    return HeatmapNet("resnet18", joints, channels=16, **options)


@pytest.mark.parametrize("height, sigma", [(1.0, 2.0), (0.2, 2.0), (1.0, 1.0), (0.7, 3.5)])
def test_a_gaussians_top_is_read_exactly_wherever_it_stands(height, sigma):
    steps = torch.linspace(-0.5, 0.5, 21)
    places = torch.cartesian_prod(torch.cat([steps, 7 + steps, 15 + steps]), torch.cat([steps, 3 + steps, 15 + steps]))
    maps = height * gaussians(places[:, None], 16, sigma)
    found, value = peaks(maps)
    assert (found[:, 0] - places).abs().max() < 1e-3
    assert torch.equal(value, maps.flatten(2).amax(2))


def test_a_map_of_nothing_or_of_noise_gives_places_within_half_a_pixel_of_its_highest():
    maps = torch.cat([torch.zeros(1, 4, 8, 8), torch.full((1, 4, 8, 8), -3.0), torch.randn(30, 4, 8, 8)])
    places, values = peaks(maps)
    highest = maps.flatten(2).argmax(2)
    away = places - torch.stack([highest % 8, highest // 8], 2)
    assert away.abs().max() <= 0.5 and torch.equal(values, maps.flatten(2).amax(2))
    joints, confidence = network_of(4).joints(maps)
    assert joints.abs().max() <= 0.5 and confidence.min() == 0 and confidence.max() == 1 and maps.max() > 1


def test_the_loss_is_least_at_the_maps_that_the_joints_are_read_from():
    torch.manual_seed(0)
    joints = (torch.rand(50, 2, 2) - 0.5)
    maps = gaussians((joints + 0.5) * 16 - 0.5, 16)  # pixel i is centred on (i + 0.5) / 16 - 0.5
    network = network_of()
    assert network.loss(maps, joints) < 1e-10
    found, confidence = network.joints(maps)
    assert (found - joints).abs().max() * 16 < 1e-3 and (0.9 < confidence).all() and (confidence <= 1).all()
    assert network.loss(maps.roll(1, 3), joints) > 0.05


@pytest.mark.parametrize("side, sigma", [(64, 2.0), (64, 3.0), (32, 1.0)])
def test_a_blank_map_costs_1_and_a_joint_counts_alike_among_others(side, sigma):
    joints = torch.tensor([[[0.01, -0.02], [0.11, 0.2]], [[torch.nan, 0.1], [-0.2, 0.1]]])
    network = network_of(heatmap_sigma=sigma)
    blank = torch.zeros(2, 2, side, side)
    assert network.loss(blank, joints).item() == pytest.approx(1, abs=1e-3)
    blank[0, 0] = gaussians((joints[0, 0] + 0.5) * side - 0.5, side, sigma)  # one of three as it should be
    assert network.loss(blank, joints).item() == pytest.approx(2 / 3, abs=1e-3)


def test_what_is_not_annotated_adds_nothing_to_loss_or_gradient():
    torch.manual_seed(0)
    joints = torch.rand(3, 2, 2) - 0.5
    half = joints.clone()
    half[:, 1], half[0, 0, 1] = torch.nan, torch.nan  # wholly, and by one coordinate
    maps = torch.randn(3, 2, 8, 8, requires_grad=True)
    network = network_of()
    loss = network.loss(maps, half)
    assert torch.allclose(loss, network.loss(maps[1:, :1], joints[1:, :1]))
    loss.backward()
    assert maps.grad.isfinite().all() and not maps.grad[:, 1].any() and not maps.grad[0].any()
    assert maps.grad[1:, 0].abs().sum((1, 2)).min() > 0
    nothing = network.loss(maps, torch.full_like(joints, torch.nan))
    assert nothing == 0 and nothing.requires_grad


def test_a_joint_beyond_the_window_counts_as_far_as_its_gaussian_reaches():
    network, side = network_of(1), 16
    blank = torch.zeros(1, 1, side, side)

    def costs(x):
        return network.loss(blank, torch.tensor([[[(x + 0.5) / side - 0.5, 0.0]]])).item()

    for beyond in (-6.01, side - 1 + 6.01, -1e6):  # three deviations of 2 px from the outermost pixels' centres
        assert costs(beyond) == 0
    assert costs(-1.0) == pytest.approx(costs(side)) and 0.1 < costs(side) < 0.5
    assert 0 < costs(-5.99) < 1e-3
    place = torch.tensor([[[side + 1.0, 7.0]]])
    assert network.loss(gaussians(place, side), (place + 0.5) / side - 0.5) < 1e-10  # the part that shows is wanted


def test_mirrored_maps_need_no_shift():
    torch.manual_seed(0)
    network, partner, flip = network_of(3), torch.tensor([1, 0, 2]), torch.tensor([-1.0, 1.0])
    joints = torch.rand(20, 3, 2) - 0.5
    maps, mirrored = (gaussians((places + 0.5) * 16 - 0.5, 16) for places in (joints, joints[:, partner] * flip))
    again = network.mirrored(mirrored, partner)  # of the mirrored persons, as an ideal network has them
    assert torch.allclose(again, maps, atol=1e-5) and not torch.allclose(again.roll(1, 3), maps, atol=0.1)
    assert (network.joints((maps + again) / 2)[0] - joints).abs().max() * 16 < 1e-2  # the flip test


@pytest.mark.parametrize("backbone, width", [("resnet18", 512), ("resnet50", 2048), ("efficientnet_lite0", 320)])
def test_the_papers_layers(backbone, width):
    with torch.device("meta"):
        network = HeatmapNet(backbone, 16, image_channels=1)
        assert network.heatmaps(network.upward(network.features(torch.empty(2, 1, 256, 256))[-1])).shape == \
            (2, 16, 64, 64)
    upward = [layer for layer in network.upward if isinstance(layer, torch.nn.ConvTranspose2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in upward] == [(width, 256), (256, 256), (256, 256)]
    assert {(layer.kernel_size, layer.stride, layer.padding, layer.bias) for layer in upward} == \
        {((4, 4), (2, 2), (1, 1), None)}
    assert network.heatmaps.kernel_size == (1, 1)


def test_layers_begin_as_the_papers():
    network = network_of(14)
    for layer in (*network.upward[::3], network.heatmaps):
        assert layer.weight.std().item() == pytest.approx(0.001, rel=0.2) and abs(layer.weight.mean()) < 3e-4
    assert not network.heatmaps.bias.any()


@pytest.mark.parametrize("options, said", [
    ({"loss": "smooth_l1"}, "--loss smooth_l1: --network heatmap .*; it takes mse"),
    ({"loss": "rle"}, "--loss rle: --network heatmap .*; it takes mse"),
    ({"heatmap_sigma": 0.0}, "heatmap_sigma 0.0 is no deviation"),
    ({"backbone": "alexnet"}, "no backbone named 'alexnet' for this network")])
def test_what_it_can_not_be_is_told(options, said):
    with pytest.raises(UserError, match=said):
        HeatmapNet(**options)


@pytest.mark.parametrize("backbone, channels", [("resnet18", 3), ("efficientnet_lite0", 1)])
def test_it_learns_where_a_light_is(backbone, channels):
    torch.manual_seed(0)
    network = HeatmapNet(backbone, 2, channels=16, image_channels=channels).train()
    place = torch.tensor([[[-0.25, 0.25], [0.25, -0.3]], [[0.2, 0.1], [-0.1, 0.4]]])
    images = torch.randn(2, channels, 64, 64)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    losses = []
    for _ in range(40):
        loss = network.loss(network(images), place)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(1, abs=0.05) and losses[-1] < 0.3
    assert (network.joints(network(images))[0] - place).abs().max() < 0.05
