"""One module or package per stage: typed params in, declared files out."""

import os

# Read by the OpenMP runtime when torch loads it, so it has to stand before any import of torch.
# By default idle threads spin at a barrier; on a machine that does anything else besides, a
# training step with 2 threads then waits 10 to 20 times as long as with sleeping threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
