"""``einsum``: sums of products by their letters.

Operands are contracted two at a time, greedily: among pairs that share a letter, the one of
fewest multiplications first.  Each pair is one product of matrices, in a batch where a letter
is in both operands and in the result.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

from workbench.errors import OptionError, ShapeError
from workbench.functional.core import Value, get_aval, shape_of
from workbench.functional.numpy.creation import diagonal
from workbench.functional.numpy.elementwise import multiply
from workbench.functional.numpy.promotion import (
    as_array,
    convert,
    promote,
)
from workbench.functional.numpy.reductions import sum
from workbench.functional.numpy.shaping import (
    broadcast_to,
    matmul,
    moveaxis,
    reshape,
    squeeze,
    transpose,
)

__all__ = ["einsum"]


class _Term(NamedTuple):
    """An operand and one letter an axis."""

    x: Value
    letters: str


def einsum(subscripts: Any, *operands: Any) -> Value:
    """Return sums of products, by Einstein's notation.

    Parameters
    ----------
    subscripts : str
        A letter for each axis of each operand: ``"ij,jk->ik"``.  A letter that is not in the
        result is summed over; without ``->`` the result has those that occur once, in order of
        the alphabet.  ``...`` stands for axes that broadcast.  A letter twice in an operand
        takes its diagonal.
    *operands : array
        Or, as in NumPy, operands and lists of ints by turns, instead of the string.

    Returns
    -------
    array
        Of the promoted dtype.

    Raises
    ------
    OptionError
        If the subscripts cannot be read, or do not fit the number of operands.
    ShapeError
        If they do not fit the axes, or one letter stands for different lengths.
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _spelled((subscripts, *operands))
    inputs, output = _parse(subscripts, [len(shape_of(x)) for x in operands])
    xs = [as_array("einsum", x) for x in promote("einsum", *operands)]
    sizes = _lengths(subscripts, xs, inputs)
    terms = [
        _single(x, letters, output + "".join(inputs[:i] + inputs[i + 1 :]), sizes)
        for i, (x, letters) in enumerate(zip(xs, inputs, strict=True))
    ]
    while len(terms) > 1:
        i, j = min(
            combinations(range(len(terms)), 2),
            key=lambda pair: _cost(terms[pair[0]], terms[pair[1]], sizes),
        )
        a, b = terms[i], terms.pop(j)
        others = [term.letters for term in terms if term is not a]
        terms[i] = _contract(a, b, set(output).union(*others))
    x, letters = terms[0]
    y = transpose(x, [letters.index(c) for c in output if c in letters])
    y = reshape(y, [sizes[c] if c in letters else 1 for c in output])
    return broadcast_to(y, [sizes[c] for c in output])


