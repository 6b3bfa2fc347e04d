"""Stand-in checkpoints: a published network's graph with values made from a fixed seed.

They exist so that everything can be run without the published weights. They recognise nobody, but
behave numerically like a trained network: activations stay of unit scale, embeddings of different
images differ, and slight noise in an image moves its embedding only slightly.

The bytes are the same on every machine: the random numbers are raw PCG64 output, which NumPy
guarantees never to change, and everything after is single IEEE operations.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from face_embedding_models.manifest import Manifest
from face_embedding_models.mxnet import checkpoint, networks, params, symbol
from face_embedding_models.mxnet.networks import Network, Parameter
from face_embedding_models.mxnet.symbol import VARIABLE, Node

Array = NDArray[np.float64]

# The share of a convolution that blurs. Blurring averages noise away and keeps what images have
# most of, low frequencies; without any, the network would not tell noise from content.
_BLUR_SHARE = 0.2
_BLUR = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])
# PReLU slopes near 1 keep the network from pushing all images towards one embedding.
_SLOPE = 0.5
# The scale of a residual branch against its shortcut.
_BRANCH_GAMMA = 0.5
# The mean square of a face's pixels after the network's own normalisation.
_INPUT_POWER = 0.2


def synthesize(manifest: Manifest) -> dict[str, bytes]:
    """Make the stand-in checkpoint of a model.

    Returns:
        Its files by name.

    Raises:
        ModelError: if the manifest describes no network.
    """
    network = networks.build(manifest)
    powers = _expected_powers(network)
    arrays = {
        f"{'aux' if parameter.auxiliary else 'arg'}:{name}": _values(name, parameter, powers)
        for name, parameter in network.parameters.items()
    }
    return checkpoint.files(symbol.dump(network.symbol), params.dump(arrays))


def _values(name: str, parameter: Parameter, powers: dict[str, float]) -> NDArray[np.float32]:
    kind, shape = parameter.kind, parameter.shape
    if kind == "weight":
        values = _weights(name, parameter)
    else:
        constants = {
            "slope": _SLOPE,
            "gamma": _gamma(name),
            "moving_var": powers.get(name, 1.0),
            "beta": 0.0,
            "bias": 0.0,
            "moving_mean": 0.0,
        }
        values = np.full(shape, constants[kind])
    return values.astype(np.float32)


def _gamma(name: str) -> float:
    """Return the gain of a BatchNorm: smaller where it ends a residual branch."""
    ends_branch = name.endswith("_bn3_gamma") or ("_block" in name and "_conv_proj_" in name)
    return _BRANCH_GAMMA if ends_branch else 1.0


def _weights(name: str, parameter: Parameter) -> Array:
    """Return weights of unit gain: the output has the mean square of the input."""
    shape, window = parameter.shape, parameter.window
    inputs = math.prod(shape[1:])
    if window == _BLUR.size:
        mixing = _random(f"{name}/mixing", (*shape[:2], 1, 1)) / math.sqrt(inputs // window)
        rough = _random(name, shape) / math.sqrt(inputs)
        blurring: Array = math.sqrt(_BLUR_SHARE) * mixing * _BLUR
        return blurring + math.sqrt(1 - _BLUR_SHARE) * rough
    centred = window if window > _BLUR.size else 1
    return _random(name, shape, centred) / math.sqrt(inputs)


def _random(name: str, shape: tuple[int, ...], centred: int = 1) -> Array:
    """Return uniform numbers of mean 0 and variance 1, determined by `name` alone.

    Each run of `centred` numbers sums to zero, if that is more than one. Where a whole face is
    summed up, this drops what all faces share.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    count = math.prod(shape)
    raw = np.random.PCG64(seed).random_raw((count + 1) // 2).astype("<u8")
    numbers = raw.view("<u4")[:count].astype(np.int64).reshape(-1, centred)
    # Whole numbers, since the order in which NumPy adds fractions depends on the machine.
    means = numbers.sum(axis=1, keepdims=True) // centred if centred > 1 else 2**31
    values: Array = (numbers - means) * (math.sqrt(12) / 2.0**32)
    return values.reshape(shape)


def _expected_powers(network: Network) -> dict[str, float]:
    """Return the expected mean square before each BatchNorm, by the name of its moving variance."""
    powers: dict[str, float] = {}
    by_node: list[float] = []
    for node in network.symbol.nodes:
        by_node.append(_power_after(node, [by_node[i] for i in node.inputs], network, powers))
    return powers


def _power_after(
    node: Node, inputs: list[float], network: Network, powers: dict[str, float]
) -> float:
    if node.op == VARIABLE:
        return _INPUT_POWER
    if node.op == "elemwise_add":
        return sum(inputs)
    if node.op == "LeakyReLU":
        return inputs[0] * (1 + _SLOPE**2) / 2
    if node.op == "BatchNorm":
        gamma, variance = (network.symbol.nodes[node.inputs[i]].name for i in (1, 4))
        powers[variance] = inputs[0]
        return _gamma(gamma) ** 2
    return inputs[0]
