"""Train a one-hidden-layer network with plain Python, one batch at a time.

The activations and gradients of a whole batch are held in memory, as a deep
learning framework holds them, so the batch size decides how much is needed.
"""

import argparse
import json
import math
import random

import data


def batches(rows, targets, size):
    for i in range(0, len(rows), size):
        yield rows[i : i + size], targets[i : i + size]


class Network:
    def __init__(self, features, hidden, seed):
        rng = random.Random(seed)
        self.w1 = [[rng.gauss(0, 0.3) for _ in range(features)] for _ in range(hidden)]
        self.w2 = [rng.gauss(0, 0.3) for _ in range(hidden)]

    def forward(self, rows):
        pre = [[sum(w * v for w, v in zip(unit, x)) for unit in self.w1] for x in rows]
        act = [[math.tanh(p) for p in line] for line in pre]
        out = [sum(w * a for w, a in zip(self.w2, line)) for line in act]
        return pre, act, out

    def gradients(self, rows, targets):
        pre, act, out = self.forward(rows)
        errors = [o - t for o, t in zip(out, targets)]
        back = [[e * w * (1 - a * a) for w, a in zip(self.w2, line)] for e, line in zip(errors, act)]
        n = len(rows)
        g2 = [sum(e * line[j] for e, line in zip(errors, act)) / n for j in range(len(self.w2))]
        g1 = [
            [sum(b[j] * x[k] for b, x in zip(back, rows)) / n for k in range(len(rows[0]))]
            for j in range(len(self.w2))
        ]
        return g1, g2, sum(e * e for e in errors) / n

    def step(self, g1, g2, rate):
        for unit, g in zip(self.w1, g1):
            for k, v in enumerate(g):
                unit[k] -= rate * v
        for j, v in enumerate(g2):
            self.w2[j] -= rate * v


def add(total, part):
    if total is None:
        return part
    return [[a + b for a, b in zip(x, y)] for x, y in zip(total[0], part[0])], [
        a + b for a, b in zip(total[1], part[1])
    ]


def train(config):
    rows, targets = data.make(config["samples"], config["features"], config["seed"])
    net = Network(config["features"], config["hidden"], config["seed"])
    every = config["gradient_accumulation_steps"]
    for epoch in range(config["epochs"]):
        total, held, losses = None, 0, []
        for x, y in batches(rows, targets, config["batch_size"]):
            g1, g2, loss = net.gradients(x, y)
            losses.append(loss)
            total, held = add(total, (g1, g2)), held + 1
            if held == every:
                net.step(*total, config["learning_rate"] / every)
                total, held = None, 0
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.4f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True)
    with open(parser.parse_args().config) as f:
        config = json.load(f)
    print(f"training with batches of {config['batch_size']}", flush=True)
    train(config)
