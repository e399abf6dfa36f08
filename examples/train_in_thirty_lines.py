"""Train a tiny GPT with the public API, and let it speak: `python examples/train_in_thirty_lines.py`."""

from minillm import GPT, GPTConfig
from minillm.data import Loader
from minillm.generate import generate
from minillm.optim import AdamW
from minillm.tokenizer import CharTokenizer

TEXT = "the loss goes down proves nothing, so check every gradient. " * 40


def main(steps: int = 150) -> str:
    tokenizer = CharTokenizer.train(TEXT)
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size, context_length=32, n_layer=2, n_head=4, d_model=64, activation="gelu"
    )
    model = GPT(config, seed=0)
    optimizer = AdamW(model, lr=3e-3)
    batches = Loader(tokenizer.encode(TEXT), batch_size=8, context_length=32, seed=0)
    for step in range(steps):
        ids, targets = next(batches)  # (8, 32), (8, 32)
        _, loss = model(ids, targets)
        model.zero_grad()
        loss.backward()  # step in here with a debugger
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:3}  loss {float(loss):.3f}")
    prompt = tokenizer.encode("the loss ")
    text = tokenizer.decode(list(generate(model, prompt, 50, temperature=0)))
    print(f"the loss {text}")
    return text


if __name__ == "__main__":
    main()
