"""The image files of a folder, and what else it holds: nothing is left out without a word."""

from pathlib import Path

from face_embedding_models import regular_files
from face_embedding_server.evaluation.left_out import LeftOut
from face_embedding_server.faces import headers
from face_embedding_server.faces.images import image_files

_NO_IMAGE = LeftOut("NO_IMAGE", f"no file with the suffix of a {headers.NAMES} file")


def read(folder: Path) -> tuple[dict[str, bytes], dict[str, LeftOut]]:
    """Return the different images of a folder by their names, and what is left out of it.

    Raises:
        OSError: if the folder or an image cannot be read.
    """
    images: dict[str, bytes] = {}
    names: dict[bytes, str] = {}
    files = image_files(folder)
    left_out = {each.name: _NO_IMAGE for each in sorted(set(folder.iterdir()) - set(files))}
    for file in files:
        data = regular_files.read(file, regular_files.DATA_BYTES)
        first = names.setdefault(data, file.name)
        if first == file.name:
            images[file.name] = data
        else:
            left_out[file.name] = LeftOut("DUPLICATE", f"the same file as {first}")
    return images, left_out
