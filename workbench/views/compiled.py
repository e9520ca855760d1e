"""What the compiler made of a program: its kernels, their code, and their memory."""

from __future__ import annotations

import html
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from workbench.errors import OptionError, unknown_name
from workbench.views import palette
from workbench.views.beside import Beside, beside
from workbench.views.charts import in_bytes
from workbench.views.pictures import Picture, tidy
from workbench.views.sources import FONT

if TYPE_CHECKING:
    from workbench.compiler.fuse import Fused
    from workbench.compiler.memory import Plan

KINDS = {
    "loop": palette.SKY,
    "reduce": palette.GREEN,
    "dot": palette.ORANGE,
    "special": palette.PURPLE,
    "control": palette.VERMILION,
}
"""One colour for each kind of kernel."""

MADE_BY = {
    "loop": "a loop",
    "reduce": "a reduction",
    "dot": "a matrix product",
    "special": "a kernel of its own kind",
    "control": "a branch or a loop of kernels",
}

VECTOR = r"<\d+ x (?:float|double)>"
"""What an instruction of LLVM's looks like that works on several numbers at once."""

MEMORY = rf"\b(load|store) {VECTOR}|masked\.(load|store)"
"""Where such a group of numbers is read or written."""


# --- kernels -------------------------------------------------------------------------------


class Groups:
    """The instructions of a program, kernel by kernel; shows itself in a notebook.

    Attributes
    ----------
    groups : list of (Kernel, list of str)
        Each kernel, and the lines of the program's text that it runs.
    """

    def __init__(self, fused: Fused) -> None:
        # Lines of the program itself are indented by two; those of a loop's body by more.
        lines = [line[2:] for line in str(fused.program).splitlines()
                 if re.match(r"  [^ ].* = ", line)]  # fmt: skip
        texts = dict(zip(fused.program.instructions, lines, strict=True))
        self.groups = [(k, [texts[each] for each in k.instructions]) for k in fused.kernels]

    def __str__(self) -> str:
        return "\n".join("\n".join([_heading(k), *("  " + line for line in lines)])
                         for k, lines in self.groups)  # fmt: skip

    def _repr_html_(self) -> str:
        return "".join(
            f'<div style="border-left:6px solid {KINDS[k.kind]};margin:6px 0;padding:2px 10px;'
            f'font:12px/1.4 {FONT};white-space:pre;overflow-x:auto;background:{palette.PAPER};'
            f'color:{palette.INK}"><b>{html.escape(_heading(k))}</b>\n'
            + html.escape("\n".join(lines)) + "</div>"
            for k, lines in self.groups
        )  # fmt: skip


def _heading(kernel: Any) -> str:
    n = len(kernel.instructions)
    return f"{kernel.name}: {kernel.kind} over {kernel.space}, {n} instruction{'s' * (n > 1)}"


def fusion_view(fused: Fused) -> Groups:
    """Show which instructions of a program run together, as one kernel.

    Parameters
    ----------
    fused : Fused
        Of :func:`workbench.compiler.fuse.fuse`, or an executable's ``fused``.

    Returns
    -------
    Groups
        An instruction that is cheaper to compute again than to keep stands in several.
    """
    return Groups(fused)


def kernel_view(executable: Any, name: str) -> Beside:
    """Show the code of one kernel: as C that people read, and as LLVM optimised it.

    Parameters
    ----------
    executable : Executable
        Of the LLVM target: a compiled function's ``executable``.
    name : str
        Of the kernel.

    Returns
    -------
    Beside
        On the right only the loops that work on several numbers at once, lit where these
        are read and written; or the whole, if there are none.

    Raises
    ------
    OptionError
        If there is no code: the program was not compiled by LLVM.
    UnknownNameError
        If there is no such kernel.
    """
    source = getattr(executable, "source", None)
    if source is None:
        raise OptionError("kernel_view", "there is no code to show", given=repr(executable),
                          expected='what mode "llvm" ran: function.executable, after a call')  # fmt: skip
    if name not in source["kernels"]:
        raise unknown_name("kernel_view", "kernel", name, source["kernels"])
    whole = function_text(source["llvm"], name)
    excerpt = vector_blocks(whole)
    lines, wide = excerpt.splitlines(), re.findall(VECTOR, excerpt)
    caption = f"LLVM, optimised: {len(lines)} of {len(whole.splitlines())} lines"
    if wide:
        ((often, _),) = Counter(wide).most_common(1)
        caption += f", {sum(often in line for line in lines)} of them on {often}"
    return beside({f"{name}, as C": source["kernels"][name], caption: excerpt}, lit=MEMORY)


