"""A small set of mutation operators: one slip of the pen in a syntax tree at a time.

The usual ones (an operator for its neighbour, a comparison off by its edge, a constant off
by one, a sign or a ``not`` lost, a condition turned round, a statement left out, two
arguments exchanged), after DeMillo, Lipton and Sayward (1978).
"""

import ast
import copy
import difflib

SWAPS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.MatMult: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot,
    ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
STATEMENTS = (ast.Assign, ast.AugAssign, ast.Expr, ast.If, ast.For, ast.Return)


def mutants(source):
    """Yield a label and the source of every mutant; a label is what the mutant has new."""
    tree = ast.parse(source)
    before = ast.unparse(tree).splitlines()
    for made in trees(tree):
        text = ast.unparse(ast.fix_missing_locations(made))
        if text.splitlines() == before:  # Two equal arguments, exchanged.
            continue
        changed = list(difflib.ndiff(before, text.splitlines()))
        new = [line[2:].strip() for line in changed if line[0] == "+"]
        gone = [line[2:].strip() for line in changed if line[0] == "-"]
        yield " / ".join(new) or f"(without) {' / '.join(gone)}", text


def trees(tree):
    for place, node in enumerate(ast.walk(tree)):
        for change in changes(node):
            made = copy.deepcopy(tree)
            target = next(each for i, each in enumerate(ast.walk(made)) if i == place)
            result = change(target)
            yield made if result is None else Replace(target, result).visit(made)


class Replace(ast.NodeTransformer):
    def __init__(self, old, new):
        self.old, self.new = old, new

    def visit(self, node):
        return self.new if node is self.old else self.generic_visit(node)


def changes(node):
    """Yield the functions that each make one change in a node of this kind."""
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPS:
        yield lambda n: setattr(n, "op", SWAPS[type(n.op)]())
    if isinstance(node, ast.Compare):
        for j, operator in enumerate(node.ops):
            if type(operator) in SWAPS:
                yield lambda n, j=j: n.ops.__setitem__(j, SWAPS[type(n.ops[j])]())
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield lambda n: setattr(n, "value", n.value + 1)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield lambda n: setattr(n, "value", not n.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield lambda n: n.operand
    if isinstance(node, ast.If | ast.IfExp):
        yield lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    if isinstance(node, ast.FunctionDef):
        for j, each in enumerate(node.body):
            docstring = isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
            if isinstance(each, STATEMENTS) and not docstring:
                yield lambda n, j=j: n.body.__setitem__(j, ast.Pass())
    if isinstance(node, ast.Call) and len(node.args) == 2:
        yield lambda n: n.args.reverse()
