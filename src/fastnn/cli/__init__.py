"""The command line, `fastnn` or `python -m fastnn`.

    main.py         the commands: parse arguments, call what does the work, print
    tables.py       tables: learned from, predicted

It uses the public face of a Network, as a user's program does. Nothing else in the package imports it.
"""
