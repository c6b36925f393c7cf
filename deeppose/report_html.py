"""A page of HTML in one file: elements, tables, pictures with poses over them; nothing in it asks for another file."""
import base64
import html
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .looks import COLOURS, OUTLINE, TRUTH, on_screen, segments

STYLE = Path(__file__).with_name("report.css")
GENERATOR = "report.py of DeepPose, step by step"
VOID = {"meta", "link", "br", "hr", "img", "input"}  # elements that have no end
# what a browser may load for the page: what is in it, and nothing else
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
WIDTHS = {"predicted": 0.017, "truth": 0.007}        # lines of a pose, sides of its picture
OUTLINE_WIDTH, DOT = 0.006, 1.7                      # the rim of a line, sides; a joint's dot, widths of its line
SHORTEST = 0.02                                      # of an arrow, sides
FARTHEST = 3.0                                       # sides: a wilder joint is out of sight all the same


class Html(str):
    """Text that is markup already; all other text is escaped where it enters an element."""


def element(name, /, *content, **attributes):
    """An element of HTML or SVG.

    content     texts, Html, or lists of both; None is left out
    attributes  class_="a" is class, stroke_width=2 is stroke-width; None and False are left out, True has no value
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            key = key.rstrip("_").replace("_", "-")
            words.append(key if value is True else f'{key}="{html.escape(_text(value))}"')
    start = f"<{' '.join(words)}>"
    return Html(start if name in VOID else f"{start}{together(*content)}</{name}>")


def together(*content):
    """Texts, Html, and lists of both, one after another."""
    return Html("".join(together(*each) if isinstance(each, list | tuple) else
                        each if isinstance(each, Html) else html.escape(_text(each)) for each in content
                        if each is not None))


def _text(value):
    """Floats to what can be seen; characters that no file in UTF-8 may hold, such as odd names have, as ?."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.encode("utf-8", "replace").decode()


def page(title, sections, made):
    """A whole document, as text.

    sections  list of `section`
    made      from what and by what, for its foot
    """
    head = element("head", element("meta", charset="utf-8"),
                   element("meta", http_equiv="Content-Security-Policy", content=POLICY),
                   element("meta", name="generator", content=GENERATOR),
                   element("meta", name="viewport", content="width=device-width, initial-scale=1"),
                   element("meta", name="color-scheme", content="light dark"),
                   element("title", title), element("style", Html(STYLE.read_text(encoding="utf-8"))))
    links = [element("li", element("a", section.title, href=f"#{section.name}")) for section in sections]
    body = element("body", element("a", "Skip to the content", href="#content", class_="skip"),
                   element("header", element("h1", title)),
                   element("nav", element("ul", *links), aria_label="Sections"),
                   element("main", *(section.content for section in sections), id="content"),
                   element("footer", element("p", made)))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def is_report(path):
    """Whether a file is a page of `page`'s."""
    try:
        with open(path, "rb") as file:
            return f'content="{GENERATOR}"'.encode() in file.read(1000)
    except IsADirectoryError:
        return False


@dataclass
class Section:
    """name: what links reach it by."""
    name: str
    title: str
    content: Html


def section(name, title, *content):
    """A Section of texts and Html."""
    return Section(name, title, element("section", element("h2", title, id=f"{name}-title"), *content, id=name,
                                        aria_labelledby=f"{name}-title"))


def paragraph(*content, **attributes):
    return element("p", *content, **attributes)


def missing(text):
    """What is not there, and how to make it."""
    return paragraph(text, class_="missing")


def details(summary, *content):
    """What is shown when it is asked for."""
    return element("details", element("summary", summary), *content)


def table(caption, head, rows, words=False):
    """A table, which scrolls within itself where it is wider than the page.

    head   the columns' titles; the first column has the rows' own
    rows   lists of cells, of the same length
    words  whether cells are texts, which may break, in place of numbers
    """
    lines = [element("tr", *(element("th", cell, scope="col") for cell in head))]
    body = [element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:]))
            for row in rows]
    inner = element("table", element("caption", caption), element("thead", *lines), element("tbody", *body),
                    class_="words" if words else None)
    return element("div", inner, class_="scroll", role="region", aria_label=caption, tabindex="0")


