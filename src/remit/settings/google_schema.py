"""How Google's names are written in remit.yaml. As strict as the rest (`schema.py`)."""

from typing import Annotated

from pydantic import Field

ProjectId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
ProjectNumber = Annotated[str, Field(pattern=r"^[1-9][0-9]{5,18}$")]
Bucket = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$")]
Account = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]@[a-z][a-z0-9-]{4,28}[a-z0-9]\.iam\.gserviceaccount\.com$")
]
Location = Annotated[str, Field(pattern=r"^(global|[a-z]+-[a-z]+[0-9]+)$")]
Provider = Annotated[
    str,
    Field(
        pattern=r"^//iam\.googleapis\.com/projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+$"
    ),
]
