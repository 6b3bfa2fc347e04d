"""Leave out of the image what a server on processors never loads: leave_out.py SITE_PACKAGES.

A pattern that finds nothing is an error, so that the list stays that of the packages' versions.
Bytecode stays: it is a twentieth, and while the image runs nothing could be kept in its place.
"""

import platform
import shutil
import sys
from pathlib import Path

# There are none for ARM.
INTEL = (
    "openvino/libs/libopenvino_intel_gpu_plugin.so",
    "openvino/libs/cache.json",
    "openvino/libs/libopenvino_intel_npu_plugin.so",
)
LEFT_OUT = {
    "engines of other devices": (
        *(INTEL if platform.machine() == "x86_64" else ()),
        "openvino/libs/libopenvino_auto_plugin.so",
        "openvino/libs/libopenvino_auto_batch_plugin.so",
        "openvino/libs/libopenvino_hetero_plugin.so",
    ),
    # Networks come as ONNX or are built by the models' own code, and are kept as IR.
    "readers of formats that are not served": (
        "openvino/libs/libopenvino_tensorflow*",
        "openvino/libs/libopenvino_pytorch*",
        "openvino/libs/libopenvino_paddle*",
        "openvino/libs/libopenvino_gguf*",
        "openvino/libs/libopenvino_jax*",
        "openvino/frontend/tensorflow",
        "openvino/frontend/pytorch",
        "openvino/frontend/paddle",
        "openvino/frontend/jax",
        "openvino/torch",
        "openvino/tools",
    ),
    "what C++ is built with": (
        "openvino/include",
        "openvino/cmake",
        "openvino/libs/libopenvino_c.so*",
        "numpy/_core/include",
        "onnx/**/*.cc",
        "onnx/**/*.h",
    ),
    "tests and their data": ("onnx/backend/test", "numpy/**/tests"),
    "detectors of OpenCV's": ("cv2/data/*.xml",),
}


def main() -> None:
    """Remove them, and print how much it was."""
    packages = Path(sys.argv[1])
    for what, patterns in LEFT_OUT.items():
        before = size_mb(packages)
        for pattern in patterns:
            found = sorted(packages.glob(pattern))
            if not found:
                sys.exit(f"{pattern}: there is nothing to leave out")
            for path in found:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        print(f"left out {before - size_mb(packages):.1f} MB: {what}")


def size_mb(folder: Path) -> float:
    """Return the size of a folder's files, in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()
