"""The road from an image to a pose, step by step: the window seen, the heatmaps, each joint's window and its way."""
from dataclasses import dataclass

import numpy as np
import torch

from deeppose.crops import box_windows, make_windows, reduction_for, sample_windows, to_window
from deeppose.inference import diameters, output_on

from .integral import IntegralNet, shares_of
from .trained_stages import PoseStage, flip_test_of, run_with_confidence


@dataclass
class Look:
    """One network's look at a whole person.

    seen    (s, s, C) what it sees, as stored
    maps    (J, h, w) float32, shares of each one's peak; None where the network gives no heatmaps
    window  (2, 3) on the crop, see deeppose.crops
    """
    seen: np.ndarray
    maps: np.ndarray | None
    window: np.ndarray

    def place(self, joints_px):
        """Crop pixels (J, 2) to pixels of what is seen, centres at integers in both."""
        frame = to_window(torch.from_numpy(joints_px)[None].double(), torch.from_numpy(self.window)[None].double())
        return (frame[0].numpy() + 0.5) * len(self.seen) - 0.5


@dataclass
class Refinement:
    """A cascade stage's look at one person.

    length     the incoming pose's diameter, crop pixels
    side       of the joints' windows, crop pixels; of no meaning where one network sees the whole person
    windows    joint index -> (s, s, C) what its network sees, as stored; empty where one network sees the whole person
    whole      Look of that one; None where each joint has a window, or where that one leaves poses as they are
    agreement  of that one: how far a joint may move, in lengths, for the middle of both places to be taken
    """
    length: float
    side: float
    windows: dict
    whole: Look | None
    agreement: float


@dataclass
class Road:
    """crop         (S, S, C) numpy, as stored
    box          side of the box in its middle, crop pixels
    first        Look of stage 1
    poses        after each stage (J, 2), crop pixels
    confidences  of each stage's (J,), or None
    refinements  of each later stage
    """
    crop: np.ndarray
    box: float
    first: Look
    poses: list
    confidences: list
    refinements: list


@torch.inference_mode()
def road(stages, persons, row, flip_test):
    """Follow one person's pose through trained stages.

    stages     [Stage1, CascadeStage, ...] as load_stages gives them
    persons    Crops
    row        which of them
    flip_test  of a single stage; later ones expect the output that they were trained on
    """
    first, rows = stages[0], torch.tensor([row], device=persons.device)
    flip_test = flip_test_of(stages, flip_test)
    poses, confidences = run_with_confidence(stages, persons, rows, flip_test)
    crops, places = next(iter(persons.crop_batches([rows])))

    def sampled(window, size, usual_side, pixels):
        return sample_windows(crops, places, window, size, reduction_for(usual_side, size), pixels=pixels)

    def look(network, window, size, usual_side, pixels, flip_test, *told):
        images = sampled(window, size, usual_side, pixels)
        maps = heatmaps(network, images, persons.skeleton, flip_test, *told)
        return Look(as_stored(images, pixels), maps, window[0].cpu().numpy())

    refinements = []
    for stage, incoming in zip(stages[1:], poses):
        length = diameters(incoming, persons.skeleton, stage.smallest_diameter * persons.box_side)
        usual_side, windows, whole = stage.usual_side * persons.box_side, {}, None
        if isinstance(stage, PoseStage):
            window, _ = stage.windows(incoming, persons.skeleton, persons.box_side)
            if not stage.still:
                whole = look(stage.network, window, stage.input_size, usual_side, stage.pixels, stage.flip_test,
                             to_window(incoming, window))
        else:
            for joint, (network, _) in sorted(stage.networks.items()):
                windows[joint] = as_stored(sampled(make_windows(incoming[:, joint], stage.sigma * length),
                                                   network.arguments["crop_size"], usual_side, stage.pixels),
                                           stage.pixels)
        refinements.append(Refinement(length.item(), stage.sigma * length.item(), windows, whole,
                                      getattr(stage, "agreement", 0.0)))
    crop = crops[places][0].cpu().numpy()
    box = box_windows(1, persons.crop_size, persons.context, persons.device)
    return Road(crop.view(persons.pixels.dtype), persons.box_side,
                look(first.network, box, first.input_size, persons.box_side, first.pixels, flip_test),
                [pose[0].cpu().numpy() for pose in poses],
                [None if sure is None else sure[0].cpu().numpy() for sure in confidences], refinements)


def heatmaps(network, images, skeleton, flip_test, *told):
    """A network's heatmaps of one image (1, C, S, S), (J, h, w) in shares of each one's peak; None where its output is
    none.

    told  (1, J, 2) the pose so far in the window's frame, of a network that is told it
    """
    partner = torch.tensor(skeleton.mirror, device=images.device) if flip_test else None
    output = output_on(network, images, partner, *told)
    if not torch.is_tensor(output) or output.ndim != 4 or output.shape[1] != len(skeleton.joints):
        return None
    maps = (shares_of(output) if isinstance(network, IntegralNet) else output.clamp(min=0))[0]
    return (maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-9)).float().cpu().numpy()


def as_stored(images, pixels):
    """The first of normalised images (1, C, s, s) as crops are stored: (s, s, C) of pixels.dtype."""
    mean, deviation = (np.array(values, np.float32) for values in (pixels.mean, pixels.deviation))
    values = images[0].permute(1, 2, 0).cpu().numpy() * deviation + mean
    return values.round().clip(0, 2 ** pixels.bits - 1).astype(pixels.dtype)
