"""A queue that goes round those who wait in it."""

from face_embedding_server.inference.fair import FairQueue


def drained(queue: FairQueue[str]) -> str:
    """All that is left in a queue, in its order."""
    taken = []
    while item := queue.get():
        taken.append(item)
    return " ".join(taken)


def test_goes_round() -> None:
    """Each flow has one turn after the other, and its own order."""
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "b2", "c1"):
        queue.put(item, item[0])
    assert drained(queue) == "a1 b1 c1 a2 b2 a3"


def test_goes_round_calls_of_a_caller() -> None:
    """A caller with many calls has no more turns than another, and each of its calls as many."""
    queue: FairQueue[str] = FairQueue()
    for item in ("a1x", "a1y", "a2x", "a2y", "b1x", "b1y"):
        queue.put(item, item[0], item[1])
    assert drained(queue) == "a1x b1x a2x b1y a1y a2y"


def test_new_ones_first() -> None:
    """Who comes anew is served before those who have had a turn."""
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3"):
        queue.put(item, "a")
    assert queue.get() == "a1"
    queue.put("b1", "b")
    assert drained(queue) == "b1 a2 a3"


def test_new_only_once() -> None:
    """Who comes again at once is not new again, so that nobody waits for ever."""
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3"):
        queue.put(item, "a")
    queue.put("b1", "b")
    assert (queue.get(), queue.get()) == ("a1", "b1")
    queue.put("b2", "b")
    assert drained(queue) == "a2 b2 a3"


def test_may() -> None:
    """A flow whose turn it may not be is passed over, and keeps what it has."""
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "b1"):
        queue.put(item, item[0])
    assert queue.get(lambda name: name != "a") == "b1"
    assert queue.get(lambda name: name != "a") is None
    assert drained(queue) == "a1"


def test_length() -> None:
    """The length is that of all flows, and nothing stays of those that are empty."""
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "b1"):
        queue.put(item, *item)
    assert len(queue) == 3
    drained(queue)
    assert len(queue) == 0
    assert queue._flows == {}
