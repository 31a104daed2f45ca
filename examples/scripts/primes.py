#!/usr/bin/env python3
"""Writes the primes below a bound into a file of $RESULTS."""

import os
import sys

bound = int(sys.argv[sys.argv.index("--below") + 1])
primes = [n for n in range(2, bound) if all(n % d for d in range(2, int(n**0.5) + 1))]
with open(os.path.join(os.environ["RESULTS"], "primes.txt"), "w") as stream:
    print(*primes, sep="\n", file=stream)
print(f"{len(primes)} primes below {bound}")
