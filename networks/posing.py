"""Poses of anybody in anybody's photographs: trained stages run on squares of images, first as given, then closer."""
import math
from dataclasses import dataclass

import numpy as np
import torch

from deeppose.calibration import meaning
from deeppose.person_boxes import shared
from deeppose.persons import LooseCrops
from deeppose.photos import reduction_to
from deeppose.stored_crops import cut, enlarge, image_boxes, joint_boxes, to_image_px

from .trained_stages import calibration_of, flip_test_of, probabilities

SHARPNESS = 2.0      # least pixels of a reduced photograph for one of the crop, along a side
PARTS = (1 / 2, 1 / 3)  # of a photograph's longer side: the squares searched for a person
OVERLAP = 1 / 2      # of neighbouring squares at most


@dataclass
class Poses:
    """joints      (P, J, 2) float64, image pixels, centres at integers
    confidence  (P, J) float64, or None where the network has none
    boxes       (P, 3) edges of the squares that they were found in, image pixels
    """
    joints: np.ndarray
    confidence: np.ndarray | None
    boxes: np.ndarray


class Posing:
    """Finds poses by trained stages; several threads may use it at once.

    stages            [Stage1, CascadeStage, ...] as load_stages gives them
    passes            looks at each person at most: the first at the box given, each later one at a box round what was
                      found, where that is another
    flip_test         whether stage 1 averages with the mirrored window; a cascade expects what it was trained on
    margin            side of a later box, in extents of the joints found; None = as the boxes were in training
    doubt             mean confidence, stage 1's own, below which a photograph is searched; 0 = never
    batch_size        persons a step
    least_confidence  of a joint that a later box goes by
    same              what two boxes share, of what they cover, from which on they are taken for the same
    bfloat16          compute in that
    """

    def __init__(self, stages, device, passes=2, flip_test=True, margin=None, doubt=0.4, batch_size=16,
                 least_confidence=0.2, same=0.65, bfloat16=False):
        self.first, *self.cascades = (stage.folded(bfloat16) for stage in stages)
        self.device = device
        self.margin = margin or self.first.box_extents
        self.passes = passes if self.margin else 1  # a single joint does not tell where to look closer
        self.doubt, self.batch_size = doubt, batch_size
        self.flip_test = flip_test_of(stages, flip_test)
        self.calibration = calibration_of(stages, self.flip_test)
        self.least_confidence, self.same = least_confidence, same

    @property
    def confidence(self):
        """What the confidence of `find` is called, and what it means."""
        if self.calibration:
            return "confidence", meaning(self.first.skeleton)
        return "score", ("the network's own measure of how sure it is, 0 ... 1, the larger the surer: no probability; "
                         "null where the network has none")

    @property
    def has_confidence(self):
        """Whether these stages tell one, seen by a look at nothing."""
        first = self.first
        blank = torch.zeros(1, first.crop_size, first.crop_size, first.pixels.channels,
                            dtype=torch.uint8 if first.pixels.bits == 8 else torch.int16)
        return self._look_at(LooseCrops(blank.to(self.device), first.context, first.pixels, first.skeleton),
                             quick=True)[1] is not None

    @property
    def least_side(self):
        """Pixels along the longer side down to which a photograph may be reduced where its person fills it."""
        return self._least_side(1.0)

    def find(self, photos, boxes):
        """Poses of the persons in N photographs.

        photos  list of N Photo
        boxes   list of N: edges (P, 3) of the squares to look at first, image pixels, one for each person; or None =
                one person, looked for in the whole image, and in parts of it where the pose there is in doubt
        Returns list of N Poses
        Raises  Failure where a photograph that was reduced is needed larger, and can't be read any more
        """
        sizes = np.array([photo.size for photo in photos], float).reshape(-1, 2)
        first = [image_boxes(size[None]) if own is None else own for own, size in zip(boxes, sizes, strict=True)]
        row = np.repeat(np.arange(len(photos)), [len(own) for own in first])  # each person's photograph
        poses = self._find([photos[number] for number in row], np.concatenate([np.empty((0, 3)), *first]), sizes[row],
                           np.array([boxes[number] is None for number in row], bool))
        ends = np.cumsum([len(own) for own in first])
        return [Poses(poses.joints[own], None if poses.confidence is None else poses.confidence[own], poses.boxes[own])
                for own in (slice(end - len(boxes_), end) for end, boxes_ in zip(ends, first))]

    def _find(self, photos, boxes, sizes, searched):
        """Poses of P persons, each with its photograph, box (P, 3), image size (P, 2), and whether it is searched."""
        boxes, again = np.array(boxes), np.zeros(len(photos), bool)
        joints, own, sure = self._look(photos, boxes)
        if self.doubt and sure is not None:
            again = self._search(photos, boxes, joints, own, sure.mean(1), searched)
        for number in range(self.passes):
            if number:
                closer = self._closer(joints, own, boxes, sizes)
                again |= (closer != boxes).any(1)
                boxes = closer
            elif self.passes > 1:
                continue  # a part of a photograph was looked at quickly, and will be again, more closely
            rows = np.flatnonzero(again)
            if len(rows):
                joints[rows], found, _ = self._look([photos[row] for row in rows], boxes[rows])
                if own is not None:
                    own[rows] = found
                again[:] = False
        return Poses(joints, self._told(joints, own, boxes), boxes)

    def _search(self, photos, boxes, joints, own, sure, searched):
        """Put the part of its photograph where stage 1 is surest in place of a box where it is in doubt; sure (P,) its
        mean confidence. Returns (P,) bool, where that was done."""
        found = np.zeros(len(photos), bool)
        for part in PARTS:
            for row in np.flatnonzero(searched & (sure < self.doubt) & (found | (part == PARTS[0]))):
                squares = parts_of(photos[row].size, part)
                poses, confidence, _ = self._look([photos[row]] * len(squares), squares, quick=True)
                best = confidence.mean(1).argmax()
                if confidence[best].mean() > sure[row]:
                    boxes[row], joints[row], own[row] = squares[best], poses[best], confidence[best]
                    sure[row], found[row] = own[row].mean(), True
        return found

    def _look(self, photos, boxes, quick=False):
        """Joints (P, J, 2), image pixels, the network's own confidence and stage 1's, (P, J) or None both: of all
        stages and with the flip test; of stage 1 alone, without it, where it shall be quick. Where stage 1 has no
        confidence that of all stages stands for it."""
        first = self.first
        edges = enlarge(boxes, first.context)
        joints, owns, sures = np.empty((len(photos), len(first.skeleton.joints), 2)), [], []
        for start in range(0, len(photos), self.batch_size):
            rows = slice(start, start + self.batch_size)
            found, own, sure = self._look_at(self.crops(photos[rows], edges[rows]), quick)
            joints[rows] = to_image_px(found, edges[rows], first.crop_size)
            owns.append(own)
            sures.append(sure)
        none = np.empty((0, joints.shape[1]))  # of no photographs
        return joints, *(None if any(part is None for part in parts) else np.concatenate([none, *parts])
                         for parts in (owns, sures))

    def crops(self, photos, edges):
        """LooseCrops of P photographs, as sharp as `find` looks at them; edges (P, 3) of the crops, image pixels.

        Raises Failure where a photograph that was reduced is needed larger, and can't be read any more
        """
        first = self.first
        crops = np.empty((len(photos), first.crop_size, first.crop_size, first.pixels.channels), first.pixels.dtype)
        last = None
        for crop, photo, square in zip(crops, photos, edges, strict=True):
            least_side = self._least_side(square[2] / first.context / max(photo.size))
            wanted = id(photo), reduction_to(max(photo.size), least_side)
            if last != wanted:  # several squares of a photograph follow each other
                last, (image, reduction) = wanted, photo.at(least_side, first.pixels)
            crop[:] = cut(image, square / reduction, first.crop_size, first.pixels)
        crops = torch.from_numpy(crops.view(np.int16) if crops.dtype == np.uint16 else crops)
        return LooseCrops(crops.to(self.device), first.context, first.pixels, first.skeleton)

    def _least_side(self, share):
        """Pixels along the longer side that a photograph needs for a box of that share of it."""
        return round(SHARPNESS * self.first.crop_size / self.first.context / max(share, 1e-3))

    @torch.inference_mode()
    def _look_at(self, persons, quick):
        """As `_look`, of LooseCrops, in their pixels."""
        first, rows = self.first, torch.arange(len(persons.crops), device=self.device)
        joints, sure = first.predict_with_confidence(persons, rows, self.flip_test and not quick, self.batch_size)
        own = sure
        for cascade in () if quick and sure is not None else self.cascades:
            joints, own = cascade.refine_with_confidence(persons, rows, joints, own)
        sure = own if sure is None else sure
        return joints.cpu().double().numpy(), *(None if part is None else part.cpu().double().numpy()
                                                for part in (own, sure))

    def _told(self, joints, own, boxes):
        """The confidence that is told of the network's own: a probability where the stages are calibrated."""
        if own is None or self.calibration is None:
            return own
        joints, own, sides = map(torch.from_numpy, (joints, own, boxes[:, 2]))
        return probabilities(self.calibration, joints, own, self.first.skeleton, sides).numpy()

    def _closer(self, joints, own, boxes, sizes):
        """Boxes (P, 3) round the joints found; those that there were where they are much the same, as windows varied in
        training as well, and where most joints are in doubt."""
        joints = np.array(joints)
        if own is not None:
            joints[own < self.least_confidence] = np.nan
        found = np.isfinite(joints).all(2).sum(1) >= joints.shape[1] / 2
        closer = joint_boxes(joints, sizes, self.margin, 0.3 * boxes[:, 2])
        return np.where((found & (shared(closer, boxes) < self.same))[:, None], closer, boxes)


def parts_of(size, part):
    """Squares that cover an image, overlapping by half or more: edges (K, 3) for its size (width, height), each with a
    side of `part` of the longer one."""
    side = max(size) * part
    starts = [[(length - side) / 2] if length <= side else
              np.linspace(0, length - side, math.ceil((length - side) / (side * (1 - OVERLAP))) + 1) for length in size]
    return np.array([[x, y, side] for y in starts[1] for x in starts[0]])
