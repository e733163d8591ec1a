"""How a torch function passes on what is known of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pgplugins.core.calls import name_of

# What keeps a log-density a summand, whatever becomes of its shape.
_LINEAR = frozenset(
    """
    add sub subtract rsub neg negative positive sum mean nansum nanmean reshape view
    squeeze unsqueeze expand expand_as view_as reshape_as flatten unflatten transpose
    swapaxes permute movedim T mT H mH t contiguous clone to float double half bfloat16
    type type_as stack cat concat concatenate hstack vstack getitem setitem index_select
    select narrow gather take where masked_fill masked_select masked_scatter cumsum flip
    roll unbind split chunk tensor_split repeat tile broadcast_to broadcast_tensors
    sum_to_size take_along_dim diagonal diag trace nan_to_num cpu cuda atleast_1d ravel
    detach data requires_grad copy index_add index_copy scatter scatter_add tril triu
    """.split()
)
PRODUCTS = frozenset(
    """
    mul multiply matmul mm mv dot inner einsum bmm vdot outer ger addcmul linear
    tensordot
    """.split()
)
QUOTIENTS = frozenset({"div", "divide", "true_divide"})
SUMS = frozenset({"add", "sub", "subtract", "rsub"})
REDUCTIONS = frozenset({"sum", "mean", "nansum", "nanmean"})
# The same elements, one to one.
SAME = frozenset(
    """
    reshape view squeeze unsqueeze expand expand_as view_as reshape_as flatten unflatten
    contiguous clone to float double type type_as detach data cpu cuda broadcast_to
    ravel positive requires_grad atleast_1d
    """.split()
)
STEPS = frozenset(
    """
    round floor ceil trunc fix sign sgn heaviside floor_divide argmax argmin
    """.split()
)
STATISTICS = frozenset(
    """
    std var std_mean var_mean norm vector_norm amax amin max min median quantile
    logsumexp aminmax
    """.split()
)
CLAMPS = frozenset({"clamp", "clip", "clamp_min", "clamp_max", "clip_min"})
# Results that know shapes only.
VALUELESS = frozenset(
    """
    ones_like zeros_like empty_like full_like new_zeros new_ones new_empty new_full
    zero_ fill_ zeros ones empty eye arange linspace
    """.split()
)
FROM_PYTHON = frozenset({"tensor", "as_tensor", "full", "new_tensor", "scalar_tensor"})
RANDOM = frozenset(
    """
    randn randn_like rand rand_like normal normal_ uniform_ exponential_ log_normal_
    cauchy_ bernoulli bernoulli_ multinomial poisson _standard_gamma
    """.split()
)
_names: dict[object, str] = {}


def plain_name(func: Callable[..., Any]) -> str:
    """Return the name of the operation, in place or not, dunder or not.

    Example:
        >>> import torch
        >>> plain_name(torch.Tensor.add_), plain_name(torch.Tensor.__rsub__)
        ('add', 'rsub')
    """
    name = _names.get(func)
    if name is None:
        name = name_of(func)
        if name not in VALUELESS and name not in RANDOM:
            name = name.strip("_")
            if name in ("iadd", "isub", "imul", "idiv", "itruediv", "radd", "rmul"):
                name = name[1:]
            name = {"truediv": "div", "subtract": "sub"}.get(name, name)
        _names[func] = name
    return name


def is_linear(name: str) -> bool:
    """Whether summands stay summands."""
    return name in _LINEAR
