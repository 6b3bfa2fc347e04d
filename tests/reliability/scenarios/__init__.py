"""What is done to servers, a module for each subject."""

from collections.abc import Mapping, Sequence

from promises import Scenario

from scenarios import (
    fairness,
    faults,
    hostile,
    long_run,
    losses,
    overload,
    silence,
    stores,
)

ALL: Mapping[str, Sequence[Scenario]] = {
    "Overload": overload.SCENARIOS,
    "Fairness": fairness.SCENARIOS,
    "Silence": silence.SCENARIOS,
    "Input": hostile.SCENARIOS,
    "Faults": faults.SCENARIOS,
    "Losses": losses.SCENARIOS,
    "Store": stores.SCENARIOS,
    "Soak": long_run.SCENARIOS,
}
