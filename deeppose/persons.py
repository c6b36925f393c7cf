"""One split of the prepared data, ready for a device."""
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import arrays
from .errors import UserError
from .feeding import crops_fit, stream
from .skeletons import SKELETONS, Skeleton


@dataclass
class Persons:
    """crops       (N, S, S, 3) uint8 RGB: on the device, or mapped from the file; batches of them by `crop_batches`
    joints_px   (N, J, 2) float32 on the device, crop pixels, NaN = not annotated
    head_sizes  (N,) float32 numpy, crop pixels
    held_out    (N,) bool numpy, the validation persons (all False in the test split)
    sources     (N,) str numpy, the data set that each row comes from
    dataset     dataset.json
    """
    crops: torch.Tensor
    joints_px: torch.Tensor
    head_sizes: np.ndarray
    held_out: np.ndarray
    sources: np.ndarray
    skeleton: Skeleton
    context: float
    dataset: dict
    streamed: bool = False  # batches are gathered in the background, ahead of the step that needs them

    def crop_batches(self, batches):
        """Where each of a sequence of batches of row indices (B,) finds its crops.

        Yields  crops (M, S, S, 3) uint8 on the device, and the batch's rows (B,) in them; valid until the next
        """
        if not self.streamed:
            return ((self.crops, rows) for rows in batches)
        return ((crops, torch.arange(len(crops), device=self.device))
                for crops in stream(self.crops, batches, self.device))

    @property
    def device(self):
        return self.joints_px.device

    @property
    def crop_size(self):
        return self.crops.shape[1]

    @property
    def box_side(self):
        """Side of the box, crop pixels."""
        return self.crop_size / self.context

    @property
    def truth(self):
        """joints_px as numpy."""
        return self.joints_px.cpu().numpy()

    @property
    def split(self):
        """Fingerprint of which photographs train and which are held out, whatever the crops' size."""
        rows = zip(self.sources, self.dataset["train"]["image"], self.held_out)
        return _fingerprint("\n".join(f"{source}/{image} {int(held)}" for source, image, held in rows).encode())

    @property
    def labels(self):
        """Fingerprint of the joints in crop pixels and of the split."""
        return _fingerprint(self.truth.tobytes() + self.held_out.tobytes())


def _fingerprint(content):
    return hashlib.sha256(content).hexdigest()[:16]


def load_persons(data_dir, split, device, images="auto"):
    """Read split "train" (training and validation persons) or "test". Raises UserError where step 1 has not run.

    images  resident: on the device whole (on a CPU: mapped from the file); streamed: read ahead of each batch;
            auto: streamed where the device has not the memory, which is printed
    """
    folder = Path(data_dir)
    dataset = arrays.load_json(folder / "dataset.json", arrays.PREPARE)
    skeleton = SKELETONS[dataset["dataset"]]
    crops = arrays.load(folder / f"{split}_images.npy", mmap=True)
    labels = arrays.load(folder / f"{split}_labels.npy")
    head_sizes = arrays.load(folder / f"{split}_head_sizes.npy")
    held_out = arrays.load(folder / "train_split.npy") == 1 if split == "train" else np.zeros(len(crops), bool)
    sources = np.array(dataset[split]["source"])
    counts = {len(a) for a in (crops, labels, head_sizes, held_out, sources)}
    if len(counts) > 1 or labels.shape[1] != len(skeleton.joints):
        raise UserError(f"the {split} arrays in {folder.resolve()} do not belong together; run again: {arrays.PREPARE}")
    crops = torch.from_numpy(crops)
    streamed = images == "streamed" or images == "auto" and not crops_fit(crops, device)
    if device.type != "cpu":
        print(f"{split} images, {crops.nbytes / 1e9:.1f} GB: "
              + (f"streamed to {device} ahead of each batch" if streamed else f"resident on {device}"))
    return Persons(crops if streamed else crops.to(device), torch.from_numpy(labels).to(device), head_sizes, held_out,
                   sources, skeleton, dataset["context"], dataset, streamed)
