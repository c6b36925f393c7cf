"""Stage 1 by heatmaps from transposed convolutions (Xiao et al., Simple Baselines, ECCV 2018)."""
import torch
from torch import nn

from deeppose.distributed import mean_over_processes
from deeppose.errors import UserError
from deeppose.losses import coordinate_loss
from deeppose.precision import in_float32

from .backbones import Stage1Network

REACH = 3         # deviations: how far a Gaussian reaches; one that ends before the map begins is not compared with it
FAINTEST = 1e-6   # a map's values below it count as it where a logarithm is taken


class HeatmapNet(Stage1Network):
    """A backbone without its pooling and classifier, three transposed convolutions, a heatmap a joint at stride 4.

    backbone        a torchvision ResNet by name, or efficientnet_lite0
    joints          number of joints J
    loss            mse alone: of the heatmaps
    heatmap_sigma   deviation of the Gaussian that a heatmap should be, heatmap pixels; the paper's 2 is for maps of 64
    channels        of the transposed convolutions
    image_channels  C of the images, 3 or 1
    """

    input_step = 32  # the maps' side is eight times that of the last features, which round up

    def __init__(self, backbone="resnet18", joints=14, loss="mse", heatmap_sigma=2.0, channels=256, image_channels=3):
        if coordinate_loss(loss) != "mse":
            raise UserError(f"--loss {loss}: --network heatmap compares heatmaps, by their squares; it takes mse")
        if not heatmap_sigma > 0:
            raise UserError(f"heatmap_sigma {heatmap_sigma} is no deviation; take a positive one")
        super().__init__(backbone, image_channels=image_channels)
        self.arguments = {"backbone": backbone, "joints": joints, "loss": loss, "heatmap_sigma": heatmap_sigma,
                          "channels": channels, "image_channels": image_channels}
        self.loss_name, self.heatmap_sigma = loss, heatmap_sigma
        widths = (self.widths[-1], channels, channels)
        self.upward = nn.Sequential(*(layer for width in widths for layer in (
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True))))
        self.heatmaps = nn.Conv2d(channels, joints, 1)
        for layer in (*self.upward, self.heatmaps):
            if isinstance(layer, (nn.ConvTranspose2d, nn.Conv2d)):
                nn.init.normal_(layer.weight, std=0.001)
        nn.init.zeros_(self.heatmaps.bias)

    def forward(self, images):
        """images (B, C, S, S) normalised, S a multiple of 32 -> heatmaps (B, J, S / 4, S / 4), 1 where a joint is."""
        return in_float32(self.heatmaps, self.upward(self.features(images)[-1]))

    def loss(self, output, joints_window):
        """Squared differences of heatmaps and Gaussians, summed over a map, in those of a blank map: 1 where the
        network says nothing, whatever the maps' size and the deviation.

        The mean over a map's pixels, the paper's, is 4096 / (4 pi) = 326 times smaller: too small for Adagrad with its
        sums of squares begun at 0.1, for SGD at usual rates, and for clipping ever to act.

        output         (B, J, h, w)
        joints_window  (B, J, 2); NaN adds nothing, nor does a joint whose Gaussian does not reach the map. What a
                       Gaussian shows of a joint beyond the window counts
        Returns        scalar, 0 if no joint counts; a mean over those that do, where the paper counts all in its mean
        """
        sides = output.new_tensor(output.shape[:1:-1])  # w, h
        places, reach = (joints_window + 0.5) * sides - 0.5, REACH * self.heatmap_sigma  # heatmap pixels
        counts = ((places >= -reach) & (places <= sides - 1 + reach)).all(-1)  # (B, J), False where NaN
        places = places.where(counts[..., None], torch.zeros_like(places))
        x, y = (torch.exp(-((torch.arange(side, device=output.device) - places[..., [axis]]) / self.heatmap_sigma) ** 2
                          / 2) for axis, side in ((0, output.shape[3]), (1, output.shape[2])))
        squares = (output - y[..., :, None] * x[..., None, :]).square().sum((2, 3))  # (B, J)
        blank = torch.pi * self.heatmap_sigma ** 2  # a Gaussian's own squares, summed
        count = mean_over_processes(counts.sum()).clamp(min=1e-9)
        return squares.where(counts, torch.zeros_like(squares)).sum() / blank / count

    def joints(self, output):
        """heatmaps (B, J, h, w) -> joints in the window's frame (B, J, 2) and their confidence (B, J): the highest
        pixel's value, clipped to 0 ... 1."""
        places, values = peaks(output)
        return (places + 0.5) / output.new_tensor(output.shape[:1:-1]) - 0.5, values.clamp(0, 1)

    def mirrored(self, output, partner):
        """What the mirrored image's heatmaps say of the image itself: mirrored themselves, for pixel i of a map is
        centred on (i + 0.5) / w - 0.5, as far on one side as w - 1 - i on the other; the paper's one-pixel shift makes
        up for a grid that is not. partner (J,): each joint's on the other side."""
        return output.flip(3)[:, partner]


def peaks(maps):
    """Where maps of a Gaussian have their top, and their value at the pixel nearest to it.

    A Gaussian's logarithm is a parabola, whatever its height and width, and nine values of it tell its top exactly,
    also at a map's edge, where a centre of mass would be drawn inwards and a quarter pixel towards the second highest
    (the paper's) is off by up to a quarter pixel anywhere. This is the step of DARK (Zhang et al., CVPR 2020), without
    its smoothing.

    maps     (B, J, h, w) float32, h and w at least 3
    Returns  places (B, J, 2), x and y in map pixels, within half a pixel of the highest one's centre; values (B, J)
    """
    height, width = maps.shape[2:]
    values, peak = maps.flatten(2).max(2)
    highest = torch.stack([peak % width, peak // width], 2)  # (B, J, 2), x and y
    limits = torch.tensor([width - 2, height - 2], device=maps.device)
    middle = highest.clamp(min=1).minimum(limits)  # of 3 x 3 pixels within the map
    step = torch.arange(-1, 2, device=maps.device)
    around = (step[:, None] * width + step).flatten() + (middle[..., [1]] * width + middle[..., [0]])  # (B, J, 9)
    patch = maps.flatten(2).gather(2, around).clamp(min=FAINTEST).log().unflatten(2, (3, 3))  # rows y, columns x
    along = torch.stack([patch[:, :, 1], patch[:, :, :, 1]], 2)  # (B, J, 2, 3): through the middle along x, along y
    slope = (along[..., 2] - along[..., 0]) / 2
    bend = (2 * along[..., 1] - along[..., 2] - along[..., 0]).clamp(min=FAINTEST)
    return highest + (middle - highest + slope / bend).clamp(-0.5, 0.5), values
