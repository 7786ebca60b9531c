"""Files of named arrays, ``.npz``: written atomically, read without ever unpickling."""

import io
import os
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from ai_econ_jax import workdir


class NpzError(ValueError):
    """A file that is not a whole ``.npz`` of plain arrays; one line without the file's name."""


def write(path: str | os.PathLike, arrays: Mapping[str, Any]) -> None:
    """Writes arrays, compressed; the same arrays make the same bytes whenever they are written."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    workdir.write_bytes(pathlib.Path(path), buffer.getvalue())


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads every array of a file; whatever bytes were damaged, it is these arrays or an error.

    Raises:
      OSError: The file cannot be opened.
      NpzError: It is no ``.npz``, or one of its arrays is damaged or holds pickled objects.
    """
    with open(path, "rb") as file:
        if file.read(6) == b"\x93NUMPY":
            raise NpzError("holds one bare array, must be an .npz archive of named ones")
        # The formats' readers promise no set of errors: a damaged byte may claim an unknown version
        # of zip, encryption, or more memory than there is.
        try:
            archive = zipfile.ZipFile(file)
        except Exception:
            raise NpzError("not an .npz archive") from None
        # A damaged length hides the entries behind it: their number stands 12 bytes before the end.
        file.seek(-12 - len(archive.comment), os.SEEK_END)
        if int.from_bytes(file.read(2), "little") != len(archive.namelist()):
            raise NpzError("damaged .npz archive, its table of contents is cut")
        arrays = {}
        for member in archive.namelist():
            # A damaged name may hold a line's end, which the message must not.
            name = "".join(c if c.isprintable() else "?" for c in member.removesuffix(".npy"))
            try:
                # The whole member, for its checksum is compared at its end and nowhere before.
                content = io.BytesIO(archive.read(member))
                arrays[name] = np.lib.format.read_array(content, allow_pickle=False)
                rest = content.read()
            except Exception as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                if "allow_pickle" in reason:
                    reason = "it holds pickled objects, which are refused; save plain arrays"
                raise NpzError(f"field {name} cannot be read ({reason})") from None
            if rest:
                raise NpzError(f"field {name} cannot be read ({len(rest)} bytes after the array)")
    return arrays
