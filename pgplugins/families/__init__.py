"""What the library knows of families of distributions, registered by type.

Importing this package registers it.
"""

from pgplugins.families import continuous_bernoulli, expanded, faults

__all__ = ["continuous_bernoulli", "expanded", "faults"]
