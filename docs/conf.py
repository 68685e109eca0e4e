"""Settings of Sphinx, used by ./scripts/docs."""

import os
import re
from pathlib import Path
from xml.etree import ElementTree

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent

project = 'seg_ros'
author = 'seg_ros maintainers'
version = release = ElementTree.parse(ROOT / 'package.xml').findtext('version', '')

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']
html_theme = 'furo'
html_title = f'seg_ros {version}'
html_show_copyright = False
html_static_path = ['wide.css']
html_css_files = ['wide.css']

myst_enable_extensions = ['colon_fence']
myst_heading_anchors = 4
suppress_warnings = ['myst.header']  # an included page may begin below another title

autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
autodoc_member_order = 'bysource'
autodoc_class_signature = 'mixed'
autodoc_default_options = {'exclude-members': '__init__, __new__'}
napoleon_use_ivar = True
nitpick_ignore_regex = [('py:.*', r'.*')]
"""Cross-references in docstrings name modules that have no page here."""


def setup(app: Sphinx) -> None:
    """Read the pages that lie outside this folder, and lead links between them to the built pages."""
    app.connect('source-read', include_pages)


INCLUDE = re.compile(r'^```\{include\} (\S+)\n```$', re.MULTILINE)
LINK = re.compile(r'(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)')


def include_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the text of a page in the place of its include, with links as they must be here."""
    page = DOCS / f'{name}.md'
    if not page.exists():
        return
    found = INCLUDE.search(source[0])
    origin = (page.parent / found[1]).resolve() if found else page
    app.env.dependencies[name].add(str(origin))  # read again when that file changes
    text = source[0].replace(found[0], origin.read_text()) if found else source[0]
    parts = re.split(r'(^```.*?^```$)', text, flags=re.DOTALL | re.MULTILINE)
    parts[::2] = [LINK.sub(lambda link: relinked(link, origin, page), part) for part in parts[::2]]
    source[0] = ''.join(parts)


def relinked(link: re.Match[str], origin: Path, page: Path) -> str:
    """A link of ``origin`` as it must be in ``page``; a link to a file that has no page becomes its text."""
    mark, text, target, anchor = link[1], link[2], link[3], link[4] or ''
    if not target or target.startswith(('http', 'mailto')):
        return link[0]
    aim = (origin.parent / target).resolve()
    aim = PAGES.get(aim, aim)
    if not aim.is_relative_to(DOCS):
        return text
    return f'{mark}[{text}]({os.path.relpath(aim, page.parent)}{anchor})'


def pages_of_included_files() -> dict[Path, Path]:
    """File outside this folder -> the page that includes it."""
    pages = {}
    for page in DOCS.rglob('*.md'):
        found = INCLUDE.search(page.read_text())
        if found and '_build' not in page.parts:
            pages[(page.parent / found[1]).resolve()] = page
    return pages


PAGES = pages_of_included_files()
