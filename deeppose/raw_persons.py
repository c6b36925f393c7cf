"""The persons of a raw data set, one row each: what a data set's script reads, and step 1 makes arrays of."""
from dataclasses import dataclass, fields

import numpy as np


@dataclass
class RawPersons:
    """One row a person. Several may stand in one image; their rows follow each other.

    source      (N,) str, the part of the data that a person comes from, as tables and --oversample name it
    path        (N,) object of str, the folder, zip or tar of its image
    member      (N,) object of str, the image's name in there
    image       (N,) object of str, the image's name as dataset.json gives it
    joints      (N, J, 2) float64, image pixels, centres at integers from 0; NaN = not annotated
    test        (N,) bool, whether it is a test person
    boxes       (N, 3) float64, outer edges x0, y0 and side in image pixels, of the square that a network sees at test;
                NaN = by a rule of the data set's script, which fills it in before the crops are cut
    head_sizes  (N,) float64, image pixels, the reference of PCKh; NaN = none
    person      (N,) int, which of an image's persons it is
    sizes       (N, 2) int, width and height of the image; `preparing.survey` fills it in
    """
    source: np.ndarray
    path: np.ndarray
    member: np.ndarray
    image: np.ndarray
    joints: np.ndarray
    test: np.ndarray
    boxes: np.ndarray
    head_sizes: np.ndarray
    person: np.ndarray
    sizes: np.ndarray = None

    def __len__(self):
        return len(self.source)

    def chosen(self, rows):
        """The persons of some rows, by index or mask."""
        columns = (getattr(self, field.name) for field in fields(self))
        return type(self)(*(None if column is None else column[rows] for column in columns))

    @property
    def first(self):
        """(N,) bool, whether a row is the first of its image."""
        if not len(self):
            return np.zeros(0, bool)
        same = (self.path[1:] == self.path[:-1]) & (self.member[1:] == self.member[:-1])
        return np.append(True, ~same.astype(bool))


def objects(values):
    """A list of texts as an array that holds each text once, whatever its length."""
    array = np.empty(len(values), object)
    array[:] = values
    return array
