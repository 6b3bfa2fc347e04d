"""The parts of the programs beside it. They travel to the nodes, which need not have them."""
