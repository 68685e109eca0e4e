"""Checks of pages in headless Chromium."""

import html
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

# The page lies in a frame as wide as the screen, so that a script beside it can measure it.
_HARNESS = """<!DOCTYPE html>
<title>not measured</title>
<iframe style="border: 0" width="{width}" height="2000" srcdoc="{page}"></iframe>
<script>
addEventListener('load', () => {{
  const page = document.querySelector('iframe').contentDocument, root = page.documentElement
  const images = [...page.images], unseen = images.filter(image => !image.naturalWidth || image.width < 1)
  const wide = [...page.querySelectorAll('main > *, header > *, section > *, figure')]
    .filter(element => element.getBoundingClientRect().right > root.clientWidth + 1)
  const ratios = images.filter(image => image.naturalWidth)
    .map(image => (image.width / image.height) / (image.naturalWidth / image.naturalHeight))
    .filter(ratio => Math.abs(ratio - 1) > 0.05)
  const range = page.createRange()
  const squeezed = [...page.querySelectorAll('th, td')].filter(cell => {{
    range.selectNodeContents(cell)
    return cell.textContent.length < 100 && range.getBoundingClientRect().height > 7 * 22
  }})
  document.title = `overflow=${{root.scrollWidth - root.clientWidth}} unseen=${{unseen.length}} ` +
    `wide=${{wide.length}} squeezed=${{squeezed.length}} distorted=${{ratios.length}} ` +
    `images=${{images.length}}`
}})
</script>
"""


@pytest.fixture
def check_in_chromium() -> Callable[[Path, int], None]:
    """Checks that pages are whole and fit a phone and a desktop."""
    program = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if program is None:
        pytest.skip('Chromium is not installed; to check the layout of pages: apt-get install chromium')

    def check(page: Path, n_images: int) -> None:
        for width in (390, 1400):
            assert _measure(program, page, width) == {
                'overflow': 0,  # pixels that the page scrolls sideways
                'unseen': 0,  # images that are not drawn
                'wide': 0,  # parts that leave the screen
                'squeezed': 0,  # cells of a table with many lines of few characters
                'distorted': 0,  # images with a wrong aspect ratio
                'images': n_images,
                'console': 0,  # lines written to the console
            }, width

    return check


def _measure(program: str, page: Path, width: int) -> dict[str, int]:
    """Open a page on a screen of ``width`` pixels and count the faults."""
    harness = page.with_name(f'{page.stem}_{width}_harness.html')
    text = html.escape(page.read_text(encoding='utf-8'))
    harness.write_text(_HARNESS.format(width=width, page=text), encoding='utf-8')
    command = [
        program,
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--hide-scrollbars',
        '--enable-logging=stderr',
        '--virtual-time-budget=10000',
        f'--user-data-dir={page.parent / "chromium"}',
        '--window-size=1500,2100',
        '--dump-dom',
        harness.as_uri(),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = re.search(r'<title>(overflow=[^<]*)</title>', result.stdout)
    assert found, f'{result.stdout[:300]}\n{result.stderr[-2000:]}'
    numbers = {name: int(value) for name, value in (part.split('=') for part in found[1].split())}
    return numbers | {'console': result.stderr.count('CONSOLE')}
