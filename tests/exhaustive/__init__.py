"""Every interleaving of a few requests: a model checker that runs the real session code.

It owns the store, the clock, the random tokens, and what goes wrong with a call (see `explore`). What must
hold is in `laws`, what a request may do in `verbs`, how many of each in `bounds`, and which findings
are documented limits in `known`. ``python -m tests.exhaustive --help`` explores more than CI does.
"""
