"""Stages 2 and later: an AlexNet that regresses the displacement from a window's centre to the true joint."""
import torch
import torch.nn.functional as F
from torch import nn

from deeppose.losses import coordinate_loss, masked_loss
from deeppose.precision import in_float32
from deeppose.restoring import restored

SMALLEST_CROP = 67  # pixels; below it the third pooling has nothing left to pool


class CascadeNet(nn.Module):
    """AlexNet (Krizhevsky et al. 2012) without its grouped convolutions, as DeepPose, sec. 3.1, draws it.

    crop_size       pixels along the square input's side (the paper's figure: 220; AlexNet fits 227)
    width           factor on the channels of every convolution and fully connected layer
    dropout         share dropped after each fully connected layer, in training only
    outputs         displacements given out: 1, or one for each joint where all joints share the network
    loss            mse | smooth_l1
    image_channels  C of the crops, 3 or 1
    """

    def __init__(self, crop_size=227, width=1.0, dropout=0.6, outputs=1, loss="mse", image_channels=3):
        super().__init__()
        if crop_size < SMALLEST_CROP:
            raise ValueError(f"crop_size {crop_size} is below AlexNet's smallest, {SMALLEST_CROP}")
        if image_channels not in (1, 3):
            raise ValueError(f"a network sees images of 1 or 3 channels, not of {image_channels}")
        self.arguments = {"crop_size": crop_size, "width": width, "dropout": dropout, "outputs": outputs, "loss": loss,
                          "image_channels": image_channels}
        self.loss_name = coordinate_loss(loss)
        c1, c2, c3, c4, c5, fc = (max(1, round(n * width)) for n in (96, 256, 384, 384, 256, 4096))
        self.features = nn.Sequential(
            nn.Conv2d(image_channels, c1, 11, stride=4), nn.ReLU(inplace=True), ResponseNorm(c1), nn.MaxPool2d(3, 2),
            nn.Conv2d(c1, c2, 5, padding=2), nn.ReLU(inplace=True), ResponseNorm(c2), nn.MaxPool2d(3, 2),
            nn.Conv2d(c2, c3, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(c3, c4, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(c4, c5, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2))
        side = crop_size
        for kernel, stride, padding in ((11, 4, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0), (3, 2, 0)):
            side = (side + 2 * padding - kernel) // stride + 1
        self.regressor = nn.Sequential(
            nn.Linear(c5 * side * side, fc), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(fc, fc), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(fc, 2 * outputs))
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        # An untrained stage leaves the pose where it is.
        nn.init.zeros_(self.regressor[-1].weight)

    @property
    def outputs(self):
        return self.arguments["outputs"]

    def forward(self, crops):
        """crops (B, C, S, S) normalised -> displacements (B, outputs, 2), window sides."""
        *hidden, last = self.regressor
        x = self.features(crops).flatten(1)
        for layer in hidden:
            x = layer(x)
        return in_float32(last, x).unflatten(1, (-1, 2))

    def loss(self, output, displacements):
        """output and displacements (B, outputs, 2); NaN adds nothing. Returns a scalar."""
        return masked_loss(output, displacements, self.loss_name)

    def joints(self, output):
        """Returns joints in their windows' frame (B, outputs, 2), which displacements are; no confidence: None."""
        return output, None

    @classmethod
    def from_checkpoint(cls, checkpoint):
        """The network of a cascade checkpoint (a dictionary as train_stage2.py saves it), in evaluation mode. Raises
        Failure where it holds none."""
        return restored(cls, checkpoint)


class ResponseNorm(nn.Module):
    """Krizhevsky's local response normalisation, x / (2 + 1e-4 * sum of x² over the 5 nearest channels) ** 0.75.

    The same as nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2); the sum as a product with a band matrix and the
    power as square roots take a third of its time.
    """

    def __init__(self, channels):
        super().__init__()
        number = torch.arange(channels)
        band = 1e-4 * ((number[:, None] - number).abs() <= 2)  # (C, C)
        self.register_buffer("band", band[:, :, None, None], persistent=False)

    def forward(self, x):
        """(B, C, H, W) -> the same."""
        root = (F.conv2d(x.square(), self.band.to(x.dtype)) + 2).rsqrt()
        return x * (root * root.sqrt())
