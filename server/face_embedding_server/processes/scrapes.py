"""The metrics of all processes as one: each sample says of which process it is."""

from collections.abc import Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.registry import Collector

from face_embedding_server.processes.member import Member

_PREFIX = "face_embedding_process"


class MembersCollector(Collector):
    """Asks each process for its metrics whenever somebody asks for those of all."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

    def collect(self) -> Iterator[Metric]:
        """Yield what all of them have, and which of them serve."""
        serving = Metric(f"{_PREFIX}_serving", "Whether a process serves", "gauge")
        restarts = Metric(f"{_PREFIX}_restarts", "How often a process was started anew", "counter")
        families = {each.name: each for each in (serving, restarts)}
        for member in self._members:
            label = {"process": str(member.number)}
            serving.add_sample(serving.name, label, float(member.is_serving))
            restarts.add_sample(f"{restarts.name}_total", label, member.restarts)
            for given in member.scrape():
                family = families.setdefault(
                    given.name, Metric(given.name, given.documentation, given.type)
                )
                family.samples += [
                    each._replace(labels=each.labels | label) for each in given.samples
                ]
        yield from families.values()

    def describe(self) -> list[Metric]:
        """Name nothing ahead: a registry would ask all processes."""
        return []
