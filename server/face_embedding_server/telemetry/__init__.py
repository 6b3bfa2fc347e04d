"""What an operator sees of a running server: metrics, traces and logs.

`current` is what the rest of the server uses: it says what happens in the call at hand, and knows
nothing of where that goes.
"""
