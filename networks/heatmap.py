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
        if loss == "rle" or coordinate_loss(loss) != "mse":
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

        output         (B, J, s, s)
        joints_window  (B, J, 2); NaN adds nothing, nor does a joint whose Gaussian does not reach the map. What a
                       Gaussian shows of a joint beyond the window counts
        Returns        scalar, 0 if no joint counts; a mean over those that do, where the paper counts all in its mean
        """
        side, reach = output.shape[3], REACH * self.heatmap_sigma
        places = (joints_window + 0.5) * side - 0.5  # heatmap pixels
        counts = ((places >= -reach) & (places <= side - 1 + reach)).all(-1)  # (B, J), False where NaN
        places = places.where(counts[..., None], torch.zeros_like(places))
        away = (torch.arange(side, device=output.device) - places[..., None]) / self.heatmap_sigma
        x, y = torch.exp(-away.square() / 2).unbind(2)  # (B, J, s) both
        squares = (output - y[..., :, None] * x[..., None, :]).square().sum((2, 3))  # (B, J)
        blank = torch.pi * self.heatmap_sigma ** 2  # a Gaussian's own squares, summed
        count = mean_over_processes(counts.sum()).clamp(min=1e-9)
        return squares.where(counts, torch.zeros_like(squares)).sum() / blank / count

    def joints(self, output):
        """heatmaps (B, J, s, s) -> joints in the window's frame (B, J, 2) and their confidence (B, J): the highest
        pixel's value, clipped to 0 ... 1."""
        places, values = peaks(output)
        return (places + 0.5) / output.shape[3] - 0.5, values.clamp(0, 1)

    def mirrored(self, output, partner):
        """What the mirrored image's heatmaps say of the image itself. partner (J,): each joint's on the other side.

        The paper also shifts them by a pixel, for its grid is not symmetric; here pixel i of s lies as far from the
        window's middle as pixel s - 1 - i.
        """
        return output.flip(3)[:, partner]


def peaks(maps):
    """Where maps of a Gaussian have their top, and their value at the pixel nearest to it.

    A Gaussian's logarithm is a parabola along either axis, whatever its height and width, and three values of it tell
    where its top is, exactly. At a map's edge too, where a centre of mass is drawn inwards; the paper's quarter pixel
    towards the higher neighbour is off by up to a quarter anywhere. This is the step of DARK (Zhang et al., CVPR 2020)
    without the two axes' mixed derivative, which made no difference on trained maps, and without its smoothing, which
    gains some tenths of a point and is not exact at the edge.

    maps     (B, J, s, s) float32, s at least 3
    Returns  places (B, J, 2), x and y in map pixels, within half a pixel of the highest one's centre; values (B, J)
    """
    side = maps.shape[3]
    values, peak = maps.flatten(2).max(2)
    highest = torch.stack([peak % side, peak // side], 2)  # (B, J, 2), x and y
    middle = highest.clamp(1, side - 2)  # which has neighbours on all sides
    step = torch.arange(-1, 2, device=maps.device)
    cross = torch.stack([step, step * side]).flatten() + (middle[..., 1] * side + middle[..., 0])[..., None]
    along = maps.flatten(2).gather(2, cross).clamp(min=FAINTEST).log().unflatten(2, (2, 3))  # along x, along y
    slope = (along[..., 2] - along[..., 0]) / 2
    bend = (2 * along[..., 1] - along[..., 2] - along[..., 0]).clamp(min=FAINTEST)
    return highest + (middle - highest + slope / bend).clamp(-0.5, 0.5), values
