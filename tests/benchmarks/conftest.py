"""The benchmarks are no package, but modules beside each other."""

import sys
from pathlib import Path

# Last, as one of them has the name of a module of Python's.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
