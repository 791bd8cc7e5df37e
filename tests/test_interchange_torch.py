"""PyTorch comes in and goes out: the same outputs, the same bits of parameters, and refusals that name the module."""

import pytest
from hypothesis import given, settings
from test_interchange import DTYPES, X, assert_same_network, error, network_of, networks

import fastnn
from fastnn.activations import ACTIVATIONS
from fastnn.interchange import from_onnx, from_torch, to_torch

torch = pytest.importorskip("torch", reason="NOT TESTED: torch is not installed")
nn = torch.nn
pytestmark = pytest.mark.any_isa
BOUNDS = {"float32": 5e-6, "float64": 1e-13}


def outputs(module, inputs):
    with torch.no_grad():
        return module.eval()(torch.from_numpy(inputs)).numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "exp"])
def test_pytorch_computes_what_the_network_computes(activation, dtype):
    network = network_of(activation, dtype)
    module, inputs = to_torch(network), X.astype(dtype)
    bound = 1e-8 if (activation, dtype) == ("softplus", "float64") else BOUNDS[dtype]   # PyTorch's is z above 20
    assert error(outputs(module, inputs), network.predict(inputs)) < bound
    assert_same_network(from_torch(module), network)


@settings(max_examples=40)
@given(networks())
def test_every_network_comes_back(network):
    if network.activations[-1] != "exp":
        again = from_torch(to_torch(network), seed=network.seed)
        assert_same_network(again, network)
        assert repr(again) == repr(network)


def test_a_network_and_its_module_share_no_memory_and_no_random_numbers():
    network = network_of("relu", "float32")
    torch.manual_seed(0)
    before, parameters = torch.get_rng_state(), network.get_parameters()
    module = to_torch(network)
    assert (torch.get_rng_state() == before).all()
    with torch.no_grad():
        for parameter in module.parameters():
            assert parameter.requires_grad and parameter.is_contiguous()
            parameter.zero_()
    assert (network.get_parameters() == parameters).all()
    from_torch(module).weights[0][...] = 1
    assert not module[0].weight.any()


def test_what_a_sequential_may_hold():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.25)), nn.Linear(8, 7, bias=False),
        nn.Sequential(nn.Linear(7, 6), nn.Sequential(nn.GELU())), nn.Identity(), nn.Dropout(0.0), nn.Linear(6, 3),
        nn.Softmax(dim=1))
    network = from_torch(module, loss="focal", seed=9)
    assert network.activations == ("tanh", "identity", "gelu", "softmax")
    assert (network.dropout, network.loss, network.seed) == ((0.25, 0, 0), "focal", 9)
    assert not network.biases[1].any()
    assert error(network.predict(X), outputs(module, X.astype("f"))) < 1e-6


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


LINEAR = nn.Linear(4, 4)


@pytest.mark.parametrize("sentence, modules", [
    (r"layer 1 is BatchNorm1d\(4,.*\), but only Linear, Flatten", [LINEAR, nn.BatchNorm1d(4)]),
    (r"layer 1\.0 is LayerNorm", [LINEAR, nn.Sequential(nn.LayerNorm(4))]),
    (r"layer 0 is Doubled\(", [Doubled(4, 4)]),
    (r"layer 1 is LogSoftmax\(dim=-1\), but only", [LINEAR, nn.LogSoftmax(-1)]),
    (r"layer 1 is LeakyReLU\(negative_slope=0.2\), whose negative_slope is 0.2, but fastnn's leaky_relu is that of "
     r"negative_slope=0.01", [LINEAR, nn.LeakyReLU(0.2)]),
    ("whose alpha is 0.5", [LINEAR, nn.ELU(0.5)]), ("whose beta is 2", [LINEAR, nn.Softplus(2)]),
    ("whose threshold is 5", [LINEAR, nn.Softplus(threshold=5)]),
    ("whose approximate is 'tanh'", [LINEAR, nn.GELU("tanh")]),
    ("whose dim is 0", [LINEAR, nn.Softmax(0)]), ("whose dim is None", [LINEAR, nn.Softmax()]),
    (r"layer 0 is Flatten\(start_dim=0", [nn.Flatten(0), LINEAR]),
    (r"layer 2 is the activation 'relu', but the layer before it has its own", [LINEAR, nn.Tanh(), nn.ReLU()]),
    (r"layer 2 is the activation 'tanh', but the layer before it .* dropout",
     [LINEAR, nn.Dropout(), nn.Tanh(), LINEAR]),
    ("layer 0 is the activation 'relu', but there is no layer", [nn.ReLU(), LINEAR]),
    ("layer 0 drops out inputs", [nn.Dropout(), LINEAR]), ("outputs have dropout 0.5", [LINEAR, nn.Dropout()]),
    ("layer 2 drops out what has dropout", [LINEAR, nn.Dropout(), nn.Dropout(), LINEAR]),
    ("layer 2 follows 'softmax', which only the output", [LINEAR, nn.Softmax(-1), LINEAR]),
    ("layer 1 takes 3 inputs, but the layer before it has 4", [LINEAR, nn.Linear(3, 4)]),
    ("layer 0 has dtype torch.float16", [nn.Linear(4, 4).half()]),
    ("layer 1 has dtype float64, but the layers before it have float32", [LINEAR, nn.Linear(4, 4).double()]),
    ("there is no layer of weights", [])])
def test_other_modules_are_refused_by_name(sentence, modules):
    with pytest.raises(ValueError, match=sentence):
        from_torch(nn.Sequential(*modules))


def test_what_is_no_sequential_and_what_pytorch_has_not():
    with pytest.raises(TypeError, match=r"module is a Linear, but must be a torch.nn.Sequential"):
        from_torch(nn.Linear(2, 1))
    with pytest.raises(ValueError, match="the output is 'exp', but PyTorch has no module for it"):
        to_torch(fastnn.Network([2, 1], output="exp"))


@pytest.mark.parametrize("opset", [13, 17, 20])
@pytest.mark.parametrize("activation", [
    nn.ReLU(), nn.LeakyReLU(), nn.ELU(), nn.SELU(), nn.Softplus(), nn.SiLU(), nn.GELU(), nn.Tanh(), nn.Sigmoid(),
], ids=repr)
@pytest.mark.filterwarnings("ignore")       # this exporter is deprecated; the new one needs another package
def test_what_pytorch_exports_to_onnx_is_read(activation, opset, tmp_path):
    pytest.importorskip("onnx", reason="NOT TESTED: onnx is not installed")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 8), activation, nn.Linear(8, 3, bias=False), nn.Softmax(-1)).eval()
    torch.onnx.export(module, (torch.zeros(1, 5),), str(tmp_path / "model.onnx"), dynamo=False, opset_version=opset)
    network = from_onnx(tmp_path / "model.onnx")
    assert_same_network(network, from_torch(module))


def test_a_wrong_constant_would_be_noticed():
    network = network_of("leaky_relu", "float32")
    module = to_torch(network)
    module[1].negative_slope = 0.0101
    assert error(outputs(module, X.astype("f")), network.predict(X)) > 1e-5


@pytest.mark.parametrize("hooked, words", [
    (lambda module: module[0], r"layer 0 is Linear.* with hooks, but only"),
    (lambda module: module, r"module is Sequential.* with hooks, but only")])
def test_hooks_are_refused(hooked, words):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    hooked(module).register_forward_hook(lambda module, inputs, outputs: 3 * outputs)
    with pytest.raises(ValueError, match=f"(?s){words}"):
        from_torch(module)
