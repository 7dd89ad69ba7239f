"""Draws mutants by seed: one wrong place in a statement of a function, as a line and what it becomes."""

import ast
import random
from collections.abc import Iterator
from pathlib import Path

OTHER_WAY = {
    ast.Lt: ">=", ast.LtE: ">", ast.Gt: "<=", ast.GtE: "<", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.FloorDiv: "*",
}  # fmt: skip
DROPPED = (ast.AugAssign, ast.Raise, ast.Continue)
SYMMETRIC = ("isinstance", "max", "min")


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The functions of a file by qualified name; inner ones come by themselves, too."""

    def below(node: ast.AST, place: str) -> Iterator[tuple[str, ast.FunctionDef]]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.ClassDef)
            own = f"{place}.{child.name}".lstrip(".") if named else place
            if isinstance(child, ast.FunctionDef):
                yield own, child
            yield from below(child, own)

    return below(ast.parse(path.read_text()), "")


def draw(root: Path, files: list[str], *, count: int, seed: int) -> list[dict[str, str]]:
    """So many mutants of different statements, each statement as likely as any other."""
    found: dict[tuple[str, int], list[dict[str, str]]] = {}
    for file in files:
        lines = (root / file).read_bytes().splitlines()
        for name, function in functions(root / file):
            own = [line.strip() for line in lines[function.lineno - 1 : function.end_lineno]]
            for statement, node, text in _edits(function):
                line = lines[node.lineno - 1]
                if node.lineno == node.end_lineno and own.count(line.strip()) == 1:
                    new = line[: node.col_offset] + text.encode() + line[node.end_col_offset :]
                    mutant = {"old": line.decode().strip(), "new": new.decode().strip()}
                    found.setdefault((file, statement.lineno), []).append(
                        {"file": file, "function": name, **mutant}
                    )
    chance = random.Random(seed)
    return [chance.choice(found[place]) for place in chance.sample(sorted(found), count)]


def _edits(function: ast.FunctionDef) -> Iterator[tuple[ast.stmt, ast.AST, str]]:
    """(statement, node, text in its place) of every mutation; inner functions have their own."""
    waiting: list[tuple[ast.stmt | None, ast.AST]] = [(None, child) for child in function.body]
    while waiting:
        statement, node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.JoinedStr):
            continue  # Python 3.11 does not say where the parts of an f-string are
        if isinstance(node, ast.stmt):
            statement = node
        if statement is not None:
            yield from ((statement, *edit) for edit in _edits_of(node))
        waiting += [(statement, child) for child in ast.iter_child_nodes(node)]


def _edits_of(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    match node:
        case ast.Expr(ast.Call()) | ast.Assign([ast.Subscript()]):
            yield node, "pass"
        case ast.stmt() if isinstance(node, DROPPED):
            yield node, "pass"
        case ast.Return(ast.expr()):
            yield node, "return None"
        case ast.If(test) | ast.While(test) | ast.IfExp(test):
            yield test, f"not ({ast.unparse(test)})"
        case ast.Compare(left, [operator], [right]):
            yield node, f"{ast.unparse(left)} {OTHER_WAY[type(operator)]} {ast.unparse(right)}"
        case ast.BinOp(left, operator, right) if type(operator) in OTHER_WAY:
            yield node, f"({ast.unparse(left)}) {OTHER_WAY[type(operator)]} ({ast.unparse(right)})"
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield node, ast.unparse(operand)
        case ast.Constant(bool() as value):
            yield node, str(not value)
        case ast.Constant(int() | float() as value):
            yield node, str(value + 1)
        case ast.Call(function, [first, second, *rest]) if ast.unparse(function) not in SYMMETRIC:
            yield node, ast.unparse(ast.Call(function, [second, first, *rest], node.keywords))
