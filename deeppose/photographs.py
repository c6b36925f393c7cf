"""All photographs of the raw data in one table: listed, then decoded once for their sizes and thumbnails."""
import os
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from . import stored_crops
from .errors import Failure, UserError
from .skeletons import LSP


@dataclass
class Photographs:
    """One row an image; `survey` fills in the last two columns."""
    source: np.ndarray   # (N,) "lsp" or "lspet"
    path: np.ndarray     # (N,) its folder or zip
    member: np.ndarray   # (N,) its name in there
    joints: np.ndarray   # (N, 14, 2) image pixels, NaN = not annotated; finite once surveyed
    test: np.ndarray     # (N,) bool
    sizes: np.ndarray = None       # (N, 2) width, height
    thumbnails: np.ndarray = None  # (N, 32, 32) uint8

    def __len__(self):
        return len(self.source)

    @property
    def file(self):
        return np.array([PurePosixPath(member).name for member in self.member])


def list_photographs(raw, lsp_train_images):
    """All images in order of data set and number.

    raw               data set -> archives.RawData, "lsp" among them
    lsp_train_images  LSP's images up to this number train, the others test
    Returns           Photographs; raises UserError where a side stays empty
    """
    numbers = {name: np.array(sorted(data.members)) for name, data in raw.items()}
    if not numbers["lsp"][0] <= lsp_train_images < numbers["lsp"][-1]:
        raise UserError(f"{os.path.realpath(raw['lsp'].path)} holds images {numbers['lsp'][0]} ... "
                        f"{numbers['lsp'][-1]}; those up to {lsp_train_images} train and the others test: change "
                        f"--lsp-train-images")
    names = np.repeat(list(raw), [len(n) for n in numbers.values()])
    return Photographs(
        source=names, path=np.array([str(raw[name].path) for name in names]),
        member=np.array([raw[name].members[number] for name in raw for number in numbers[name]]),
        joints=np.concatenate([raw[name].joints[numbers[name] - 1] for name in raw]),
        test=(names == "lsp") & (np.concatenate(list(numbers.values())) > lsp_train_images))


def survey(images, raw, largest_share, parallel):
    """Decode every image, and leave out those that can't be read or whose joints can't be theirs.

    parallel  map(function, tasks), see deeppose.parallel
    Returns   the Photographs that are of use, and a list of {source, image, reason} for the others
    Raises    Failure where more than largest_share of the images are of no use or absent, or a side is left empty
    """
    sizes, thumbnails, faults = stored_crops.survey(images.path, images.member, parallel)
    for row, joint in zip(*_astray(images.joints, sizes)):
        x, y = images.joints[row, joint]
        faults[row] = faults[row] or (f"{LSP.joints[joint]} at ({x:g}, {y:g}), far outside the image of "
                                      f"{sizes[row, 0]} x {sizes[row, 1]} pixels")
    unreadable = [{"source": name, "image": f"number {number + 1}", "reason": "no such image"}
                  for name, data in raw.items() for number in range(len(data.joints)) if number + 1 not in data.members]
    unreadable += [{"source": images.source[row], "image": images.file[row], "reason": faults[row]}
                   for row in np.flatnonzero(faults)]
    readable = faults == None  # noqa: E711  an array of objects, compared one by one
    share = len(unreadable) / (len(unreadable) + readable.sum())
    if share > largest_share:
        listed = "; ".join("{source} {image}: {reason}".format(**fault) for fault in unreadable[:5])
        raise Failure(f"{len(unreadable)} images ({share:.1%}) can't be used, e.g. {listed}; get the data anew, "
                      f"or raise --largest-unreadable")
    for side, title in ((images.test, "test"), (~images.test, "train on")):
        if not readable[side].any():
            raise Failure(f"no image to {title} can be used, e.g. {images.file[side][0]}: {faults[side][0]}; "
                          f"get the data anew")
    columns = (images.source, images.path, images.member, images.joints, images.test, sizes, thumbnails)
    return Photographs(*(column[readable] for column in columns)), unreadable


def _astray(joints, sizes):
    """Rows and joints (each (K,) int) of annotated joints that are further outside their image than its larger side.

    joints  (N, J, 2) image pixels
    sizes   (N, 2) width, height
    """
    reach = sizes.max(1)[:, None, None]
    outside = (joints + 0.5 < -reach) | (joints + 0.5 > sizes[:, None] + reach)  # NaN is neither
    return np.nonzero(outside.any(2))
