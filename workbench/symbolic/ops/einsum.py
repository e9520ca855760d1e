"""Einstein's summation, by transposing, broadcasting and one product for each pair of operands."""

from __future__ import annotations

from typing import Any

from workbench.errors import OptionError, ShapeError
from workbench.symbolic.graph import Operand, Variable, sides
from workbench.symbolic.ops.arranging import diagonal, product, sizes_of
from workbench.symbolic.ops.linear import matmul
from workbench.symbolic.ops.reductions import sum
from workbench.symbolic.ops.shaping import reshape, transpose
from workbench.symbolic.values import operands


def einsum(subscripts: str, *arrays: Operand) -> Variable:
    """Return sums of products over the axes that repeat, as ``numpy.einsum``.

    Parameters
    ----------
    subscripts : str
        A letter for each axis, a comma between operands, ``...`` for axes that broadcast;
        after ``->`` the axes of the result, in order.
    *arrays : array_like or Variable
        Multiplied from left to right.

    Raises
    ------
    OptionError
        If the subscripts do not fit the arrays.
    ShapeError
        If axes of one letter can never have one size.
    """
    xs = operands("einsum", **{f"arrays[{i}]": x for i, x in enumerate(arrays)})
    terms, result = _parsed(subscripts, xs)
    pairs = [_diagonals(x, term) for x, term in zip(xs, terms, strict=True)]
    y, left = pairs[0]
    for i, (x, term) in enumerate(pairs[1:], 1):
        later = set(result).union(*(each for _, each in pairs[i + 1 :]))
        y, left = _product(y, left, x, term, later)
    y, left = _summed(y, left, set(result))
    return transpose(y, [left.index(k) for k in result])


def _parsed(subscripts: str, xs: list[Variable]) -> tuple[list[str], str]:
    """Return the letters of every operand and of the result; digits stand for the ``...``."""
    text = subscripts.replace(" ", "")
    before, arrow, after = text.partition("->")
    terms, dots = before.split(","), ""
    for i, (term, x) in enumerate(zip(terms, xs, strict=False)):
        hidden = x.ndim - len(term) + 3 if "..." in term else 0
        names = "0123456789"[:hidden][::-1]  # The last one is 0: they line up from the right.
        dots = max(dots, names, key=len)
        terms[i] = term.replace("...", names, 1)
    letters = "".join(terms)
    if not arrow:
        after = "..." + "".join(sorted(k for k in set(letters) if letters.count(k) == 1
                                       and k not in dots))  # fmt: skip
    after = after.replace("...", dots, 1)
    fits = len(terms) == len(xs) and all(
        len(term) == x.ndim for term, x in zip(terms, xs, strict=True)
    )
    known = all(k.isalpha() or k in dots for k in letters)
    if not (fits and known) or len(set(after)) != len(after) or not set(after) <= set(letters):
        named = {f"arrays[{i}]": x for i, x in enumerate(xs)}
        raise OptionError("einsum", "the subscripts do not fit the arrays",
                          given=f"{subscripts!r}\n{' ' * 12}{sides(**named)}",
                          expected="a letter an axis, and a result made of them")  # fmt: skip
    return terms, after


def _diagonals(x: Variable, term: str) -> tuple[Variable, str]:
    """Return ``x`` with axes of one letter made one: their diagonal."""
    for k in dict.fromkeys(term):
        while term.count(k) > 1:
            a = term.index(k)
            b = term.index(k, a + 1)
            if None not in (x.shape[a], x.shape[b]) and x.shape[a] != x.shape[b]:
                raise ShapeError("einsum", f"two axes {k!r} differ in size", given=sides(x=x))
            x, term = diagonal(x, 0, a, b), term[:a] + term[a + 1 : b] + term[b + 1 :] + k
    return x, term


def _summed(x: Variable, term: str, keep: set[str]) -> tuple[Variable, str]:
    axes = tuple(a for a, k in enumerate(term) if k not in keep)
    return (sum(x, axes) if axes else x), "".join(k for k in term if k in keep)


def _product(
    x: Variable, left: str, y: Variable, right: str, keep: set[str]
) -> tuple[Variable, str]:
    """Return the product of two, summed over the letters that nothing needs any more."""
    both = [k for k in left if k in right]
    ones = [k for k in both if 1 in (x.shape[left.index(k)], y.shape[right.index(k)])]
    x, left = _summed(x, left, keep | set(right))
    y, right = _summed(y, right, keep | set(left))
    # An axis of one beside a longer one broadcasts, so it is not to be summed over in a product.
    over = [k for k in both if k not in keep and k not in ones]
    batch = [k for k in both if k not in over]
    rows, columns = ([k for k in term if k not in both] for term in (left, right))
    x = transpose(x, [left.index(k) for k in batch + rows + over])
    y = transpose(y, [right.index(k) for k in batch + over + columns])
    n = len(batch)
    sizes: list[Any] = sizes_of(x)[n : n + len(rows)]
    others: list[Any] = sizes_of(y)[n + len(over) :]
    inner: Any = product(sizes_of(y)[n : n + len(over)])
    z = matmul(
        reshape(x, (*sizes_of(x)[:n], product(sizes), inner)),
        reshape(y, (*sizes_of(y)[:n], inner, product(others))),
    )
    z = reshape(z, (*sizes_of(z)[:n], *sizes, *others))
    return _summed(z, "".join(batch + rows + columns), keep)
