"""`python -m fastnn bench`: the same work by fastnn and by whichever of its peers are installed.

    cells.py        the cells, which are the pieces of work: networks, batches, optimizers; their data and operations
    contenders.py   fastnn and its peers: how each trains and predicts
    populations.py  the same for many networks of one shape
    race.py         runs each contender in a process of its own: first a check of its results, then timing
    report.py       results as tables and as JSON

The command alone imports these modules.
"""
