"""A synthetic regression data set: y = sin(w.x) with a little noise."""

import argparse
import math
import random


def make(samples, features, seed):
    rng = random.Random(seed)
    weights = [rng.uniform(-1, 1) for _ in range(features)]
    rows, targets = [], []
    for _ in range(samples):
        x = [rng.gauss(0, 1) for _ in range(features)]
        rows.append(x)
        targets.append(math.sin(sum(w * v for w, v in zip(weights, x))) + rng.gauss(0, 0.01))
    return rows, targets


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.parse_args()
    rows, targets = make(64, 4, 1)
    assert len(rows) == len(targets) == 64
    print("data: 64 rows of 4 features, as expected")
