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


def claim(count: int) -> None:
    """Keep this process to so many processors, if it may use more.

    Which ones is left to chance, as others may share them out too; where fewer are free, the rest
    is shared.

    Source: `sched_setaffinity(2)`, `unix(7)` on abstract names.
    """
    if count >= threads.available_cpus():
        return
    allowed = list(os.sched_getaffinity(0))
    random.shuffle(allowed)
    taken = list(itertools.islice(filter(_is_free, allowed), count))
    others = [cpu for cpu in allowed if cpu not in taken]
    os.sched_setaffinity(0, [*taken, *others][:count])


def _is_free(cpu: int) -> bool:
    """Take a processor if nobody has it: a name that only one process can have."""
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0face-embedding/cpu-{cpu}")
    except OSError:
        name.close()
        return False
    _claims.append(name)
    return True
