"""The pages: the plant, a station, an anomaly. Rendered here, kept live by small scripts."""

from __future__ import annotations

from api.pages.routes import page_routes

__all__ = ["page_routes"]
