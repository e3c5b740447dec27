"""One page of HTML that explains many images: hover the blocks, choose a class, switch the method.

The page is complete in itself. It loads nothing, and its content security policy forbids everything but the styles and
the one script it came with.
"""

from __future__ import annotations

from hvit.explain.page.assemble import Page, render_page, write_page
from hvit.explain.page.content import ExplainedClass, ExplainedImage

__all__ = ["ExplainedClass", "ExplainedImage", "Page", "render_page", "write_page"]
