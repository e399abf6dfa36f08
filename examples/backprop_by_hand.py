"""Backpropagation through a GPT of two layers, call by call: no tape, no Tensor, only arrays and function pairs.

`python examples/backprop_by_hand.py`. `forward` calls `<op>_forward` one after another and keeps what each has saved;
`backward` calls `<op>_backward` in the opposite order, each with the gradient of its output. Then the same model runs
on the tape, and every gradient is the same to the last bit: the tape makes these very calls and sums.

  B rows, T positions, C = d_model, F = d_ff, V ids; w holds the weights by name, g their gradients
"""

import numpy as np

from minillm import GPT, GPTConfig
from minillm.layers.activations import gelu_tanh_backward, gelu_tanh_forward
from minillm.layers.attention import attention_backward, attention_forward
from minillm.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from minillm.layers.embedding import embedding_backward, embedding_forward
from minillm.layers.layernorm import layernorm_backward, layernorm_forward
from minillm.layers.linear import linear_backward, linear_forward

B, T, V, C, N_HEAD, N_LAYER = 2, 8, 11, 16, 2, 2


def forward(w, ids, targets):
    """ids, targets (B, T) -> the loss (), and what each call has saved for its backward, by name."""
    saved = {}
    tokens, saved["tokens"] = embedding_forward(ids, w["token_embedding.weight"])  # (B, T, C)
    positions, saved["positions"] = embedding_forward(np.arange(T), w["position_embedding.weight"])  # (T, C)
    x = tokens + positions  # (B, T, C): the residual stream; each row of the batch has the same positions

    for i in range(N_LAYER):
        b = f"blocks.{i}."
        # x = x + attention half
        h, saved[b + "ln1"] = layernorm_forward(x, w[b + "ln1.weight"], w[b + "ln1.bias"])  # (B, T, C)
        h, saved[b + "qkv"] = linear_forward(h, w[b + "attn.qkv.weight"], w[b + "attn.qkv.bias"])  # (B, T, 3C)
        h, saved[b + "attention"] = attention_forward(h, n_head=N_HEAD)  # (B, T, C)
        h, saved[b + "attn.proj"] = linear_forward(h, w[b + "attn.proj.weight"], w[b + "attn.proj.bias"])  # (B, T, C)
        x = x + h  # (B, T, C)
        # x = x + feed-forward half
        h, saved[b + "ln2"] = layernorm_forward(x, w[b + "ln2.weight"], w[b + "ln2.bias"])  # (B, T, C)
        h, saved[b + "fc"] = linear_forward(h, w[b + "mlp.fc.weight"], w[b + "mlp.fc.bias"])  # (B, T, F)
        h, saved[b + "gelu"] = gelu_tanh_forward(h)  # (B, T, F)
        h, saved[b + "mlp.proj"] = linear_forward(h, w[b + "mlp.proj.weight"], w[b + "mlp.proj.bias"])  # (B, T, C)
        x = x + h  # (B, T, C)

    x, saved["ln_f"] = layernorm_forward(x, w["ln_f.weight"], w["ln_f.bias"])  # (B, T, C)
    logits, saved["head"] = linear_forward(x, w["token_embedding.weight"])  # (B, T, V): tied, no matrix of its own
    loss, saved["loss"] = cross_entropy_forward(logits, targets)  # ()
    return loss, saved


