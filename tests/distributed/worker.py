"""One rank of several, run by torchrun; the first one prints what it found as JSON."""

import json
import sys

import torch
import torch.distributed

from tests.distributed import behaviour, cases


def main():
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    found = {
        "cases": cases.run_all(rank, size),
        "behaviour": behaviour.run_all(rank, size),
    }
    everyones = [None] * size
    torch.distributed.all_gather_object(everyones, found)
    if rank == 0:
        json.dump(everyones, sys.stdout)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
