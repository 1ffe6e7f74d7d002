"""What all models of the deliveries API have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Refuses members that nobody knows, and shows no value of one in an error."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, allow_inf_nan=False, hide_input_in_errors=True)


Moment = Annotated[float, Field(description="Seconds since 1970.")]
