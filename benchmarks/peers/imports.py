"""Imports what a tick needs, and does nothing with it."""

import jinja2  # noqa: F401
import pydantic  # noqa: F401
import ruamel.yaml  # noqa: F401
import sqlalchemy  # noqa: F401
import typer  # noqa: F401
