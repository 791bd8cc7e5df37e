"""Ensembles: estimators with n_members > 1, whose `estimators_` are estimators of one network each.

A member is what the ensemble would be with n_members=1, from another random_state; the first one has the ensemble's
own. multilayer.py trains them together, and asks here for their outputs.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state

from ..population.model import Population

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .._types import Array, FloatArray
    from ..network import Network
    from .multilayer import Multilayer

# What a fit says of its rows and targets, the same for every member.
SHARED = ("n_features_in_", "feature_names_in_", "classes_", "n_outputs_", "n_layers_", "out_activation_",
          "_multilabel", "_input_scaling", "_target_scaling", "_built_from")
# What belongs to a single network.
OF_ONE = ("network_", "coefs_", "intercepts_", "loss_curve_", "validation_loss_curve_", "best_loss_",
          "validation_scores_", "best_validation_score_")
OF_ENSEMBLE = ("estimators_", "_population")


def check_members(estimator: Multilayer, incremental: bool) -> None:
    """Refuses what the number of members forbids."""
    if estimator.n_members > 1 and hasattr(estimator, "_skl_callbacks"):
        raise ValueError(f"n_members is {estimator.n_members}, but scikit-learn's callbacks follow one network: pass "
                         "fastnn's own as callbacks=, which are called for every member")
    fitted = vars(estimator)
    before = len(fitted["estimators_"]) if "estimators_" in fitted else 1 if "network_" in fitted else None
    if (incremental or estimator.warm_start) and before not in (None, estimator.n_members):
        raise ValueError(f"n_members is {estimator.n_members}, but was {before} in the fit that goes on; set it back, "
                         "or fit without warm_start")


def members_of(estimator: Multilayer, incremental: bool) -> Iterator[Any]:
    """The members before a fit: new ones, or those that go on, with the ensemble's present parameters.

    The first one must be prepared before the next is asked for: random numbers come from one source, one after the
    other, so that it has those of a single network.
    """
    parameters = estimator.get_params(deep=False) | {"n_members": 1}
    state = parameters.pop("random_state")
    if hasattr(estimator, "estimators_") and (estimator.warm_start or incremental):
        for member in estimator.estimators_:
            again = copy.copy(member)
            for name, value in vars(again).items():
                if isinstance(value, list):             # curves, to which a fit appends
                    setattr(again, name, value.copy())
            for name, value in parameters.items():
                setattr(again, name, value)
            yield again
        return
    yield type(estimator)(**parameters, random_state=state)
    random = check_random_state(state)
    for _ in range(estimator.n_members - 1):
        yield type(estimator)(**parameters, random_state=int(random.randint(2**31 - 1)))


def adopt(estimator: Multilayer, members: Sequence[Multilayer]) -> None:
    """Makes these trained members the ensemble's."""
    for name in (*OF_ONE, *OF_ENSEMBLE, *SHARED):
        estimator.__dict__.pop(name, None)
    estimator.estimators_ = list(members)
    for name in SHARED:
        if name in vars(members[0]):
            setattr(estimator, name, vars(members[0])[name])
    estimator.n_iter_ = max(member.n_iter_ for member in members)
    estimator.t_ = max(member.t_ for member in members)
    estimator.loss_ = sum(member.loss_ for member in members) / len(members)


def population_of(networks: Sequence[Network]) -> Population:
    """Networks of one shape as a population, in the widest dtype of any."""
    first = networks[0]
    population = Population(
        first.layer_sizes, len(networks), list(first.activations[:-1]), first.activations[-1], first.loss,
        dtype=max(network.dtype for network in networks),       # "float64" comes after "float32"
        seeds=[network.seed for network in networks], dropout=np.array([network.dropout for network in networks]),
        l1=[network.l1 for network in networks], l2=[network.l2 for network in networks])
    population.parameters = np.array([network.get_parameters() for network in networks])
    return population


def member_outputs(members: Sequence[Multilayer], population: Population, X: Array,
                   compute: Callable[[Network, Array], FloatArray] | None) -> FloatArray:
    """(n, rows, outputs): what `compute` gives of every member's network; None are its outputs, by the population of
    the same networks."""
    if compute is None:
        return population.predict(X)
    return np.array([compute(member.network_, X) for member in members])


def mean_over_members(outputs: FloatArray) -> FloatArray:
    """The mean of (n, rows, outputs) over members, summed in float64 in their order; (rows, outputs) as they are."""
    if outputs.ndim == 2:
        return outputs
    mean: FloatArray = (np.add.reduce(outputs, axis=0, dtype=np.float64) / len(outputs)).astype(outputs.dtype)
    return mean


def deviation_over_members(outputs: FloatArray) -> FloatArray:
    """The standard deviation of (n, rows, outputs) over members."""
    wide = outputs.astype(np.float64)
    mean = np.add.reduce(wide, axis=0) / len(wide)
    deviation: FloatArray = np.sqrt(np.add.reduce((wide - mean) ** 2, axis=0) / len(wide)).astype(outputs.dtype)
    return deviation
