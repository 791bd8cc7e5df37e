"""What PyInstaller leaves out of a program that imports fastnn, unless the program imports it itself.

fastnn finds its own modules by import statements, which PyInstaller sees. It sees imports for type checkers, too, and
those of libraries that are optional: who has them installed would find PyTorch in every program.
"""

excludedimports = ["IPython", "google", "matplotlib", "mpi4py", "pandas", "threadpoolctl", "torch"]