def _spelled(given: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """Turn operands and lists of ints into operands and a string."""
    if len(given) < 2:
        raise OptionError("einsum", "subscripts are a string, or lists of ints after the operands",
                          given=f"{len(given)} arguments")  # fmt: skip

    def spell(ints: Sequence[Any]) -> str:
        return "".join("..." if i is Ellipsis else string.ascii_letters[i] for i in ints)

    inputs = ",".join(spell(ints) for ints in given[1::2])
    output = f"->{spell(given[-1])}" if len(given) % 2 else ""
    return inputs + output, tuple(given[: len(given) - len(given) % 2 : 2])


def _parse(subscripts: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """Return the letters of each operand and of the result, ``...`` spelled in digits."""
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    inputs = left.split(",")

    def refuse(problem: str, expected: str | None = None) -> OptionError:
        return OptionError("einsum", problem, given=repr(subscripts), expected=expected)

    if len(inputs) != len(ndims):
        raise refuse("the subscripts do not fit the number of operands",
                     f"{len(ndims)} groups of letters, with commas between")  # fmt: skip
    for group in [*inputs, output]:
        letters = group.replace("...", "", 1)
        if not all(c in string.ascii_letters for c in letters):
            raise refuse("these are not subscripts", 'letters and "...", such as "...ij,jk->...ik"')
    rests = []
    for group, ndim in zip(inputs, ndims, strict=True):
        rests.append(ndim - len(group.replace("...", "")))
        if rests[-1] < 0 or (rests[-1] and "..." not in group):
            raise ShapeError("einsum", "an operand does not have an axis for each letter",
                             given=f"{group!r} for {ndim} axes")  # fmt: skip
    # The axes of "..." are named from the last: chr(0x100) is the last, and so on.
    names = "".join(chr(0x100 + i) for i in reversed(range(max(rests))))
    spelled = [group.replace("...", names[len(names) - rest :])
               for group, rest in zip(inputs, rests, strict=True)]  # fmt: skip
    if not arrow:
        counts = Counter("".join(inputs).replace(".", ""))
        output = "..." * bool(names) + "".join(sorted(c for c in counts if counts[c] == 1))
    elif names and "..." not in output:
        raise refuse('the result has no place for the axes of "..."', f'"->...{output}"')
    result = output.replace("...", names)
    if len(set(result)) != len(result) or not set(result) <= set("".join(spelled)):
        raise refuse("a letter of the result occurs twice there, or in no operand")
    return spelled, result


def _lengths(subscripts: str, xs: Sequence[Value], inputs: Sequence[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for x, letters in zip(xs, inputs, strict=True):
        for c, n in zip(letters, x.shape, strict=True):
            if sizes.setdefault(c, n) == 1:
                sizes[c] = n
            elif n not in (1, sizes[c]):
                what = "an axis of ..." if c > "z" else repr(c)
                raise ShapeError("einsum", f"{what} stands for different lengths",
                                 given=f"{subscripts!r} for " + ", ".join(str(get_aval(x)) for x in xs),
                                 expected="one length, or 1")  # fmt: skip
    return sizes


def _single(x: Value, letters: str, elsewhere: str, sizes: dict[str, int]) -> _Term:
    """Take diagonals, drop repeated axes of length 1, and sum what occurs nowhere else."""
    for c in sorted(set(letters)):
        while letters.count(c) > 1:
            i = letters.index(c)
            j = letters.index(c, i + 1)
            x = _same_length(x, i, j)
            letters = letters[:i] + letters[i + 1 : j] + letters[j + 1 :] + c
    ones = [i for i, c in enumerate(letters) if x.shape[i] == 1 and sizes[c] != 1]
    x, letters = squeeze(x, ones), "".join(c for i, c in enumerate(letters) if i not in ones)
    return _Term(*_sum_out(x, letters, set(elsewhere)))


def _same_length(x: Value, i: int, j: int) -> Value:
    """Return the diagonal over two axes, one of which may be of length 1."""
    if x.shape[i] == x.shape[j]:
        return diagonal(x, 0, i, j)
    long, short = (i, j) if x.shape[j] == 1 else (j, i)
    return squeeze(moveaxis(x, (short, long), (-2, -1)), -2)


def _sum_out(x: Value, letters: str, kept: set[str]) -> tuple[Value, str]:
    gone = tuple(i for i, c in enumerate(letters) if c not in kept)
    if not gone:
        return x, letters
    return convert(sum(x, gone), x.dtype), "".join(c for c in letters if c in kept)


def _cost(a: _Term, b: _Term, sizes: dict[str, int]) -> tuple[bool, int]:
    """Return whether nothing is in common, and how many multiplications a contraction takes."""
    both = set(a.letters) | set(b.letters)
    return not set(a.letters) & set(b.letters), prod(sizes[c] for c in both)


def _contract(a: _Term, b: _Term, kept: set[str]) -> _Term:
    """Multiply two terms and sum over what is not kept, as one batched product of matrices."""
    a = _Term(*_sum_out(*a, kept | set(b.letters)))
    b = _Term(*_sum_out(*b, kept | set(a.letters)))
    shared = [c for c in a.letters if c in b.letters]
    batch = [c for c in shared if c in kept]
    summed = [c for c in shared if c not in kept]
    rows = [c for c in a.letters if c not in shared]
    columns = [c for c in b.letters if c not in shared]

    def arrange(term: _Term, *groups: list[str]) -> Value:
        order = [term.letters.index(c) for group in groups for c in group]
        x = transpose(term.x, order)
        sizes = dict(zip(term.letters, term.x.shape, strict=True))
        lead = [sizes[c] for c in groups[0]]
        return reshape(x, [*lead, *(prod(sizes[c] for c in group) for group in groups[1:])])

    sizes = dict(zip(a.letters + b.letters, (*a.x.shape, *b.x.shape), strict=True))
    letters = [*batch, *rows, *columns]
    if not summed:  # No sum, no matrices: broadcasting multiplies.
        x, y = arrange(a, batch, rows, []), arrange(b, batch, [], columns)
        z = multiply(x, y)
    else:
        z = matmul(arrange(a, batch, rows, summed), arrange(b, batch, summed, columns))
    return _Term(reshape(z, [sizes[c] for c in letters]), "".join(letters))
