"""How large networks can be that come from anywhere.

The largest that is known here, ResNet100, has 65 million values in 771 arrays, 1,132 nodes, and
results of 800,000 values for a face.
"""

import math
from typing import Any

from face_embedding_models.errors import ConversionError

# The work of compiling grows with their square: 6 s for a chain of 5,000, over 30 s for 9,000.
MAX_NODES = 6_000
MAX_SYMBOL_BYTES = 8 << 20
MAX_ARRAYS = 20_000
MAX_VALUES = 250_000_000
MAX_RESULT_VALUES = 1 << 27


def check_result(where: str, shape: Any) -> None:
    """Refuse an operator whose result has more values for a face than any network needs.

    Args:
        where: the operator and its name.
        shape: of the result, a PartialShape of OpenVINO.

    Raises:
        ConversionError: if it has.
    """
    if shape.rank.is_dynamic:
        return
    sides = [side.get_length() if side.is_static else 1 for side in shape]
    if min(sides, default=0) < 0 or math.prod(sides) > MAX_RESULT_VALUES:
        raise ConversionError(
            f"{where}: its result for a face has the shape {sides}, and at most "
            f"{MAX_RESULT_VALUES:,} values are computed; is the file damaged?"
        )
