"""Registries as data: what each may say, the facts that come of it, and the decoder and JSON Schema made from it."""

from .catalogue import Registries
from .decoder import Event
from .document import load_registry
from .fields import EventType, FactSpec, Field, Registry
from .page import facts_page
from .schema import event_schema

__all__ = ["Event", "EventType", "FactSpec", "Field", "Registries", "Registry", "event_schema", "facts_page", "load_registry"]
