"""Programs as text, one line an instruction, and back.

::

    program step(x: f32[32,64], w: f32[64,10]) {
      %0 = dot x, w, trans_a=False, trans_b=False : f32[32,10]
      %1 = constant 0.5 : f32[]
      %2 = broadcast %1, shape=(32, 10), axes=() : f32[32,10]
      %3 = add %0, %2 : f32[32,10]
      return %3
    }

``return %3 -> w`` leaves an output in the memory of input ``w``.  Programs that an
instruction runs follow it, further indented, each after the name of its attribute.  The
text is whole but for what only a debugger wants (origins) and for the elements of large
constants, printed as ``@c0``: :func:`constants` gives those, :func:`parse` takes them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.compiler.opcodes import OPCODES
from workbench.compiler.program import Instruction, Program, Type, Value, types, walk
from workbench.errors import GraphError, WorkbenchError, unknown_name

INLINE_LIMIT = 16
"""The most elements of a constant that stand in the text itself."""

Constants = dict[str, npt.NDArray[Any]]


# --- printing ------------------------------------------------------------------------------


def to_text(program: Program) -> str:
    """Return a program as text.

    Parameters
    ----------
    program : Program

    Returns
    -------
    str
        Without a newline at its end; :func:`parse` reads it.
    """
    large = {id(array): name for name, array in constants(program).items()}
    return "\n".join(_lines(program, large))


def constants(program: Program) -> Constants:
    """Return the constants too large to stand in the text, by the name they have there."""
    arrays = (i.attributes["value"] for i in walk(program) if i.opcode == "constant")
    large = {id(array): array for array in arrays if array.size > INLINE_LIMIT}
    return {f"c{number}": array for number, array in enumerate(large.values())}


def names(program: Program) -> dict[Value, str]:
    """Return the name of every value of a program, as its text has it: ``x`` or ``%3``."""
    named: dict[Value, str] = {}
    taken, count = {"return", "program"}, 0
    for x in (*program.inputs, *(y for i in program.instructions for y in i.results)):
        name = re.sub(r"\W", "_", x.name or "", flags=re.ASCII).lstrip("0123456789")
        if name:
            base, tries = name, 0
            while name in taken:
                tries += 1
                name = f"{base}_{tries}"
            taken.add(name)
        else:
            name, count = f"%{count}", count + 1
        named[x] = name
    return named


def _lines(program: Program, large: Mapping[int, str]) -> Iterator[str]:
    named = names(program)
    inputs = ", ".join(f"{named[x]}: {x.type}" for x in program.inputs)
    name = re.sub(r"[(\s]", "_", program.name)
    yield f"program {name}({inputs}) {{"
    for each in program.instructions:
        results = ", ".join(named[x] for x in each.results)
        yield f"  {results} = {_call(each, named, large)} : {', '.join(map(str, types(each.results)))}"
        for key, part in each.attributes.items():
            if isinstance(part, Program):
                head, *rest = _lines(part, large)
                yield f"    {key}: {head}"
                yield from (f"    {line}" for line in rest)
    outputs = (
        named[x] + (f" -> {named[program.inputs[program.donate[i]]]}" if i in program.donate else "")
        for i, x in enumerate(program.outputs)
    )  # fmt: skip
    yield f"  return {', '.join(outputs)}".rstrip()
    yield "}"


def _call(each: Instruction, named: Mapping[Value, str], large: Mapping[int, str]) -> str:
    if each.opcode == "constant":
        return f"constant {_elements(each.attributes['value'], large)}"
    parts = [named[x] for x in each.operands]
    parts += [f"{key}={literal(value)}" for key, value in each.attributes.items()
              if not isinstance(value, Program)]  # fmt: skip
    return f"{each.opcode} {', '.join(parts)}".rstrip()


def _elements(array: npt.NDArray[Any], large: Mapping[int, str]) -> str:
    if id(array) in large:
        return f"@{large[id(array)]}"
    texts = [number(x) for x in array.reshape(-1)]
    return f"[{', '.join(texts)}]" if array.ndim else texts[0]


def number(x: np.generic) -> str:
    """Return the shortest text that reads as this number of this dtype, to the last bit."""
    text = str(x)
    if isinstance(x, np.floating) and x.dtype.type(float(text)) != x:
        return repr(float(x))  # NaN; or the decimal would be rounded twice, to float64 and on.
    return text


def literal(value: Any) -> str:
    """Return an attribute as text: a number, a dtype, a string, or a tuple of them."""
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, np.dtype):
        return str(Type(value, ()))[:-2]
    return repr(value.item() if isinstance(value, np.generic) else value)


# --- parsing -------------------------------------------------------------------------------

_NAME = r"%?[A-Za-z0-9_]+"
_HEAD = re.compile(r"program ([^(]*)\((.*)\) \{")
_INSTRUCTION = re.compile(rf"({_NAME}(?:, {_NAME})*) = (\w+)(?: (.*))? : (.+)")
_PART = re.compile(r"(\w+): (program .*)")
_FORM = "'%0 = opcode x, y, attribute=value : type', 'return %0, ...' or '}'"


def parse(text: str, constants: Mapping[str, npt.NDArray[Any]] | None = None) -> Program:
    """Return the program that prints as ``text``.

    Parameters
    ----------
    text : str
    constants : dict of str to array, optional
        The large ones, as :func:`constants` returns them.

    Returns
    -------
    Program
        Verified.

    Raises
    ------
    GraphError, UnknownNameError
        Naming the line, and what was expected there.
    """
    return _Parser(text, constants or {}).whole()


class _Parser:
    def __init__(self, text: str, constants: Mapping[str, npt.NDArray[Any]]) -> None:
        lines = ((n, line.strip()) for n, line in enumerate(text.splitlines(), 1))
        self.lines = [(n, line) for n, line in lines if line]
        self.constants, self.at = constants, 0

    @property
    def where(self) -> str:
        """The line at hand, for errors."""
        return f"line {self.lines[min(self.at, len(self.lines) - 1)][0] if self.lines else 1}"

    @property
    def line(self) -> str:
        """The text of the line at hand."""
        if self.at >= len(self.lines):
            raise GraphError(self.where, "the program ends too early", expected=_FORM)
        return self.lines[self.at][1]

    def refuse(self, problem: str, expected: str) -> GraphError:
        return GraphError(self.where, problem, given=self.line, expected=expected)

    def whole(self) -> Program:
        program = self.program(self.line)
        if self.at < len(self.lines):
            raise self.refuse("there is text after the program", "nothing after its last '}'")
        return program

    def program(self, head: str) -> Program:
        """Read a program, from the line at hand, of which ``head`` is the part that counts."""
        match = _HEAD.fullmatch(head)
        if not match:
            raise self.refuse("this starts no program", "'program name(x: f32[2], ...) {'")
        start, known, instructions = self.where, {}, []  # type: str, dict[str, Value], list[Instruction]
        for part in re.findall(r"[^,\[]+(?:\[[^\]]*\])?", match[2]):
            name, _, kind = part.strip().partition(": ")
            if name in known:
                raise self.refuse(f"the name {name} is taken", "a name for each input")
            known[name] = self.value(name, self.type(kind))
        inputs = tuple(known.values())
        self.at += 1
        while not re.match(r"return\b", self.line):
            instructions.append(self.instruction(known))
        outputs, donate = [], {}
        for i, part in enumerate(filter(None, self.line[len("return") :].strip().split(", "))):
            name, _, target = part.partition(" -> ")
            outputs.append(self.look_up(name, known))
            if target:
                if (memory := self.look_up(target, known)) not in inputs:
                    raise self.refuse(f"{target} is no input", "an input after '->'")
                donate[i] = inputs.index(memory)
        self.at += 1
        if self.line != "}":
            raise self.refuse("the program goes on after its return", "'}'")
        self.at += 1
        program = Program(match[1], inputs, tuple(instructions), tuple(outputs), donate)
        try:
            program.verify()
        except WorkbenchError as error:
            raise GraphError(f"the program at {start}", str(error)) from error
        return program

    def instruction(self, known: dict[str, Value]) -> Instruction:
        match = _INSTRUCTION.fullmatch(self.line)
        if not match:
            raise self.refuse("this is no instruction", _FORM)
        results, opcode, rest, kinds = match.groups(default="")
        if opcode not in OPCODES:
            raise unknown_name(self.where, "opcode", opcode, OPCODES)
        made = [self.type(kind) for kind in re.split(r", (?=[a-z])", kinds)]
        targets = results.split(", ")
        operands: list[Value] = []
        if opcode == "constant":
            attributes: dict[str, Any] = {"value": self.constant(rest, made[0])}
        else:
            while operand := re.match(rf"({_NAME})(?:, |$)", rest):
                operands.append(self.look_up(operand[1], known))
                rest = rest[operand.end() :]
            attributes = self.attributes(rest)
        number, line = self.at, self.lines[self.at]
        self.at += 1
        while self.at < len(self.lines) and (part := _PART.fullmatch(self.line)):
            attributes[part[1]] = self.program(part[2])
        after, self.at = self.at, number  # Errors below speak of the instruction's own line.
        try:
            expected = OPCODES[opcode].infer(types(operands), attributes)
            wanted = f"{len(expected)} of type {', '.join(map(str, expected))}"
        except (WorkbenchError, TypeError, KeyError, ValueError) as error:
            raise GraphError(self.where, f"{opcode} does not take this: {error}",
                             given=line[1]) from error  # fmt: skip
        if tuple(made) != expected or len(targets) != len(expected):
            raise self.refuse("the results are not what the opcode makes", wanted)
        for name, kind in zip(targets, made, strict=True):
            if name in known:
                raise self.refuse(f"the name {name} is taken", "a new name for each result")
            known[name] = self.value(name, kind)
        self.at = after
        return Instruction(opcode, tuple(operands), attributes, tuple(known[t] for t in targets))

    def value(self, name: str, kind: Type) -> Value:
        return Value(kind, None if name.startswith("%") else name)

    def type(self, text: str) -> Type:
        try:
            return Type.parse(text)
        except WorkbenchError:
            raise self.refuse(f"{text!r} is not a type", "such as f32[32,64]") from None

    def look_up(self, name: str, known: Mapping[str, Value]) -> Value:
        if name not in known:
            raise unknown_name(self.where, "value", name, known)
        return known[name]

    def constant(self, text: str, kind: Type) -> npt.NDArray[Any]:
        if text.startswith("@"):
            if text[1:] not in self.constants:
                raise unknown_name(self.where, "constant", text[1:], self.constants)
            array = np.array(self.constants[text[1:]], order="C")
            if Type(array.dtype, array.shape) != kind:
                raise self.refuse(f"{text} is {Type(array.dtype, array.shape)}", str(kind))
        else:
            readers: dict[str, Callable[[str], Any]]
            readers = {"b": {"True": True, "False": False}.__getitem__, "f": float}
            read = readers.get(kind.dtype.kind, int)
            try:
                elements = list(map(read, filter(None, text.strip("[]").split(", "))))
                array = np.array(elements, kind.dtype).reshape(kind.shape)
            except (ValueError, KeyError, OverflowError):
                raise self.refuse("these are not the elements of the constant",
                                  f"{kind.size} of them, fit for {kind}") from None  # fmt: skip
        array.flags.writeable = False
        return array

    def attributes(self, text: str) -> dict[str, Any]:
        try:
            call = ast.parse(f"f({text})", mode="eval").body
            if not isinstance(call, ast.Call) or call.args:
                raise ValueError
            return {each.arg or "": _evaluate(each.value) for each in call.keywords}
        except (SyntaxError, ValueError):
            raise self.refuse(f"{text!r} are no attributes", "attribute=value, ...") from None


def _evaluate(node: ast.expr) -> Any:
    match node:
        case ast.Tuple():
            return tuple(map(_evaluate, node.elts))
        case ast.Constant():
            return node.value
        case ast.UnaryOp(op=ast.USub()):
            return -_evaluate(node.operand)
        case ast.Name(id="inf" | "nan" as name):
            return float(name)
        case ast.Name():
            return _dtype(node.id)
    raise ValueError


def _dtype(name: str) -> np.dtype[Any]:
    try:
        return Type.parse(f"{name}[]").dtype
    except WorkbenchError:
        raise ValueError(name) from None
