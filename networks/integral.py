"""Stage 1 by integral regression: heatmaps whose centre of mass is the joint (Sun et al., ECCV 2018)."""
import math

import torch
import torch.nn.functional as F
from torch import nn

from deeppose.distributed import mean_over_processes
from deeppose.errors import UserError
from deeppose.losses import coordinate_loss, masked_loss
from deeppose.precision import in_float32

from .backbones import LITE, Stage1Network

# of reading a heatmap, in its pixels; chosen on validation persons
SMOOTHING = 2.0  # deviation of the Gaussian that smooths it before its peak is sought
REACH = 3.0      # deviation of the Gaussian round the peak, within which the centre of mass counts


class IntegralNet(Stage1Network):
    """A backbone, a light head that joins its features at strides 8, 16 and 32, a heatmap a joint at stride 4.

    backbone        a torchvision ResNet by name, or efficientnet_lite0
    joints          number of joints J
    loss            mse | smooth_l1: of the coordinates
    heatmap_weight  of the heatmaps' cross-entropy beside it; 0 = none
    heatmap_sigma   of the Gaussian that a heatmap should be, heatmap pixels
    channels        of the head
    image_channels  C of the images, 3 or 1
    """

    input_step = 32  # maps of neighbouring strides are added

    def __init__(self, backbone=LITE, joints=14, loss="smooth_l1", heatmap_weight=0.1, heatmap_sigma=1.5, channels=128,
                 image_channels=3):
        if loss == "rle":
            raise UserError("--loss rle is for --network regression")
        super().__init__(backbone, image_channels=image_channels)
        self.arguments = {"backbone": backbone, "joints": joints, "loss": loss, "heatmap_weight": heatmap_weight,
                          "heatmap_sigma": heatmap_sigma, "channels": channels, "image_channels": image_channels}
        self.loss_name, self.heatmap_weight, self.heatmap_sigma = coordinate_loss(loss), heatmap_weight, heatmap_sigma
        self.lateral = nn.ModuleList(nn.Sequential(nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels))
                                     for width in self.widths)
        self.merge = nn.ModuleList(separable(channels) for _ in self.widths)
        self.heatmaps = nn.Sequential(nn.Conv2d(channels, joints * 4, 1), nn.PixelShuffle(2))

    def forward(self, images, told=None):
        """images (B, C, S, S) normalised, S a multiple of 32 -> heatmaps (B, J, S / 4, S / 4), unnormalised. told: see
        `features`."""
        x = 0
        for features, lateral, merge in reversed(list(zip(self.features(images, told), self.lateral, self.merge))):
            if torch.is_tensor(x):
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = merge(F.relu(lateral(features) + x))
        return in_float32(self.heatmaps, x)

    def joints(self, output):
        """heatmaps (B, J, h, w) -> joints in the window's frame (B, J, 2), confidence (B, J).

        A joint lies at the centre of mass round its map's peak, and the confidence is the share of the map that lies
        there: the centre of the whole map, which training looks at, is drawn towards the middle of the window where
        the map is in doubt between places.
        """
        shares = shares_of(output)
        peak = _smoothed(shares).flatten(2).argmax(2)  # (B, J)
        height, width = output.shape[2:]
        # a Gaussian round the peak, the product of one along x and one along y
        x, y = (torch.exp(-((torch.arange(side, device=output.device) - place[..., None]) / REACH) ** 2 / 2)
                for side, place in ((width, peak % width), (height, peak // width)))
        near = shares * y[..., :, None] * x[..., None, :]
        share = near.sum((2, 3))
        return centres(near) / share[..., None], share

    def mirrored(self, output, partner):
        """What the mirrored image's heatmaps say of the image itself. partner (J,): each joint's on the other side."""
        return output.flip(3)[:, partner]

    def loss(self, output, joints_window):
        """output (B, J, h, w), joints_window (B, J, 2); NaN joints add nothing, joints beyond the window nothing to
        the heatmaps' part. Returns a scalar, 0 if no joint counts."""
        loss = masked_loss(centres(shares_of(output)), joints_window, self.loss_name)
        if not self.heatmap_weight:
            return loss
        counts = (joints_window.abs() <= 0.5).all(-1)  # (B, J), False where NaN
        place = joints_window.where(counts[..., None], torch.zeros_like(joints_window))
        height, width = output.shape[2:]
        # a Gaussian's share of each pixel: the product of its shares along x and y
        x, y = (F.softmax(-((ticks(side, output.device) - place[..., [axis]]) * side / self.heatmap_sigma) ** 2 / 2, -1)
                for axis, side in ((0, width), (1, height)))
        target = y[..., :, None] * x[..., None, :]  # (B, J, h, w)
        entropy = -(target.flatten(2) * output.flatten(2).log_softmax(2)).sum(2)  # (B, J)
        count = mean_over_processes(counts.sum()).clamp(min=1e-9)
        return loss + self.heatmap_weight * entropy.where(counts, torch.zeros_like(entropy)).sum() / count


def shares_of(output):
    """Each heatmap of an output (B, J, h, w) as shares of 1."""
    return output.flatten(2).softmax(2).view_as(output)


def centres(maps):
    """maps (B, J, h, w) -> sums of place times value, window frame (B, J, 2); of a map of sum 1 the centre of mass."""
    y, x = (ticks(side, maps.device) for side in maps.shape[2:])
    return torch.stack([(maps.sum(2) * x).sum(2), (maps.sum(3) * y).sum(2)], 2)


def separable(channels):
    """A 3 x 3 convolution of each channel by itself, then one across channels."""
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
                         nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def ticks(side, device):
    """Centres of a heatmap's pixels along one side, window frame (side,)."""
    return (torch.arange(side, device=device) + 0.5) / side - 0.5


def _smoothed(maps):
    """Each map (B, J, h, w) convolved with a Gaussian of SMOOTHING pixels."""
    reach = math.ceil(3 * SMOOTHING)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1, device=maps.device) / SMOOTHING) ** 2 / 2)
    single = maps.flatten(0, 1)[:, None]  # (B * J, 1, h, w)
    single = F.conv2d(single, kernel.view(1, 1, 1, -1) / kernel.sum(), padding=(0, reach))
    return F.conv2d(single, kernel.view(1, 1, -1, 1) / kernel.sum(), padding=(reach, 0)).view_as(maps)
