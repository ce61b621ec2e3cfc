"""Which columns of a table of images hold what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.errors import UserError
from core.settings import Params
from data.image_walk import join_first

KNOWN: Mapping[str, tuple[str, ...]] = {
    "image": (
        "file_name", "filename", "file", "filepath", "file_path", "path", "image_path", "image",
        "img", "image_file",
    ),
    "label": ("label", "labels", "class", "class_name", "category", "target", "cls"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "group_id"),
}  # fmt: skip
"""Names by which a column is found if the settings have none, case-insensitive."""


class TableParams(Params):
    """A table of images: the sources list, parquet and webdataset."""

    file: str | None = None
    """The list's file in `data.path` (list); null: the only one there, or one per split."""
    image: str | None = None
    """Column of the images: paths (list) or their content (parquet); null: file_name, path,
    image or a similar name."""
    label: str | None = None
    """Column of the classes; null: label, class, category or a similar name."""
    split: str | None = None
    """Column of the splits (list, parquet): train, val, test; null: split, subset or partition, if
    there is one."""
    group: str | None = None
    """Column of the groups, whose images stay in one split; null: group or group_id, if there is
    one."""

    def find(self, role: str, columns: Sequence[str], where: str, needed: bool) -> str | None:
        """The column with this role, a key of `KNOWN`.

        Raises:
            UserError: it does not exist though it is set or needed, or there are several.
        """
        key, wanted = f"data.table.{role}", getattr(self, role)
        has = f"{where} has the columns {join_first(columns) or '(none)'}"
        if wanted is not None:
            if wanted not in columns:
                raise UserError(f"{has}, but {key} is '{wanted}'. Set it to one of them.")
            return str(wanted)
        found = [column for column in columns if column.strip().lower() in KNOWN[role]]
        if len(found) > 1:
            raise UserError(f"{has}: {join_first(found)} may all hold the {role}. Set {key}.")
        if not found and needed:
            raise UserError(
                f"{has}; none of them is known to hold the {role}. Set {key} to one of them, or "
                f"name the column '{KNOWN[role][0]}'."
            )
        return found[0] if found else None
