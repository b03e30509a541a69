"""Groups of settings that params files and notebooks give as one mapping, checked in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from lresnet_utils.errors import ParamsError, nearest


class Settings(BaseModel):
    """A group of settings; unknown names and wrong types are refused.

    A subclass says in `group` what its group is called in a params file.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    group: ClassVar[str]

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Check plain values, such as a notebook's parameter.

        Raises
        ------
        ParamsError
            Names the first that is unknown or not accepted.

        Examples
        --------
        >>> from lresnet_utils.untrusted.options import ToolOptions
        >>> ToolOptions.from_values({"soc_version": "Ascend310P3"}).soc_version
        'Ascend310P3'
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            fix = nearest(key, cls.model_fields)
            raise ParamsError(
                f"Unknown setting {key!r} of the {cls.group}.", where=cls.group, fix=fix
            )
        fix = cls.model_fields[key].description if key else None
        what = first["msg"].removeprefix("Value error, ")
        where = f"{cls.group}.{key}".rstrip(".")
        raise ParamsError(f"Not accepted: {what}.", where=where, fix=fix)
