"""The Pyro front: programs, their sites, and the objectives that run them."""
