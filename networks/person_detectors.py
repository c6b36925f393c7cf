"""torchvision's detectors, asked where the persons in a photograph are."""
import os

import numpy as np
import torch

from deeppose.checkpoints import read_tensors, weights_fault
from deeppose.errors import Failure, UserError, reason
from deeppose.overlays import on_screen

from .backbones import torchvisions_weights

PERSON = 1  # COCO's category, in torchvision's detectors as well


class PersonDetector:
    """Finds persons in photographs; several threads may use it at once.

    name         of a detector in torchvision.models.detection that knows COCO's categories
    weights      "coco": torchvision's, downloaded once into torch's cache; else a file of them
    least_score  of what it takes for a person, 0 ... 1
    Raises       UserError where the weights can't be had or do not fit, Failure where the file holds none
    """

    def __init__(self, name, weights, device, least_score=0.6):
        import torchvision  # here, since it takes as long to load as torch itself
        known = torchvision.models.list_models(module=torchvision.models.detection)
        if name not in known:
            raise UserError(f"no detector named {name!r}; there are: {', '.join(known)}")
        self.network = torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
        state = _read(weights) if weights != "coco" else torchvisions_weights(
            name, f"weights of {name}", "name a file with --detector-weights")
        own = self.network.state_dict()
        if unlike := [key for key, value in own.items() if key not in state or state[key].shape != value.shape]:
            raise UserError(f"{weights} holds no weights of {name}: {len(unlike)} of {len(own)} tensors are missing or "
                            f"of another form, among them {unlike[0]}; name others with --detector-weights, or another "
                            "--detector")
        self.network.load_state_dict({key: state[key] for key in own})
        self.network.to(device)
        self.device, self.least_score = device, least_score

    @torch.inference_mode()
    def boxes(self, photo):
        """Boxes (P, 4) x0, y0, x1, y1 of the persons in a Photo, outer edges from the image's corner, image pixels; the
        surest first."""
        pixels = torch.from_numpy(np.array(on_screen(photo.image))).to(self.device)
        found, = self.network([pixels.permute(2, 0, 1) / 255])  # (H, W, 3) uint8 -> (3, H, W) in 0 ... 1
        boxes = found["boxes"][(found["labels"] == PERSON) & (found["scores"] >= self.least_score)]
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
        return photo.reduction * boxes.cpu().double().numpy()


def _read(path):
    where = os.path.realpath(path)
    if not os.path.isfile(path):
        raise UserError(f"{where} is no file of weights; --detector-weights takes one, or 'coco'")
    try:
        state = read_tensors(path)
    except OSError as error:
        raise Failure(f"weights can't be read: {reason(error)}; --detector-weights takes a file, or 'coco'") from None
    except Exception:  # torch raises many kinds for what is no file of weights, and advises to open it nevertheless
        state = None
    fault = weights_fault(state) if isinstance(state, dict) and state else "is no file of weights"
    if fault:
        raise Failure(f"{where} {fault}; --detector-weights takes torchvision's, or 'coco'")
    return state
