"""What PyInstaller leaves out of a program that imports fastnn, unless the program imports it itself.

fastnn imports its own modules by statements, which PyInstaller finds. It also finds those of optional libraries and
those for type checkers alone: where PyTorch is installed, it would be in every frozen program.
"""

excludedimports = ["IPython", "google", "matplotlib", "mpi4py", "pandas", "threadpoolctl", "torch"]
