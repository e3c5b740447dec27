"""Symbolic tracing by torch.fx: functions that a traced program shows as one step, whatever they decide inside."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import Tensor
from torch.fx import Proxy

Rest = ParamSpec("Rest")
Result = TypeVar("Result")


def is_symbolic(tensor: object) -> bool:
    """Whether torch.fx's symbolic tracing passes a placeholder, which has no shape, device or type to decide by."""
    return isinstance(tensor, Proxy)


def one_step(function: Callable[Concatenate[Tensor, Rest], Result]) -> Callable[Concatenate[Tensor, Rest], Result]:
    """Makes a function of a tensor one step of the programs that torch.fx traces: it is called when the program runs.

    So it may ask for shapes, devices and settings. Its other arguments are in the program as they were.
    """

    @wraps(function)
    def called(tensor: Tensor, /, *args: Rest.args, **kwargs: Rest.kwargs) -> Result:
        if isinstance(tensor, Proxy):
            step: Any = tensor.tracer.create_proxy("call_function", called, (tensor, *args), kwargs)
            return step
        return function(tensor, *args, **kwargs)

    return called
