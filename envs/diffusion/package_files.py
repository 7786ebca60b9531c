"""Finds files of installed packages that are never imported, which would bring more than a file."""

from __future__ import annotations

import importlib.metadata
import pathlib


def find(
    package: str, version: str, names: tuple[str, ...], missing: str, error: type[Exception]
) -> tuple[pathlib.Path, ...]:
    """Paths of files, by their names alone, from a package's list of its files.

    Args:
      package: A distribution, as `pip install` names it.
      version: The one that has them, which a message about a missing file names.
      names: Of the files.
      missing: What to say when the package is not installed.
      error: Raised then, and when a file is missing.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise error(missing) from None
    known = {file.name: file for file in files}
    for name in names:
        if name not in known:
            raise error(
                f"{package} {importlib.metadata.version(package)} has no file {name}; "
                f"install {package}=={version}"
            )
    return tuple(pathlib.Path(str(known[name].locate())) for name in names)
