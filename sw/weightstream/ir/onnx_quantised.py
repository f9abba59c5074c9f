"""Networks that are quantised already, taken as they are."""

from dataclasses import dataclass, field

import numpy as np

from ..errors import NetworkError
from .dense import make_dense
from .network import Linear, Network, Node, Tensor
from .network import Softmax as SoftmaxNode
from .onnx_chain import Chain, Clip, Dense, Dequantise, Quantise, Relu, Softmax, Step
from .onnx_constants import Constant, Grid
from .quantise import check_calibration, choose_grid
from .values import quantise_input
