"""scikit-learn's own tests of its MLP, pointed at ours: read from the installed scikit-learn, never copied."""

import importlib.util
import re

import pytest

OWN = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp").origin
with open(OWN, encoding="utf-8") as file:
    SOURCE = file.read()
REPLACED, COUNT = re.subn(r"^from sklearn\.neural_network import", "from fastnn.sklearn import", SOURCE, flags=re.M)
exec(compile(REPLACED, OWN, "exec"))

NOT_OURS = {"test_gradient": "calls scikit-learn's private method _loss_grad_lbfgs; test_gradients.py proves ours"}
for name, reason in NOT_OURS.items():
    globals()[name] = pytest.mark.skip(reason=f"NOT TESTED: {reason}")(globals()[name])


@pytest.fixture(params=range(3))
def global_random_seed(request):
    """scikit-learn's fixture of this name."""
    return request.param


def test_the_import_is_ours():
    import fastnn.sklearn
    assert COUNT == 1
    assert globals()["MLPClassifier"] is fastnn.sklearn.MLPClassifier
    assert globals()["MLPRegressor"] is fastnn.sklearn.MLPRegressor
