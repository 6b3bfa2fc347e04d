"""Several processes that serve one address: each has its share of the processors, and one engine.

fleet.py     the parent: starts them, starts anew those that end, and has all of them stop
member.py    one of them as the parent sees it
child.py     one of them from inside
port.py      the port that they have in common, and nobody else
scrapes.py   their metrics, as one
"""
