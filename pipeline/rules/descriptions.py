"""What the models of a rule document say of their keys: the text below each key, read from the source when somebody asks, since most commands do not."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeGuard

from pydantic import BaseModel

from . import amounts, document
from .document import Document


@lru_cache(maxsize=64)
def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The description of each field of a model: the text that stands below it."""
    body = _classes(model.__module__)[model.__name__].body
    return {
        above.target.id: inspect.cleandoc(below.value.value)
        for above, below in pairwise(body)
        if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


@lru_cache(maxsize=8)
def _classes(module: str) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in ast.parse(inspect.getsource(sys.modules[module])).body if isinstance(node, ast.ClassDef)}


def document_schema() -> dict[str, Any]:
    """The JSON Schema of a rule document, for editors: every key with its description."""
    schema = Document.model_json_schema(by_alias=True)
    models = {model.model_config.get("title") or model.__name__: model for module in (amounts, document) for model in vars(module).values() if is_model(model)}
    _describe(schema, models)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _describe(schema: Any, models: Mapping[str, type[BaseModel]]) -> None:
    """Writes the descriptions into the properties of every model that a schema holds."""
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _describe(inner, models)
    if isinstance(schema, dict) and "properties" in schema and schema.get("title") in models:
        model = models[schema["title"]]
        for field, description in descriptions(model).items():
            schema["properties"][model.model_fields[field].alias or field]["description"] = description


def is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    """Whether a type is a part of the document with keys of its own."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)
