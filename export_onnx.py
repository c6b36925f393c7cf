"""The trained stages as one ONNX file: stored crops as they are in, joints and their confidence out.

Normalisation, the flip test, decoding and calibration are inside; batches may be of any size. Before it is written the
file is compared with torch through onnxruntime on real crops. Needs: pip install onnx onnxscript onnxruntime

Reads   checkpoints/stage1.pt and every stage after it; data/test_images.npy to compare on, drawn figures without it
Writes  runs/pose.onnx  input "crops" (N, S, S, C) uint8 or uint16: the square round each person, its side times
                        "context", padded with "padding" beyond the image. Outputs "joints" (N, J, 2), crop pixels with
                        centres at integers, and "confidence" (N, J) where there is one. What they mean, and the
                        skeleton, is in the file's metadata, each value in JSON
"""
from deeppose.errors import Failure, UserError, run  # first, so that Ctrl-C while the others load ends in a line

import importlib
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from deeppose import arrays
from deeppose.calibration import meaning
from deeppose.claims import claimed
from deeppose.persons import LooseCrops
from deeppose.settings import parse_settings
from deeppose.stored_crops import cut, enlarge, image_boxes
from figures.scene import draw_figure
from networks.one_graph import OneGraph
from networks.trained_stages import load_stages, run_with_confidence

CHECKPOINT_DIR = "checkpoints"  # weights; checkpoints/released has those of the shipped model
DATA_DIR = "data"               # prepared arrays, to compare on
OUT = "runs/pose.onnx"          # file to write
STAGES = 0                      # 0 ... 99: how many, stage 1 among them; 0 = all that are trained
FLIP_TEST = True                # average with the mirrored window's prediction; a cascade has its own

BATCHES, TOLERANCE = (1, 2, 5), 1e-3
EXTRAS = ("onnx", "onnxscript", "onnxruntime")
LARGEST_FILE = 2 ** 31 - 2 ** 24


def main(argv=None):
    settings = parse_settings(globals(), argv)
    if lacking := [name for name in EXTRAS if importlib.util.find_spec(name) is None]:
        raise UserError(f"{' and '.join(lacking)} not installed; run: pip install {' '.join(lacking)}")
    out = Path(settings.out)
    if out.is_dir():
        raise UserError(f"{out.resolve()} is a folder; --out takes the name of a file")
    before = weights_of(out) if out.exists() else None
    stages = load_stages(settings.checkpoint_dir, None, torch.device("cpu"), settings.stages or None)
    crops = real_crops(settings.data_dir, stages[0])
    with claimed(out.parent, f"ONNX {out.stem}"):
        export(settings, stages, crops, out)
    if before not in (None, stages[-1].fingerprint):
        print("it replaces one of other weights")


def export(settings, stages, crops, out):
    graph = OneGraph(stages, settings.flip_test)
    size = sum(weights.nbytes for weights in graph.state_dict().values())
    if size > LARGEST_FILE:
        raise UserError(f"{len(stages)} stages have {size / 1e9:.1f} GB of weights, and an ONNX file holds 2 at most; "
                        "export fewer: --stages 1")
    content = in_onnx(graph, crops, facts(graph, stages))
    compare(content, graph, stages, crops)
    with arrays.whole(out) as temporary:
        temporary.write_bytes(content)
    print(f"written: {out}, {len(content) / 1e6:.1f} MB, stage{'s' if len(stages) > 1 else ''} "
          f"{' and '.join(str(number) for number in range(1, len(stages) + 1))}")


