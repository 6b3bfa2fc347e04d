"""Fuzz one target by coverage: `python fuzz_run.py TARGET [CORPUS …] [-option=value …]`.

The options are those of libFuzzer, which `make fuzz` gives. What fails is left in `build/fuzz`:
mend it, and add the file to the corpus under a name that says what is wrong with it.
"""

import sys

import atheris

with atheris.instrument_imports(include=["face_embedding_models", "face_embedding_server"]):
    from fuzz_targets import TARGETS


def main() -> None:
    """Fuzz until the time is over, or something fails."""
    program, target, *options = sys.argv
    atheris.Setup([program, *options], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
