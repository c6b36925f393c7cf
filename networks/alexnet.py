"""AlexNet (Krizhevsky et al., 2012) as torchvision has it, up to its two wide layers, as a backbone."""
from torch import nn

ALEXNETS = ("alexnet", "alexnet_bn")  # the second with batch normalisation after every layer, as the Caffe line has it
SMALLEST = 63  # pixels; below it the last pooling has nothing left to pool


class AlexNet(nn.Module):
    """normalised: batch normalisation before every ReLU; the other layers keep torchvision's names, and so its weights.
    dropout: before each wide layer, in training only.
    channels: of what it gives out, one place for the whole image."""

    channels = (4096,)

    def __init__(self, normalised=False, dropout=0.5):
        super().__init__()
        import torchvision  # here, since it takes as long to load as torch itself, and few networks need it
        net = torchvision.models.alexnet(weights=None, dropout=dropout)
        self.features, self.avgpool, self.classifier = net.features, net.avgpool, net.classifier[:6]
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        if normalised:
            for layers, norm in ((self.features, nn.BatchNorm2d), (self.classifier, nn.BatchNorm1d)):
                for place, layer in enumerate(layers):
                    if isinstance(layer, nn.ReLU):
                        before = layers[place - 1]
                        width = before.out_channels if isinstance(before, nn.Conv2d) else before.out_features
                        layers[place] = nn.Sequential(norm(width), nn.ReLU(inplace=True))

    def forward(self, images):
        """images (B, C, H, W) normalised, H and W at least SMALLEST -> [features (B, 4096, 1, 1)]."""
        x = self.features(images)
        # Apple's GPUs average over no places but such as divide evenly
        x = self.avgpool(x.cpu()).to(x.device) if x.device.type == "mps" else self.avgpool(x)  # (B, 256, 6, 6)
        return [self.classifier(x.flatten(1))[:, :, None, None]]

    @property
    def parts(self):
        """Each convolution with what belongs to it, then each wide layer, in the order in which they see an image."""
        return [self.features[:3], self.features[3:6], self.features[6:8], self.features[8:10], self.features[10:],
                self.classifier[:3], self.classifier[3:]]
