"""MATLAB files of figures."""
import io

import numpy as np
import scipy.io

HEADER = b"MATLAB 5.0 MAT-file, figures drawn by demo_data.py"


def mat(content, packed=False):
    """A MATLAB file's bytes. The header's free text is ours: SciPy's has the time of day, so each file is another."""
    file = io.BytesIO()
    scipy.io.savemat(file, content, do_compression=packed)
    return HEADER.ljust(116) + file.getvalue()[116:]


def structs(rows, fields):
    """A MATLAB struct array (1, N) of dictionaries; [] where one lacks a field."""
    array = np.empty((1, len(rows)), [(field, object) for field in fields])
    for number, row in enumerate(rows):
        for field in fields:
            array[field][0, number] = row.get(field, np.zeros((0, 0)))
    return array


def cells(values):
    """A MATLAB cell array (N, 1)."""
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array
