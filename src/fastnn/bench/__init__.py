"""`python -m fastnn bench`: the same work by fastnn and by whichever of its peers are installed.

    cells.py        the pieces of work: networks, batches, optimizers; their data and what they cost
    contenders.py   fastnn and its peers: how each trains and predicts
    race.py         each contender in a process of its own; proof first, then turns on the clock
    report.py       results as tables and as JSON

Nothing here is imported before somebody asks for a benchmark.
"""