def anchor(text):
    """A text as a name that links may have."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


class Pictures:
    """Images as texts that a page can hold.

    side     longer side of the largest, pixels
    quality  of JPEG, 1 ... 95
    """

    def __init__(self, side, quality):
        self.side, self.quality = side, quality

    def of(self, pixels):
        """pixels: (h, w, C) as looks.on_screen takes them. Returns a data URI."""
        image = Image.fromarray(on_screen(np.ascontiguousarray(pixels)))
        if max(image.size) > self.side:
            image.thumbnail((self.side, self.side), Image.Resampling.BICUBIC)
        memory = io.BytesIO()
        image.save(memory, "JPEG", quality=self.quality, optimize=True)
        return "data:image/jpeg;base64," + base64.b64encode(memory.getvalue()).decode()


def picture(label, uri, size, *layers, name=None, again=False):
    """A square picture with what is drawn over it.

    label   what it shows, in words, for whoever does not see it
    uri     of Pictures; or with `again` the name of a picture that is in the page already
    size    pixels along a side: the frame of the layers, pixel centres at integers
    name    by which the same pixels may be used again
    """
    place = {"x": -0.5, "y": -0.5, "width": size, "height": size}
    image = element("use", href=f"#{uri}") if again else \
        element("image", id=name, href=uri, preserveAspectRatio="none", **place)
    return element("svg", image, *layers, viewBox=f"-0.5 -0.5 {size} {size}", role="img", aria_label=label,
                   class_="picture")


def pose_layer(joints, skeleton, size, style, class_=""):
    """A pose over a picture.

    joints  (J, 2) picture pixels, NaN = missing
    size    pixels along the picture's side
    style   predicted | truth, as drawing.contact_sheet has them
    class_  by which a page may hide it
    """
    known = np.isfinite(joints).all(1)
    joints = np.where(known[:, None], np.clip(joints, -FARTHEST * size, (1 + FARTHEST) * size), np.nan)
    lines, dots = ({side: [] for side in COLOURS} for _ in range(2))
    for ends, names in segments(joints, skeleton):
        if np.isfinite(ends).all():
            lines[skeleton.side(names)].append("M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*ends.ravel()))
    for (x, y), joint, there in zip(joints, skeleton.joints, known):
        if there:  # a line of no length with round ends is a dot
            dots[skeleton.side([joint])].append(f"M{x:.1f} {y:.1f}h0")
    width, rim = WIDTHS[style] * size, 2 * OUTLINE_WIDTH * size
    colours = COLOURS if style == "predicted" else dict.fromkeys(lines, TRUTH)
    every = [("".join("".join(part) for part in kind.values()), thick) for kind, thick in ((lines, 1), (dots, DOT))]
    drawn = [_path(path, OUTLINE, thick * width + rim) for path, thick in every]
    drawn += [_path("".join(kind[side]), colour, thick * width) for side, colour in colours.items()
              for kind, thick in ((lines, 1), (dots, DOT))]
    return element("g", *drawn, class_=f"pose {class_}".strip())


def _path(path, colour, width):
    return element("path", d=path, stroke="#{:02x}{:02x}{:02x}".format(*colour), stroke_width=f"{width:.2f}") \
        if path else None


def ring(place, size, colour=TRUTH, radius=0.035):
    """A circle round a place (2,) of a picture; nothing where it is NaN. size: the picture's side, radius: of it."""
    return _rimmed("circle", place, size, colour, lambda x, y: {"cx": x, "cy": y, "r": f"{radius * size:.2f}"})


def arrow(start, end, size, colour):
    """A line from one place (2,) of a picture to another, with a head; a small ring where they are nearly the same."""
    start, end = np.asarray(start, float), np.clip(end, -FARTHEST * size, (1 + FARTHEST) * size)
    way, path = end - start, "M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*start, *end)
    length = np.hypot(*way)
    if not length > SHORTEST * size:
        return ring(start, size, colour, SHORTEST)
    way = min(0.07 * size, length / 2) * way / length
    for turn in (2.6, -2.6):
        cos, sin = np.cos(turn), np.sin(turn)
        barb = cos * way[0] - sin * way[1], sin * way[0] + cos * way[1]
        path += "M{:.1f} {:.1f}l{:.1f} {:.1f}".format(*end, *barb)
    return _rimmed("path", start, size, colour, lambda x, y: {"d": path})


def square(centre, side, size, colour):
    """The outline of a square; all in pixels of a picture with `size` along its side."""
    return _rimmed("rect", np.asarray(centre) - side / 2, size, colour,
                   lambda x, y: {"x": x, "y": y, "width": f"{side:.1f}", "height": f"{side:.1f}"})


def _rimmed(name, place, size, colour, attributes):
    if not np.isfinite(place).all():
        return None
    given = attributes(*(f"{value:.1f}" for value in place))
    width = 0.01 * size
    return element("g", *(element(name, fill="none", stroke="#{:02x}{:02x}{:02x}".format(*tint),
                                  stroke_width=f"{thick:.2f}", stroke_linecap="round", **given)
                          for tint, thick in ((OUTLINE, 2 * width), (colour, width))))
