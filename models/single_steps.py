"""The neighbours of a candidate: what one step of one variable leads to."""

from __future__ import annotations

from models.space_groups import INACTIVE, Group

Row = tuple[int, ...]


def single_steps(group: Group) -> tuple[tuple[int, ...], ...]:
    """Per candidate of a group the candidates that are one step away.

    A number moves to the next one of its options, a word (an operator, an activation) to any
    other. With a new operator come its own settings: those of the same name keep their value where
    they can, others take their first option.
    """
    numbers = {row: number for number, row in enumerate(group.candidates)}
    found = []
    for row in group.candidates:
        near = [there for at in range(len(row)) for there in _steps(group, row, at)]
        found.append(tuple(sorted({numbers[there] for there in near})))
    return tuple(found)


def _steps(group: Group, row: Row, at: int) -> list[Row]:
    """The rows to which a step of variable `at` leads."""
    options, here = group.variables[at].options, row[at]
    if here == INACTIVE:
        return []
    if any(isinstance(option, str) for option in options):
        moved = [option for option in range(len(options)) if option != here]
    else:
        moved = [option for option in (here - 1, here + 1) if 0 <= option < len(options)]
    known = set(group.candidates)
    found = []
    for option in moved:
        there = (*row[:at], option, *row[at + 1 :])
        found.append(there if there in known else _settled(group, row, at, option))
    return found


def _settled(group: Group, row: Row, at: int, option: int) -> Row:
    """The row whose variable `at` is another operator, with that one's own settings."""
    operator = str(group.variables[at].options[option])
    kept = {
        variable.name.partition(".")[2]: variable.options[chosen]
        for variable, chosen in zip(group.variables, row, strict=True)
        if chosen != INACTIVE
    }
    found = []
    for number, variable in enumerate(group.variables):
        owner, _, setting = variable.name.partition(".")
        if number == at:
            found.append(option)
        elif owner != operator or not setting:
            found.append(INACTIVE)
        else:
            value = kept.get(setting)
            found.append(variable.options.index(value) if value in variable.options else 0)
    return tuple(found)
