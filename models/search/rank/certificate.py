"""The certificate of a ranking, as the bundle and the report read it."""

from __future__ import annotations

from typing import ClassVar

from core.artifact import Artifact, Record, Rounded
from models.predict.ranking import SCHEMA, Certificate


class Truth(Record):
    """Accuracy of a candidate trained from scratch."""

    architecture_id: str
    accuracy: Rounded


class CertificateRecord(Certificate, Artifact):
    """The certificate with what was trained for it."""

    SCHEMA: ClassVar[str] = SCHEMA
    FILE: ClassVar[str] = "certificate.json"

    statement: str
    evidence: str
    truth: tuple[Truth, ...]
