"""What a batching block ran, as data and as a table."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

from workbench.dynamic.batching.groups import Signature


class Launched(NamedTuple):
    """Calls that ran together.

    Attributes
    ----------
    signature : Signature
        The operation, the kinds of the arguments of one call, and that of its result.
    size : int
        How many calls.
    operations : int
        How many operations ran for them: the call itself, and what gathers its arguments.
    batched : bool
        False if the calls ran one by one.
    """

    signature: Signature
    size: int
    operations: int
    batched: bool


class Report:
    """What ran, in order.

    Attributes
    ----------
    rows : list of Launched
    flushes : int
        How often somebody asked for a value before the end of the block.
    at_once : int
        Calls that could not wait, and ran when they were made.
    """

    def __init__(self) -> None:
        self.rows: list[Launched] = []
        self.flushes = self.at_once = 0

    @property
    def before(self) -> int:
        """Operations that were recorded and have run."""
        return sum(row.size for row in self.rows)

    @property
    def after(self) -> int:
        """Operations that ran in their place."""
        return sum(row.operations for row in self.rows)

    def unbatched(self) -> list[str]:
        """Return the signatures whose calls ran one by one."""
        return list(dict.fromkeys(str(row.signature) for row in self.rows if not row.batched))

    def __str__(self) -> str:
        kinds: dict[str, list[Launched]] = {}
        for row in self.rows:
            shown = textwrap.shorten(str(row.signature), 60, placeholder=" ...")
            kinds.setdefault(shown, []).append(row)
        width = max([len("signature"), *map(len, kinds)])
        lines = [f"{'signature':{width}}  {'calls':>7}  {'groups':>7}  {'largest':>7}  {'ran':>7}"]
        for signature, rows in kinds.items():
            calls, ran = sum(row.size for row in rows), sum(row.operations for row in rows)
            largest = max(row.size for row in rows)
            note = "" if rows[0].batched else "  one by one"
            lines.append(
                f"{signature:{width}}  {calls:7}  {len(rows):7}  {largest:7}  {ran:7}{note}"
            )
        return "\n".join([*lines, f"{self.before} operations recorded, {self.after} run; {self.flushes} "
                          f"early requests for a value, {self.at_once} calls at once"])  # fmt: skip