def weights_of(path):
    """The fingerprint in a file of this script's. Raises UserError where it is another program's."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        told = {each.key: each.value for each in onnx.load(path, load_external_data=False).metadata_props}
        return json.loads(told["fingerprint"])
    except (DecodeError, KeyError, ValueError):
        raise UserError(f"{path.resolve()} is there already and was not written by export_onnx.py; name another --out"
                        ) from None


def facts(graph, stages):
    """What the file says of itself: name -> what JSON holds."""
    first = stages[0]
    found = {"joints": list(first.skeleton.joints), "skeleton": first.skeleton.plain(), "crop_size": first.crop_size,
             "context": first.context, "pixels": first.pixels.plain(), "padding": list(first.pixels.padding),
             "stages": len(stages), "flip_test": graph.flip_test, "fingerprint": stages[-1].fingerprint,
             "calibration": graph.calibration.plain() if graph.calibration else None}
    found["confidence"] = meaning(first.skeleton) if graph.calibration else \
        "the network's own measure of how sure it is, 0 ... 1; no probability"
    return found


def in_onnx(graph, crops, facts):
    """The bytes of an ONNX file. crops (at least 2, S, S, C), as it will see them."""
    import onnx

    unsure = graph(crops[:2])[1:] == ()
    outputs = ["joints"] if unsure else ["joints", "confidence"]
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(graph, (crops[:2],), dynamo=True, input_names=["crops"], output_names=outputs,
                                        dynamic_shapes=({0: torch.export.Dim("N")},), opset_version=18, verbose=False)
    except torch.onnx.OnnxExporterError as error:
        raise Failure(f"these networks can't be one ONNX graph ({str(error).strip().splitlines()[0]}); export fewer "
                      "stages, or another network") from None
    model = program.model_proto
    if unsure:
        del facts["confidence"]
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in facts.items()})
    return model.SerializeToString()


def compare(content, graph, stages, crops):
    """Raise Failure where onnxruntime gives other joints, or another confidence, than the stages as torch runs them."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    first = stages[0]
    seen = crops.view(torch.int16) if crops.dtype == torch.uint16 else crops
    poses, confidences = run_with_confidence(stages, LooseCrops(seen, first.context, first.pixels, first.skeleton),
                                             torch.arange(len(seen)), graph.flip_test)
    apart = {}
    for batch in BATCHES:
        for output, expected, unit in zip(session.run(None, {"crops": crops[:batch].numpy()}),
                                          (poses[-1], confidences[-1]), ("pixels", "in confidence")):
            found = float(np.abs(output - expected[:batch].numpy()).max())
            if not found <= TOLERANCE:
                raise Failure(f"onnxruntime and torch differ by {found:.3g} {unit} in a batch of {batch}; nothing is "
                              "written; try another version of onnxruntime or torch")
            apart[unit] = max(found, apart.get(unit, 0.0))
    print(f"onnxruntime and torch, batches of {', '.join(map(str, BATCHES))}: at most "
          + ", ".join(f"{found:.1e} {unit}" for unit, found in apart.items()) + " apart")


def real_crops(data_dir, stage1):
    """As many crops as the largest batch to compare on, (N, S, S, C) tensor: of test persons, or of drawn figures."""
    count, size, pixels = max(BATCHES), stage1.crop_size, stage1.pixels
    path = Path(data_dir, "test_images.npy")
    if path.exists():
        images = arrays.load(path, mmap=True)
        if images.shape[1:] != (size, size, pixels.channels) or images.dtype != pixels.dtype:
            raise UserError(f"{path.resolve()} holds crops {images.shape[1:]} {images.dtype}, the stages take "
                            f"{(size, size, pixels.channels)} {np.dtype(pixels.dtype)}; name another --data-dir")
        crops = images[np.linspace(0, len(images) - 1, count).astype(int)]
        print(f"compared on test persons of {path}")
    else:
        figures = [draw_figure(0, number)[0] for number in range(1, count + 1)]
        if pixels.channels == 1:
            low, high = (np.float32(np.clip(pixels.mean[0] + side * pixels.deviation[0], 0, 2 ** pixels.bits - 1))
                         for side in (-2, 2))  # as what the networks know: depths may lie far below the largest number
            figures = [Image.fromarray(low + np.asarray(figure.convert("L"), np.float32) * ((high - low) / 255))
                       for figure in figures]
        crops = [cut(figure, enlarge(image_boxes(np.array([figure.size])), stage1.context)[0], size, pixels)
                 for figure in figures]
        print(f"compared on drawn figures, since there is no {path}")
    return torch.from_numpy(np.stack(crops))


if __name__ == "__main__":
    run(main)
