"""The pages' tables of scores hold what the published results say."""
import json
import re

import pytest

from deeppose.reports import PROJECT

METRICS = (("pck@0.2", "mean"), ("pck@0.2", "mean12"), ("pckh@0.5", "mean"), ("pcp_strict@0.5", "mean10"),
           ("pcp_strict@0.5", "mean8"))
# the README's rows, what comes before a comma or colon that explains it -> file of results/ and whose scores of it
ROWS = {"mean pose of the training persons": ("lsp_lite_released", "mean pose"),
        "`--preset small`, stage 1": ("lsp_cpu", "stage 1"),
        "`--preset small`, stages 1 to 3": ("lsp_cpu", "stage 3"),
        "heatmaps by a ResNet-18 from random initialisation": ("lsp_scratch", "stage 1"),
        "the shipped stage 1": ("lsp_lite_released", "stage 1"),
        "the shipped stages 1 and 2": ("lsp_pose_refiner_released", "stage 2")}
NO_FILE = ("DeepPose (2014)", "Convolutional Pose Machines")  # published by others, or scored without a file being kept


def published():
    """What test runs wrote: scores of results/lsp_*.json, wherever they stand there."""
    def below(content):
        if isinstance(content, dict):
            if isinstance(content.get("pck@0.2"), dict) and isinstance(content["pck@0.2"].get("mean"), float):
                yield content
            for value in content.values():
                yield from below(value)
    for path in sorted((PROJECT / "results").glob("lsp_*.json")):
        yield from below(json.loads(path.read_text(encoding="utf-8")))


def cells_of(scores, error):
    found = []
    for metric, mean in METRICS:
        if not isinstance(scores.get(metric, {}).get(mean), float):
            return None
        off = scores.get("standard_error", {}).get(metric + f"_{mean}" * (mean != "mean"))
        if error and off is None:
            return None
        found.append(f"{scores[metric][mean]:.1f}" + (f" ± {off:.1f}" if error else ""))
    return tuple(found)


def table(page, head):
    """Rows of the table under a line that begins so: lists of cells, without emphasis."""
    lines = (PROJECT / page).read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(head)) + 2
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip().replace("**", "") for cell in line.strip("|").split("|")])
    return rows


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_every_row_of_scores_is_of_a_published_file(page):
    known = {error: {cells_of(scores, error) for scores in published()} for error in (True, False)}
    rows = table(page, "| | PCK@0.2 | 12 joints | PCKh@0.5 |")
    checked = 0
    for title, *cells in rows:
        if any(name in title for name in NO_FILE) or cells[0] == "not measured":
            continue
        assert tuple(cells) in known["±" in cells[0]], title
        checked += 1
    assert checked > len(rows) / 2


def test_the_readmes_rows_are_those_of_their_files():
    rows = {title: tuple(cells) for title, *cells in table("README.md", "| | PCK@0.2 | 12 joints | PCKh@0.5 |")}
    for title, (name, place) in ROWS.items():
        scores = json.loads((PROJECT / f"results/{name}.json").read_text(encoding="utf-8"))[place]
        own, = (cells for row, cells in rows.items() if re.split(rf"(?<={re.escape(title)})[:,]", row)[0] == title)
        assert own == cells_of(scores, True), title


def test_minutes_and_their_scores_are_the_published_ones():
    rows = json.loads((PROJECT / "results/lsp_minutes.json").read_text(encoding="utf-8"))["rows"].values()
    told = table("README.md", "| `train_stage1.py --preset lite` | minutes |")
    assert len(told) == len(rows)
    for (_, minutes, *scores), row in zip(told, rows):
        assert re.match(r"\d+", minutes)[0] == f"{row['minutes']:.0f}"
        assert minutes.split(", ")[1].split(" ")[0] in row["hardware"]
        assert scores == [f"{row[metric][mean]:.1f}" for metric, mean in
                          (("pck@0.2", "mean"), ("pcp_strict@0.5", "mean10"), ("pcp_strict@0.5", "mean8"))]
