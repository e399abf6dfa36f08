"""AdamW: Adam with decoupled weight decay. Loshchilov & Hutter 2017, arXiv:1711.05101, algorithm 2.

With g = grad_scale * gradient, and t = 1 at the first step:

  m = beta1*m + (1-beta1)*g            v = beta2*v + (1-beta2)*g^2
  mhat = m / (1-beta1^t)               vhat = v / (1-beta2^t)
  p = p - lr*weight_decay*p - lr * mhat / (sqrt(vhat) + eps)

As in PyTorch, and unlike the paper, lr multiplies the decay too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from autograd import backends
from autograd.backends import Array
from autograd.backends.numba import threads
from autograd.jit import In1, Int, Out1, jit, prange, share
from autograd.kernel import Kernel
from minillm.errors import UserError
from minillm.module import Module, Parameter, Role, zero_grads
from minillm.optim.chunks import chunks

DECAYED_ROLES: dict[str, tuple[Role, ...]] = {
    "linear": ("weight",),
    "matrices": ("weight", "embedding"),  # nanoGPT: every parameter of two or more dimensions
}

Parameters: TypeAlias = Module | Iterable[Parameter] | Iterable[tuple[str, Parameter]]


def adamw_update(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    step: int,
    grad_scale: float = 1.0,
) -> None:
    """Update p, m and v, all (n,), in place, from the gradient g (n,).

    Args:
        step: t, number of this step, from 1.
        grad_scale: multiplies g, which stays as it is: clipping, without a pass of its own.
    """
    step_size = lr / (1 - beta1**step)
    vhat_scale = 1 / (1 - beta2**step) ** 0.5
    for part in chunks(len(p), like=p):
        gi, mi, vi, pi = g[part] * grad_scale, m[part], v[part], p[part]  # each (chunk,), all but gi views
        mi += (1 - beta1) * (gi - mi)
        vi *= beta2
        vi += (1 - beta2) * gi * gi
        pi *= 1 - lr * weight_decay
        pi -= step_size * mi / (np.sqrt(vi) * vhat_scale + eps)


def adamw_update_numba(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    step: int,
    grad_scale: float = 1.0,
) -> None:
    step_size = lr / (1 - beta1**step)
    vhat_scale = 1 / (1 - beta2**step) ** 0.5
    kept = 1 - lr * weight_decay  # of p
    rates = np.array([grad_scale, 1 - beta1, beta2, 1 - beta2, kept, step_size, vhat_scale, eps], np.float32)
    _update(p, g, m, v, rates, threads())


@jit(inline=True)
def update_elements(p, g, m, v, rates):  # type: ignore[no-untyped-def]  # compiled for what it is handed
    grad_scale, new_m, beta2, new_v = rates[0], rates[1], rates[2], rates[3]
    kept, step_size, vhat_scale, eps = rates[4], rates[5], rates[6], rates[7]
    for i in range(p.shape[0]):
        gi = g[i] * grad_scale
        mi = m[i] + new_m * (gi - m[i])
        vi = beta2 * v[i] + new_v * gi * gi
        p[i] = kept * p[i] - step_size * mi / (np.sqrt(vi) * vhat_scale + eps)
        m[i] = mi
        v[i] = vi


@jit(parallel=True)
def _update(p: Out1, g: In1, m: Out1, v: Out1, rates: In1, n_threads: Int) -> None:
    for t in prange(n_threads):
        first, last = share(t, n_threads, p.shape[0])
        update_elements(p[first:last], g[first:last], m[first:last], v[first:last], rates)


update = Kernel(adamw_update)
update.add("numba", adamw_update_numba)


class _Run:
    """Parameters with one rule of decay that lie side by side in one buffer, or one that lies alone."""

    def __init__(self, named: list[tuple[str, Parameter]], weight_decay: float) -> None:
        self.named, self.weight_decay = named, weight_decay
        self.m = np.zeros_like(self.data)  # (n,) first moment
        self.v = np.zeros_like(self.data)  # (n,) second moment

    @property
    def data(self) -> Array:
        return self._flat("data")

    @property
    def grad(self) -> Array | None:
        """The gradients (n,), or None where a parameter that lies alone has none."""
        return None if self.named[0][1].grad is None else self._flat("grad")

    def _flat(self, name: str) -> Array:
        first, last = self.named[0][1], self.named[-1][1]
        whole: Array = getattr(first if first.flat is None else first.flat, name)
        return whole.reshape(-1) if first.flat is None else whole[first.offset : last.offset + last.size]

    def state(self) -> Iterator[tuple[str, Array]]:
        """("m.<path>", view of that parameter's first moment), and v likewise."""
        offset = 0
        for path, p in self.named:
            for name, moment in (("m", self.m), ("v", self.v)):
                yield f"{name}.{path}", moment[offset : offset + p.size].reshape(p.shape)
            offset += p.size


class AdamW:
    """The optimizer, with its two moments for each parameter.

    Args:
        params: a Module, Parameters, or (name, Parameter) pairs.
        lr: learning rate; set `.lr` before a step to follow a schedule.
        betas: decay rates of the two moments.
        eps: added to the square root of the second moment.
        weight_decay: of the parameters that `decay` picks.
        decay: "linear": matrices of linear layers only; "matrices": embeddings too, as nanoGPT does.

    Raises:
        UserError: no parameters, a rule of decay that is unknown, or a number out of range.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        decay: Literal["linear", "matrices"] = "linear",
    ) -> None:
        if decay not in DECAYED_ROLES:
            raise UserError(f"unknown rule of weight decay {decay!r}: choose one of {', '.join(DECAYED_ROLES)}")
        if not all(0 <= beta < 1 for beta in betas):
            raise UserError(f"betas are {betas}: give two numbers of at least 0 and below 1")
        if min(lr, eps, weight_decay) < 0:
            raise UserError(f"lr {lr}, eps {eps}, weight_decay {weight_decay}: give numbers of at least 0")
        self.lr, self.betas, self.eps = lr, betas, eps
        self.n_steps = 0
        self._runs = [
            _Run(named, weight_decay if named[0][1].role in DECAYED_ROLES[decay] else 0.0)
            for named in _neighbours(_named(params), DECAYED_ROLES[decay])
        ]

    def step(self, grad_scale: float = 1.0) -> None:
        """Update every parameter that has a gradient, which is multiplied by `grad_scale` on the way."""
        self.n_steps += 1
        for run in self._runs:
            grad = run.grad
            if grad is not None:
                update.on(backends.name_of(grad))(
                    run.data,
                    grad,
                    run.m,
                    run.v,
                    lr=self.lr,
                    beta1=self.betas[0],
                    beta2=self.betas[1],
                    eps=self.eps,
                    weight_decay=run.weight_decay,
                    step=self.n_steps,
                    grad_scale=grad_scale,
                )

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        zero_grads(p for run in self._runs for _, p in run.named)

    def grads(self) -> list[Array]:
        """The gradients there are, as flat arrays: what `global_norm` takes."""
        return [grad for run in self._runs if (grad := run.grad) is not None]

    def state(self) -> dict[str, Array]:
        """Host copies of the moments, "m.<path>" and "v.<path>" of each parameter's shape, and "n_steps" ()."""
        moments = {name: np.array(backends.backend_of(a).to_host(a)) for name, a in self._moments()}
        return {**moments, "n_steps": np.array(self.n_steps)}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Go on from what `state()` gave.

        Raises:
            UserError: it belongs to other parameters.
        """
        moments = dict(self._moments())
        for name in sorted({*moments, "n_steps"} ^ state.keys()):
            raise UserError(f"the optimizer's state has other parameters than the model: {name!r} is in one only")
        for name, moment in moments.items():
            saved = state[name]
            if moment.shape != saved.shape:
                raise UserError(
                    f"{name} has shape {saved.shape} in the optimizer's state and {moment.shape} in this run: "
                    "resume with the configuration it was saved with"
                )
            moment[...] = backends.backend_of(moment).to_device(saved)
        self.n_steps = int(state["n_steps"])

    def _moments(self) -> Iterator[tuple[str, Array]]:
        for run in self._runs:
            yield from run.state()


def _named(params: Parameters) -> list[tuple[str, Parameter]]:
    """(name, parameter) of each; unnamed ones are numbered."""
    given: Iterable[Any] = params.named_parameters() if isinstance(params, Module) else params
    named = [(str(i), p) if isinstance(p, Parameter) else p for i, p in enumerate(given)]
    if not named:
        raise UserError("AdamW was given no parameters: give it a model or its parameters")
    return named


def _neighbours(named: list[tuple[str, Parameter]], decayed: tuple[Role, ...]) -> Iterator[list[tuple[str, Parameter]]]:
    """`named` in runs of parameters that follow one another in one buffer and all decay, or all do not."""
    order = {id(p.flat): i for i, (_, p) in reversed(list(enumerate(named)))}  # buffers in order of appearance
    named = sorted(named, key=lambda item: (order[id(item[1].flat)], item[1].offset))
    run = [named[0]]
    for item in named[1:]:
        last, p = run[-1][1], item[1]
        adjacent = p.flat is not None and p.flat is last.flat and p.offset == last.offset + last.size
        if not adjacent or (p.role in decayed) != (last.role in decayed):
            yield run
            run = []
        run.append(item)
    yield run
