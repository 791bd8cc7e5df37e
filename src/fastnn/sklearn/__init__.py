"""MLPClassifier and MLPRegressor: scikit-learn's, trained by fastnn. Change one import.

Parameters, defaults, attributes and warnings are scikit-learn's, and so are, for the same
`random_state`, the initial weights and the rows held out; further parameters stand at the end.
Nothing here computes: it translates scikit-learn's words into those of a Network (multilayer.py,
estimators.py), and what scikit-learn does between epochs into callbacks (epochs.py).
"""

from importlib import import_module

try:
    import_module("sklearn.callback")
except ImportError:
    raise ImportError("fastnn.sklearn needs scikit-learn 1.9 or newer, which is not installed: "
                      "pip install 'fastnn-mlp[sklearn]'") from None

from .estimators import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
