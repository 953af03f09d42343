"""Conditions in the language of Milvus."""

from __future__ import annotations

import json
from typing import Any

from clipsearch.plain import folded
from clipsearch.store.catalog import Catalog
from clipsearch.store.conditions import All, Condition, Either, Is, OtherFact
from clipsearch.store.milvus.entities import fitting


def expression(condition: Condition, catalog: Catalog) -> str:
    """A condition in terms of EngineFacts, in the language of Milvus."""
    if isinstance(condition, All | Either):
        joint = " and " if isinstance(condition, All) else " or "
        return "(" + joint.join(expression(part, catalog) for part in condition.parts) + ")"
    assert isinstance(condition, Is)
    fact, relation, value = condition.fact, condition.relation, condition.value
    if relation == "contains":
        # Older engines know no such test. There are few cameras, and the catalog knows them.
        names = [name for name in catalog.cameras() if value in folded(name)]
        return f"{fact} in {_literal([fitting(name) for name in names])}"
    return f"{fact} {relation} {_literal(value)}"


def _literal(value: Any) -> str:
    if isinstance(value, OtherFact):
        return value.name
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(min(value, 1 << 62))
    if isinstance(value, float):
        return repr(min(value, 1e300))
    return json.dumps(value, ensure_ascii=False)
