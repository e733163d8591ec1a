"""Two ranks, one of which is killed, or sleeps, in the middle of a step."""

import datetime
import os
import signal
import sys
import time

import pyro
import pyro.distributions as dist
import torch
import torch.distributed
from pyro.infer import SVI

import pgplugins as pg


def main(rank, address, way):
    torch.distributed.init_process_group(
        "gloo",
        init_method=address,
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=8),
    )
    calls = 0

    def model():
        nonlocal calls
        calls += 1
        if rank == 1 and calls == 4:
            if way == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(600)
        pyro.sample("z", dist.Normal(0.0, 1.0))

    def guide():
        pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(1.0)), 1.0))

    elbo = pg.ELBO(
        num_particles=4,
        vectorize_particles=True,
        estimators="score_function",
        distributed=True,
    )
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), elbo)
    for step in range(100):
        svi.step()
        print(step, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
