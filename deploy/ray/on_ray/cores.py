"""A share of a machine's processors for one process, which no other of these processes has.

An engine makes as many threads as its process may use processors. Ray counts those and keeps no
process to its own: without this, each worker of a node would make threads for the whole of it.
"""

import itertools
import os
import random
import socket

from face_embedding_server.inference import threads

# They are held until this process ends, whatever ends it.
_claims: list[socket.socket] = []


def claim(count: int, among: str = "face-embedding") -> None:
    """Keep this process to so many processors, if it may use more.

    Which ones is left to chance, as others may share them out too; where fewer are free, the rest
    is shared.

    Args:
        count: how many.
        among: the name of those who share the processors of this machine out in this way.

    Source: `sched_setaffinity(2)`, `unix(7)` on abstract names.
    """
    if count >= threads.available_cpus():
        return
    allowed = list(os.sched_getaffinity(0))
    random.shuffle(allowed)
    free = (cpu for cpu in allowed if _is_free(f"{among}/cpu-{cpu}"))
    taken = list(itertools.islice(free, count))
    others = [cpu for cpu in allowed if cpu not in taken]
    os.sched_setaffinity(0, [*taken, *others][:count])


def _is_free(name: str) -> bool:
    """Take a name that only one process of this machine can have, if nobody has it."""
    taken = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        taken.bind(f"\0{name}")
    except OSError:
        taken.close()
        return False
    _claims.append(taken)
    return True
