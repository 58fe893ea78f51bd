"""What every part of remit.yaml has in common: strictness."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Strict: unknown keys and wrong types are problems, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