def backward(saved, dtype):
    """The gradient of the loss by every weight, by name: the calls of `forward`, last one first."""
    g = {}
    dloss = np.ones((), dtype)  # dloss/dloss
    dlogits, _, _ = cross_entropy_backward(dloss, *saved["loss"])  # (B, T, V); targets and their weights have none
    # the token embedding is used twice, so its gradient has two terms. This is the first: backward meets the head first
    dx, g["token_embedding.weight"], _ = linear_backward(dlogits, *saved["head"])  # (B, T, C), (V, C)
    dx, g["ln_f.weight"], g["ln_f.bias"] = layernorm_backward(dx, *saved["ln_f"])  # (B, T, C), (C,), (C,)

    for i in reversed(range(N_LAYER)):
        b = f"blocks.{i}."
        # x + h hands dx on to both. What comes back through h is then added to what went on along the stream: x was
        # used twice. Of two numbers the sum is the same either way round; with three uses the order would tell in the
        # last bit, and the tape's is newest use first
        dh, g[b + "mlp.proj.weight"], g[b + "mlp.proj.bias"] = linear_backward(dx, *saved[b + "mlp.proj"])  # (B, T, F)
        (dh,) = gelu_tanh_backward(dh, *saved[b + "gelu"])  # (B, T, F)
        dh, g[b + "mlp.fc.weight"], g[b + "mlp.fc.bias"] = linear_backward(dh, *saved[b + "fc"])  # (B, T, C)
        dh, g[b + "ln2.weight"], g[b + "ln2.bias"] = layernorm_backward(dh, *saved[b + "ln2"])  # (B, T, C)
        dx = dx + dh  # (B, T, C)
        # and the same around attention
        dh, g[b + "attn.proj.weight"], g[b + "attn.proj.bias"] = linear_backward(dx, *saved[b + "attn.proj"])
        dh, _ = attention_backward(dh, *saved[b + "attention"])  # (B, T, 3C); a mask has no gradient
        dh, g[b + "attn.qkv.weight"], g[b + "attn.qkv.bias"] = linear_backward(dh, *saved[b + "qkv"])  # (B, T, C)
        dh, g[b + "ln1.weight"], g[b + "ln1.bias"] = layernorm_backward(dh, *saved[b + "ln1"])  # (B, T, C)
        dx = dx + dh  # (B, T, C)

    # tokens + positions hands dx on to both; the positions were repeated for each row, so theirs is summed over rows
    _, g["position_embedding.weight"] = embedding_backward(dx.sum(0), *saved["positions"])  # (T, C); ids have none
    _, dweight = embedding_backward(dx, *saved["tokens"])  # (V, C)
    # the second term. It is summed over equal ids by itself first, as the tape does it: adding token after token to the
    # head's would round differently
    g["token_embedding.weight"] += dweight
    return g


def main(dtype="float32"):
    """Print a table of the gradients; returns for each name whether tape and hand agree in every bit."""
    rng = np.random.default_rng(0)
    config = GPTConfig(
        vocab_size=V, context_length=T, n_layer=N_LAYER, n_head=N_HEAD, d_model=C, activation="gelu_tanh", dtype=dtype
    )
    model = GPT(config, seed=0)
    for p in model.parameters():
        p.data = p.data + 0.1 * rng.standard_normal(p.shape)  # at biases of 0, one taken for another would not show
    ids, targets = rng.integers(V, size=(2, B, T))

    loss, saved = forward({name: p.data for name, p in model.named_parameters()}, ids, targets)
    by_hand = backward(saved, dtype)

    _, loss_on_tape = model(ids, targets)
    loss_on_tape.backward()
    on_tape = {name: p.grad for name, p in model.named_parameters()}

    equal = {"loss": loss.tobytes() == loss_on_tape.data.tobytes()}
    print(f"{dtype}: loss {loss:.6f} by hand, {float(loss_on_tape):.6f} on the tape\n")
    print(f"{'gradient of':28} {'shape':>10} {'norm':>10}  equal bits")
    for name, grad in on_tape.items():
        equal[name] = grad.tobytes() == by_hand[name].tobytes()
        says = "yes" if equal[name] else f"no, off by {np.abs(grad - by_hand[name]).max():.1e}"
        print(f"{name:28} {grad.shape!s:>10} {np.linalg.norm(grad):10.4f}  {says}")
    print(f"\n{sum(equal.values())} of {len(equal)} are equal bit by bit: the loss, and the gradient of each weight.")
    return equal


if __name__ == "__main__":
    main()
