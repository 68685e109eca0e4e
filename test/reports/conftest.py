"""Checks of pages in headless Chromium."""

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_MEASURE = """page => {
  const root = page.documentElement
  const images = [...page.images], unseen = images.filter(image => !image.naturalWidth || image.width < 1)
  const wide = [...page.querySelectorAll('main > *, header > *, section > *, figure')]
    .filter(element => element.getBoundingClientRect().right > root.clientWidth + 1)
  const ratios = images.filter(image => image.naturalWidth)
    .map(image => (image.width / image.height) / (image.naturalWidth / image.naturalHeight))
    .filter(ratio => Math.abs(ratio - 1) > 0.05)
  const range = page.createRange()
  const squeezed = [...page.querySelectorAll('th, td')].filter(cell => {
    range.selectNodeContents(cell)
    return cell.textContent.length < 100 && range.getBoundingClientRect().height > 7 * 22
  })
  return `overflow=${root.scrollWidth - root.clientWidth} unseen=${unseen.length} ` +
    `wide=${wide.length} squeezed=${squeezed.length} distorted=${ratios.length} ` +
    `images=${images.length}`
}"""

# The page lies in a frame as wide as the screen, so that a script beside it can measure it.
_HARNESS = """<!DOCTYPE html>
<title>not measured</title>
<iframe style="border: 0" width="{width}" height="2000" srcdoc="{page}"></iframe>
<script>
addEventListener('load', () => {{
  document.title = ({measure})(document.querySelector('iframe').contentDocument)
}})
</script>
"""
_OPTIONS = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--hide-scrollbars',
]


@pytest.fixture
def check_in_chromium() -> Callable[[Path, int], None]:
    """Checks that pages are whole and fit a phone and a desktop."""
    program = _chromium()

    def check(page: Path, n_images: int) -> None:
        for width in (390, 1400):
            assert _measure(program, page, width) == faultless(n_images) | {'console': 0}, width

    return check


@pytest.fixture
def chromium_tab(tmp_path: Path) -> Iterator['ChromiumTab']:
    """A tab of Chromium that a test opens files in and presses keys in."""
    tab = ChromiumTab(_chromium(), tmp_path / 'chromium')
    yield tab
    tab.close()


def faultless(n_images: int) -> dict[str, int]:
    """Measurements of a page without faults."""
    return {
        'overflow': 0,  # pixels that the page scrolls sideways
        'unseen': 0,  # images that are not drawn
        'wide': 0,  # parts that leave the screen
        'squeezed': 0,  # cells of a table with many lines of few characters
        'distorted': 0,  # images with a wrong aspect ratio
        'images': n_images,
    }


class ChromiumTab:
    """A tab, driven by Chromium's DevTools protocol over two pipes.

    Attributes:
        faults: Errors of scripts, warnings and errors on the console.
        requests: Addresses that pages asked for, without data URIs.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self.faults: list[str] = []
        self.requests: list[str] = []
        to_read, self._to_browser = os.pipe()
        self._from_browser, to_write = os.pipe()
        # Chromium reads commands from file 3 and writes answers to file 4.
        script = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        command = [program, *_OPTIONS, '--remote-debugging-pipe', f'--user-data-dir={profile}']
        self._process = subprocess.Popen(
            ['bash', '-c', script, 'bash', *command], pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer, self._number, self._session = b'', 0, ''
        target = self._send('Target.createTarget', url='about:blank')['targetId']
        self._session = self._send('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self._send(f'{domain}.enable')

    def open(self, path: Path, width: int, *, is_dark: bool = False) -> None:
        """Open a file on a screen of this width."""
        self._send(
            'Emulation.setDeviceMetricsOverride', width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if is_dark else 'light'}
        self._send('Emulation.setEmulatedMedia', features=[scheme])
        self._send('Page.navigate', url=path.as_uri())
        while self._receive().get('method') != 'Page.loadEventFired':
            pass

    def press(self, key: str, *keys: str) -> None:
        """Press and release keys, one after another."""
        for name in (key, *keys):
            text = {'Enter': '\r'}.get(name, name if len(name) == 1 else '')
            down = (
                {'type': 'keyDown' if text else 'rawKeyDown', 'text': text}
                if text
                else {'type': 'rawKeyDown'}
            )
            codes = {'Enter': 13, 'Escape': 27, 'End': 35, 'Home': 36, 'ArrowLeft': 37, 'ArrowRight': 39}
            code = codes.get(name, ord(name[0].upper()))
            self._send('Input.dispatchKeyEvent', **down, key=name, windowsVirtualKeyCode=code)
            self._send('Input.dispatchKeyEvent', type='keyUp', key=name, windowsVirtualKeyCode=code)

    def value(self, expression: str) -> Any:
        """Value of an expression in the page."""
        found = self._send('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in found, found
        return found['result'].get('value')

    def measurements(self) -> dict[str, int]:
        """Faults of the layout; see :func:`faultless`."""
        return _numbers(self.value(f'({_MEASURE})(document)'))

    def close(self) -> None:
        """End Chromium."""
        self._session = ''
        self._send('Browser.close')
        self._process.wait(30)
        os.close(self._to_browser)
        os.close(self._from_browser)

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {'id': self._number, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        content = json.dumps(message).encode() + b'\0'
        while content:
            content = content[os.write(self._to_browser, content) :]
        while (answer := self._receive()).get('id') != self._number:
            pass
        assert 'error' not in answer, answer
        result: dict[str, Any] = answer['result']
        return result

    def _receive(self) -> dict[str, Any]:
        while b'\0' not in self._buffer:
            part = os.read(self._from_browser, 1 << 16)
            assert part, 'Chromium ended'
            self._buffer += part
        content, _, self._buffer = self._buffer.partition(b'\0')
        message: dict[str, Any] = json.loads(content)
        self._note(message.get('method', ''), message.get('params', {}))
        return message

    def _note(self, method: str, parameters: dict[str, Any]) -> None:
        if method == 'Network.requestWillBeSent' and not parameters['request']['url'].startswith('data:'):
            self.requests.append(parameters['request']['url'])
        if method in ('Runtime.exceptionThrown', 'Runtime.consoleAPICalled', 'Log.entryAdded'):
            self.faults.append(str(parameters)[:500])


def _chromium() -> str:
    program = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if program is None:
        pytest.skip('Chromium is not installed; to check the layout of pages: apt-get install chromium')
    return program


def _measure(program: str, page: Path, width: int) -> dict[str, int]:
    """Open a page on a screen of ``width`` pixels and count the faults."""
    harness = page.with_name(f'{page.stem}_{width}_harness.html')
    text = html.escape(page.read_text(encoding='utf-8'))
    harness.write_text(_HARNESS.format(width=width, page=text, measure=_MEASURE), encoding='utf-8')
    command = [
        program,
        *_OPTIONS,
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
    return _numbers(found[1]) | {'console': result.stderr.count('CONSOLE')}


def _numbers(text: str) -> dict[str, int]:
    return {name: int(value) for name, value in (part.split('=') for part in text.split())}