def function_text(module: str, name: str) -> str:
    """Return one function of an LLVM module's text; empty if it was put into another."""
    found = re.search(rf'^define [^\n]*@"?{re.escape(name)}"?\(.*?^\}}', module, re.M | re.S)
    return found[0] if found else ""


def vector_blocks(function: str) -> str:
    """Return the first line of a function, and its blocks in which vectors occur."""
    head, *body = function.split("\n", 1)
    blocks = re.split(r"\n\n+", body[0]) if body else []
    kept = [block for block in blocks if re.search(VECTOR, block)]
    return "\n\n".join([head, *kept]) if kept else function


# --- memory --------------------------------------------------------------------------------


def memory_plan_chart(plan: Plan) -> Picture:
    """Draw where each value lies in the arena, and from which kernel to which.

    Parameters
    ----------
    plan : Plan
        Of :func:`workbench.compiler.memory.plan`, or an executable's ``plan``.

    Returns
    -------
    Picture
        A bar a value: from the kernel that makes it to the last that reads it, or that
        writes over it in place (then hatched); at its offset in memory.  Right:
        what the arena takes, and what its values would if each had a place of its own.

    Raises
    ------
    OptionError
        If nothing lies in the arena.
    """
    if not plan.lifetimes:
        raise OptionError("memory_plan_chart", "there is nothing to draw",
                          given="a plan without values between kernels")  # fmt: skip
    from matplotlib.patches import Patch  # Picture has asked for matplotlib by now.
    from matplotlib.ticker import EngFormatter

    maker = {x: k for k in plan.kernels for x in k.outputs}
    renewed = {new for _, _, new in plan.in_place}
    picture = Picture(10, 4.8)
    left, right = picture.subplots(1, 2, width_ratios=(5, 1))
    kinds = dict.fromkeys(maker[each.value].kind for each in plan.lifetimes)
    begins = {(each.offset, each.first) for each in plan.lifetimes if each.value in renewed}
    for each in plan.lifetimes:
        # Where a value is written over in place, its bar ends and the next begins.
        long = each.last - each.first + ((each.offset, each.last) not in begins)
        left.barh(each.offset + each.nbytes / 2, long, each.nbytes, left=each.first - 0.5,
                  color=palette.mix(KINDS[maker[each.value].kind], palette.PAPER, 0.35),
                  edgecolor=palette.INK, linewidth=0.8,
                  hatch="//" if each.value in renewed else "")  # fmt: skip
        if each.nbytes > plan.arena_bytes / (25 if long > 1 else 4):
            left.text(each.first + (long - 1) / 2, each.offset + each.nbytes / 2,
                      str(each.value.type), ha="center", va="center", fontsize=8,
                      rotation=0 if long > 1 else 90,
                      bbox={"facecolor": palette.PAPER, "edgecolor": "none", "pad": 1})  # fmt: skip
    left.set_xticks(range(len(plan.kernels)), [k.name for k in plan.kernels], rotation=45,
                    ha="right", rotation_mode="anchor")  # fmt: skip
    left.set(xlim=(-0.5, len(plan.kernels) - 0.5), ylim=(0, plan.arena_bytes),
             xlabel="kernel, in the order in which they run", ylabel="offset in the arena (bytes)")  # fmt: skip
    over = [each for each in plan.lifetimes if each.value in renewed]
    keys = [Patch(facecolor=palette.mix(KINDS[kind], palette.PAPER, 0.35), edgecolor=palette.INK,
                  label=f"made by {MADE_BY[kind]}") for kind in kinds]  # fmt: skip
    if over:
        keys.append(Patch(facecolor=palette.PAPER, edgecolor=palette.INK, hatch="//",
                          label="written over an operand"))  # fmt: skip
    left.legend(handles=keys, fontsize=8, loc="best")
    sizes = {"a place\neach": plan.naive_bytes, "the arena": plan.arena_bytes}
    bars = right.bar(list(sizes), list(sizes.values()), color=[palette.FAINT, palette.BLUE])
    right.bar_label(bars, [in_bytes(n) for n in sizes.values()], fontsize=9)
    right.set(ylabel="memory between kernels (bytes)")
    right.margins(y=0.12)
    for axes in (left, right):
        tidy(axes)
        axes.grid(False, axis="x")
        axes.yaxis.set_major_formatter(EngFormatter("B"))
    left.tick_params(axis="x", labelsize=8)
    saved = sum(each.nbytes for each in over)
    picture.alt = (
        f"{len(plan.lifetimes)} values share an arena of {in_bytes(plan.arena_bytes)}, where a place "
        f"each would take {in_bytes(plan.naive_bytes)}; {len(over)} of them, {in_bytes(saved)}, are "
        "written over an operand."
    )
    return picture
