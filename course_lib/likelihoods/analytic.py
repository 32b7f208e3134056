"""Log-probabilities of counts with slopes of their own formulas, evaluated where and in pieces as is fastest."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import Function

BLOCK = 2**16
"""Entries that are worked on at a time, on a CPU."""


class Analytic(Function):
    """A log-probability whose slopes are computed with its value, not by automatic differentiation.

    Called as ``Analytic.apply(few, many, x, *tensors)``, with two formulas: for counts of 0 and 1, and for larger ones
    (None where the first holds for all). A formula takes ``(slopes, x, *tensors)`` and returns a list: the value, and
    if `slopes`, the slope in each of the first tensors. The others, as `x`, are constants: no gradient flows there.
    """

    @staticmethod
    def forward(ctx, few: Callable, many: Callable | None, x: Tensor, *tensors: Tensor) -> Tensor:
        """Compute the value; keep the slopes where a gradient will be asked for."""
        value, *slopes = _evaluate(few, many, any(ctx.needs_input_grad), torch.broadcast_tensors(x, *tensors))
        ctx.save_for_backward(*slopes)
        ctx.shapes = [tensor.shape for tensor in tensors]
        return value

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Multiply by the slopes, and sum over what was broadcast."""
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise RuntimeError("Count likelihoods have no second derivatives: create_graph=True cannot pass through.")
        slopes = ctx.saved_tensors
        gradients = [(gradient * slope).sum_to_size(shape) for slope, shape in zip(slopes, ctx.shapes, strict=False)]
        return None, None, None, *gradients, *[None] * (len(ctx.shapes) - len(slopes))


def _evaluate(few: Callable, many: Callable | None, slopes: bool, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Evaluate the formulas, all at once on a GPU and in compiled code; on a CPU, some rows at a time.

    The intermediate results of a block stay in the processor's cache; those of a whole minibatch would not, and
    fetching them would take longer than the arithmetic.
    """
    x = tensors[0]
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        results = few(slopes, *tensors)
        if many is None:
            return results
        larger = many(slopes, x.clamp(min=2), *tensors[1:])
        return [torch.where(x > 1, b, a) for a, b in zip(results, larger, strict=True)]
    if x.numel() <= BLOCK:
        return _evaluate_block(few, many, slopes, tensors)
    rows = max(1, BLOCK * len(x) // x.numel())
    blocks = zip(*(tensor.split(rows) for tensor in tensors), strict=True)
    parts = zip(*(_evaluate_block(few, many, slopes, block) for block in blocks), strict=True)
    return [torch.cat(part) for part in parts]


def _evaluate_block(few: Callable, many: Callable | None, slopes: bool, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Evaluate the first formula everywhere, and the second, which takes longer, for the counts that need it."""
    results = [result.contiguous() for result in few(slopes, *tensors)]
    if many is not None:
        index = (tensors[0] > 1).flatten().nonzero().squeeze(1)
        chosen = (tensor.flatten().index_select(0, index) for tensor in tensors)
        for result, larger in zip(results, many(slopes, *chosen), strict=True):
            result.view(-1).scatter_(0, index, larger)
    return results
