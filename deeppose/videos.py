"""Films read and written a frame at a time, by PyAV (pip install av)."""
import contextlib
import os
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image

from .archives import Unreadable, in_words
from .arrays import whole
from .errors import Failure, UserError

QUALITY = 23         # x264's constant rate factor
ROOM = 2             # times the input's bits a second that a picture of it may take
LEAST_RATE = 200_000  # bits a second that it may take at any rate
MOST_PIXELS = 8_000_000  # of the frames that are looked at together
SQUEEZED = (1 / 4, 4)  # least and most width of a pixel in its heights: beyond, a file tells nonsense
EVEN = 0.002  # seconds by which a frame may miss an even rate: some files count milliseconds
TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
TIME_BASE = Fraction(1, 90_000)  # of what is written: exact for the usual rates


@dataclass
class Frame:
    """image    PIL RGB image, upright, of square pixels
    number   from 0
    seconds  when it is shown, from the first frame
    """
    image: Image.Image
    number: int
    seconds: float


@dataclass
class Film:
    """rate      frames a second, a Fraction
    bit_rate  bits a second of the picture, 0 where the file does not tell
    expected  number of frames that the file tells, 0 where it does not
    frames    iterator of Frame; what is broken ends it with Unreadable
    """
    rate: Fraction
    bit_rate: int
    expected: int
    frames: object


def pyav():
    """The module av. Raises UserError where it is not installed."""
    try:
        import av  # only here: few runs need it
    except ImportError:
        raise UserError("videos are read and written by PyAV, which is not installed; run: pip install av") from None
    av.logging.set_level(av.logging.PANIC)  # errors are told here
    return av


@contextlib.contextmanager
def opened(path):
    """Open a film: gives Film. Raises Unreadable where it is none."""
    av = pyav()
    try:
        if not os.path.isfile(path):
            raise Unreadable("no regular file" if os.path.lexists(path) else "not found")
        container = av.open(os.fspath(path), metadata_errors="ignore")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise Unreadable(f"no video that can be read ({_said(error)})") from None
    with container:
        if not container.streams.video:
            raise Unreadable("it has no pictures")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        seconds = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
        bit_rate = stream.bit_rate or (int(8 * os.path.getsize(path) / seconds) if seconds else 0)
        yield Film(rate, bit_rate, stream.frames or round(seconds * rate), _frames(av, container, stream, rate))


def _frames(av, container, stream, rate):
    start, last = None, -1.0
    wide = float(stream.sample_aspect_ratio or 1)
    wide = wide if SQUEEZED[0] <= wide <= SQUEEZED[1] else 1
    try:
        for number, frame in enumerate(container.decode(stream)):
            seconds = float(number / rate) if frame.pts is None else float(frame.pts * frame.time_base)
            start = seconds if start is None else start
            seconds -= start
            if abs(seconds - number / rate) < EVEN:
                seconds = float(number / rate)
            last = seconds = max(seconds, last + 1e-4)  # broken files go back in time
            image = Image.fromarray(frame.to_ndarray(format="rgb24"))
            if wide != 1:
                image = image.resize((max(1, round(image.width * wide)), image.height), Image.Resampling.BICUBIC)
            if turn := TURNS.get(frame.rotation % 360):  # how a player turns it, anticlockwise
                image = image.transpose(turn)
            yield Frame(image, number, seconds)
    except (av.FFmpegError, OSError, ValueError) as error:
        place = "from its first picture on" if start is None else f"after {last:.2f} seconds"
        raise Unreadable(f"broken {place} ({_said(error)})") from None
    if start is None:
        raise Unreadable("it has no pictures")


def batches(frames, most):
    """Lists of frames that follow each other: `most` of them, or fewer large ones."""
    batch = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == most or len(batch) * frame.image.width * frame.image.height >= MOST_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


def until_broken(frames, faults):
    """The frames up to where the film is broken, whose reason is added to a list then."""
    try:
        yield from frames
    except Unreadable as error:
        faults.append(str(error))


@contextlib.contextmanager
def writing(path, film):
    """Write an MP4 of H.264 that browsers play, whole or not at all.

    film    Film that it is made from, whose rate it has, and about whose size
    Gives   add(image, seconds), PIL RGB images of one size, which loses a line or column where it is odd
    Raises  Failure where it can't be written
    """
    av = pyav()
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(whole(path))
        container = stream = None

        def add(image, seconds):
            nonlocal container, stream
            width, height = (max(2, length - length % 2) for length in image.size)  # yuv420p has colours for 2 x 2
            if container is None:
                container = stack.enter_context(av.open(str(temporary), "w", format="mp4",
                                                        options={"movflags": "+faststart"}))
                stream = container.add_stream("libx264", rate=film.rate, options=_options(film.bit_rate))
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.codec_context.time_base = stream.time_base = TIME_BASE
            if image.size != (width, height):
                image = image.crop((0, 0, width, height))
            frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
            frame.pts, frame.time_base = round(seconds / TIME_BASE), TIME_BASE
            container.mux(stream.encode(frame))

        try:
            yield add
            if container is not None:
                container.mux(stream.encode())
                container.close()
        except av.FFmpegError as error:
            raise Failure(f"{os.path.abspath(path)} can't be written ({_said(error)}); make room there, or leave the "
                          "pictures out with --no-overlays") from None


def _said(error):
    """What FFmpeg or the system says of an error."""
    return getattr(error, "strerror", None) or in_words(error)


def _options(bit_rate):
    options = {"crf": str(QUALITY), "preset": "veryfast", "x264-params": "colormatrix=smpte170m"}
    if bit_rate:
        most = max(LEAST_RATE, ROOM * bit_rate)
        options |= {"maxrate": str(most), "bufsize": str(2 * most)}
    return options
