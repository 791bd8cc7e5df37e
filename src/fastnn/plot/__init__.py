"""Pictures of networks and of their training, by matplotlib, which is imported when a picture is drawn.

    descent.py      losses against a weight, epochs and learning rates; fitted lines
    layers.py       activations, gradients, outputs and weights of layers; what a Watch has recorded
    graphs.py       the network as a graph
    classes.py      decision boundaries, the confusion matrix
    live.py         LivePlot, a callback
    style.py        what all pictures share: colours, Axes, legends, scales
    arguments.py    checks that several pictures share

A function draws into `ax`, or into a new pyplot figure, and returns the Axes. It uses the public face of a Network,
and does not change the network. The caller shows the figure and owns matplotlib's settings: no function calls `show` or
changes rcParams. Only `LivePlot` shows its figure, in a window or a notebook.
"""

from .classes import confusion_matrix, decision_boundary
from .descent import cost_curve, fitted_lines, learning_rates, loss_curves
from .graphs import graph
from .layers import activation, activation_histograms, gradient_norms, vanishing_gradients, watch, weights
from .live import LivePlot

__all__ = [
    "LivePlot", "activation", "activation_histograms", "confusion_matrix", "cost_curve", "decision_boundary",
    "fitted_lines", "gradient_norms", "graph", "learning_rates", "loss_curves", "vanishing_gradients",
    "watch", "weights",
]
