"""What activations do where formulas do not say it."""

from __future__ import annotations

import numpy as np

from minillm.layers.activations import relu_backward, relu_forward


def test_relu_has_gradient_zero_at_its_kink() -> None:
    x = np.array([-1.0, -0.0, 0.0, 5e-324])
    y, saved = relu_forward(x)
    np.testing.assert_array_equal(y, [0, 0, 0, 5e-324])
    np.testing.assert_array_equal(relu_backward(np.full(4, 3.0), *saved)[0], [0, 0, 0, 3])
