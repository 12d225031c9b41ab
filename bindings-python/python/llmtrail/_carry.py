"""Carries the current scope into threads, which know nothing of the context variables of whoever started them."""

from __future__ import annotations

from ._scopes import _COROUTINE, Carried, _kind_of, current, of_generator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")


def carry(target: T) -> T:
    """Binds a function to the scope that is current now, or has an executor do so with whatever is submitted to it.

    `pool.submit(llmtrail.carry(work), x)`, `threading.Thread(target=llmtrail.carry(work))`; or once
    `pool = llmtrail.carry(ThreadPoolExecutor())`, and `pool.submit`, `pool.map` and `loop.run_in_executor(pool, ...)`
    run their work in the scope that is current where it is submitted. An executor is given back as the same object.

    Raises:
        TypeError: it is neither a function nor an executor of threads in this process.
    """
    submit = getattr(target, "submit", None)
    if callable(submit) and hasattr(target, "shutdown"):
        _carry_all(target, submit)
        return target
    if not callable(target):
        raise TypeError(f"carry: expected a function or an executor of threads, got {target!r:.80}")
    return _bound(target)  # type: ignore[return-value]


def _bound(function: Callable[..., Any]) -> Callable[..., Any]:
    from functools import wraps

    scope = current.get()
    wrapper: Any
    kind = _kind_of(function)
    if kind == _COROUTINE:

        @wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            token = current.set(scope)
            try:
                return await function(*args, **kwargs)
            finally:
                current.reset(token)

    elif kind:
        wrapper = of_generator(kind, function, lambda: Carried(scope))

    else:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            token = current.set(scope)
            try:
                return function(*args, **kwargs)
            finally:
                current.reset(token)

        # Partial functions have no name to take over.
        wrapper = wraps(function)(wrapper)
    return wrapper  # type: ignore[no-any-return]


def _carry_all(executor: Any, submit: Callable[..., Any]) -> None:
    if hasattr(submit, "llmtrail"):
        return
    if any(kind.__name__ == "ProcessPoolExecutor" for kind in type(executor).__mro__):
        raise TypeError("carry: a scope cannot be carried into another process; hand over headers() instead")

    def carrying(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return submit(_bound(function), *args, **kwargs)

    carrying.llmtrail = True  # type: ignore[attr-defined]
    executor.submit = carrying
