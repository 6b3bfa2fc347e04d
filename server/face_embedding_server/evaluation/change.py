"""Whether a change of model, backend or precision changes decisions."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from face_embedding_models.similarity import cosines
from face_embedding_server.evaluation.embedding import Embedded, EmbeddingError
from face_embedding_server.evaluation.left_out import LeftOut, lines
from face_embedding_server.evaluation.metrics import wilson_interval

Unit = NDArray[np.float64]
# Of the pairs of fewer faces a tenth may flip though none does.
MIN_FACES = 10
_MIN_DECIDED = MIN_FACES * (MIN_FACES - 1) // 2


@dataclass(frozen=True)
class Flips:
    """Decisions that change by one criterion.

    Args:
        low: below this cosine similarity two faces do not match.
        high: from this one on they match; between the two, nothing is decided and nothing flips.
        decided: pairs that are decided both before the change and after it.
        new_matches: pairs that did not match before the change, and do after it.
        lost_matches: pairs that matched before the change, and do not after it.
        mixed: pairs decided differently when a stored embedding from before is compared with one
            from after; None if the two cannot be compared at all.
    """

    low: float
    high: float
    decided: int
    new_matches: int
    lost_matches: int
    mixed: int | None


@dataclass(frozen=True)
class Change:
    """What a change does to the embeddings of the same faces.

    Args:
        faces: the number of faces.
        pairs: the number of pairs of them.
        same_space: whether both sides say that their embeddings can be compared.
        min_cosine: the smallest cosine of a face's two embeddings; None in different spaces.
        mean_cosine: the mean of the same.
        max_score_change: the largest change of a pair's similarity.
        mean_score_change: the mean absolute change.
        flips: by the name of the criterion.
        before_only: the names of faces that only the side before the change could embed.
        after_only: those of faces that only the side after it could.
    """

    faces: int
    pairs: int
    same_space: bool
    min_cosine: float | None
    mean_cosine: float | None
    max_score_change: float
    mean_score_change: float
    flips: dict[str, Flips]
    before_only: tuple[str, ...] = ()
    after_only: tuple[str, ...] = ()

    @property
    def keeps_stored_embeddings(self) -> bool:
        """Whether stored embeddings can be compared with new ones as if nothing had changed.

        It is not, where too little is known to say so.
        """
        return self.same_space and not self._mixed_flips and self.open_question is None

    @property
    def _mixed_flips(self) -> bool:
        return any(each.mixed for each in self.flips.values())

    @property
    def open_question(self) -> str | None:
        """Why it cannot be said that nothing changes, in a sentence; None if it can."""
        if self.before_only or self.after_only:
            names = ", ".join([*self.before_only, *self.after_only])
            return (
                f"One side alone failed on {len(self.before_only) + len(self.after_only)} faces "
                f"({len(self.before_only)} can be embedded only before the change, "
                f"{len(self.after_only)} only after it): {names}."
            )
        if self.faces < MIN_FACES:
            return (
                f"{self.faces} faces are too few: their {self._pairs_words} only support that at "
                f"most {self.supported_flips:.1%} of decisions flip; it takes {MIN_FACES} faces "
                f"at least, better hundreds."
            )
        if self.decided < _MIN_DECIDED:
            return (
                f"{self.decided} of {self.pairs} pairs are decided at all, and only support that "
                f"at most {self.supported_flips:.1%} of decisions flip; it takes {_MIN_DECIDED} at "
                f"least: calibrate on more pairs, or give more faces."
            )
        return None

    @property
    def decided(self) -> int:
        """The number of pairs that are decided by the criterion that leaves most of them open."""
        return min(each.decided for each in self.flips.values())

    @property
    def supported_flips(self) -> float:
        """The share of decisions that may flip though none of these pairs does, at 95 %."""
        return wilson_interval(0, self.decided).high if self.decided else 1.0

    @property
    def _pairs_words(self) -> str:
        some = f"{self.decided} decided of " if self.decided < self.pairs else ""
        return f"{some}{self.pairs} pairs"

    @property
    def verdict(self) -> str:
        """What to do, in a sentence."""
        if not self.same_space:
            return "Stored embeddings have to be made again: the embedding space is another one."
        if self._mixed_flips:
            return "Stored embeddings should be made again: compared with new ones, decisions flip."
        if self.open_question:
            return f"It cannot be said that stored embeddings can be kept. {self.open_question}"
        if any(each.new_matches or each.lost_matches for each in self.flips.values()):
            return "Stored embeddings can be kept, but some decisions change."
        return (
            f"Stored embeddings can be kept: no decision changes on these faces. Their "
            f"{self._pairs_words} support that at most {self.supported_flips:.2%} of decisions "
            f"flip."
        )

    def as_json(self) -> dict[str, Any]:
        """Return the change with its verdict."""
        return {
            **asdict(self),
            "supported_flips": self.supported_flips,
            "keeps_stored_embeddings": self.keeps_stored_embeddings,
            "verdict": self.verdict,
        }


def measure(
    before: Embedded,
    after: Embedded,
    criteria: Mapping[str, tuple[float, float]],
    *,
    same_space: bool,
    names: Sequence[str] | None = None,
) -> Change:
    """Compare two embeddings of the same images.

    Args:
        before: one embedding.
        after: the other.
        criteria: by name, the similarities below which two faces do not match, and from which on
            they do; one at least.
        same_space: whether the two are of one space.
        names: of the images; None for their numbers.

    Raises:
        EmbeddingError: if there are not two faces that both could embed.
    """
    names = names or [str(index) for index in range(len(before.raw))]
    failed = [*before.errors, *after.errors]
    kept = np.setdiff1d(np.arange(len(before.raw)), np.array(failed, np.intp))
    if len(kept) < 2:
        raise EmbeddingError(
            "\n".join(
                [
                    "there have to be at least two faces that both sides can embed",
                    *lines(left_out(before, after, names), len(names)),
                ]
            )
        )
    one, other = before.unit[kept], after.unit[kept]
    first, second = np.array(list(itertools.combinations(range(len(kept)), 2)), np.intp).T
    old, new = cosines(one[first], one[second]), cosines(other[first], other[second])
    mixed = cosines(one[first], other[second]) if same_space else None
    to_itself = cosines(one, other) if same_space else None
    changes = np.abs(new - old)
    return Change(
        faces=len(kept),
        pairs=len(first),
        same_space=same_space,
        min_cosine=float(to_itself.min()) if to_itself is not None else None,
        mean_cosine=float(to_itself.mean()) if to_itself is not None else None,
        max_score_change=float(changes.max()),
        mean_score_change=float(changes.mean()),
        flips={name: _flips(old, new, mixed, *limits) for name, limits in criteria.items()},
        before_only=tuple(names[index] for index in sorted(after.errors.keys() - before.errors)),
        after_only=tuple(names[index] for index in sorted(before.errors.keys() - after.errors)),
    )


def left_out(before: Embedded, after: Embedded, names: Sequence[str]) -> dict[str, LeftOut]:
    """Return why images are left out that not both sides could embed, by their names."""
    found = {}
    for index in sorted(before.errors.keys() | after.errors.keys()):
        old, new = before.errors.get(index), after.errors.get(index)
        if old and new:
            found[names[index]] = old
        elif one := old or new:
            side = "before" if old else "after"
            found[names[index]] = LeftOut(one.reason, f"only {side} the change: {one.message}")
    return found


def _flips(old: Unit, new: Unit, mixed: Unit | None, low: float, high: float) -> Flips:
    def new_matches(before: Unit, after: Unit) -> int:
        return int(((before < low) & (after >= high)).sum())

    def is_decided(scores: Unit) -> NDArray[np.bool_]:
        decided: NDArray[np.bool_] = (scores < low) | (scores >= high)
        return decided

    return Flips(
        low=low,
        high=high,
        decided=int((is_decided(old) & is_decided(new)).sum()),
        new_matches=new_matches(old, new),
        lost_matches=new_matches(new, old),
        mixed=new_matches(old, mixed) + new_matches(mixed, old) if mixed is not None else None,
    )
