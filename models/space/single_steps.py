"""Neighbours of a candidate: candidates one step of one variable away."""

from __future__ import annotations

from models.space.groups import INACTIVE, Group

Row = tuple[int, ...]


def single_steps(group: Group) -> tuple[tuple[int, ...], ...]:
    """Neighbours of every candidate of a group.

    A numeric variable moves to an adjacent option, a categorical one (operator, activation) to any
    other. A new operator keeps the values of settings with the same name where possible; its
    other settings take their first option.
    """
    numbers = {row: number for number, row in enumerate(group.candidates)}
    found = []
    for row in group.candidates:
        near = [there for at in range(len(row)) for there in _steps(group, row, at)]
        found.append(tuple(sorted({numbers[there] for there in near})))
    return tuple(found)


def _steps(group: Group, row: Row, at: int) -> list[Row]:
    """The rows reached by a step of variable `at`."""
    options, current = group.variables[at].options, row[at]
    if current == INACTIVE:
        return []
    if any(isinstance(option, str) for option in options):
        moved = [option for option in range(len(options)) if option != current]
    else:
        moved = [option for option in (current - 1, current + 1) if 0 <= option < len(options)]
    known = set(group.candidates)
    found = []
    for option in moved:
        there = (*row[:at], option, *row[at + 1 :])
        found.append(there if there in known else _with_operator(group, row, at, option))
    return found


def _with_operator(group: Group, row: Row, at: int, option: int) -> Row:
    """The row after changing variable `at` to another operator, with valid settings."""
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
