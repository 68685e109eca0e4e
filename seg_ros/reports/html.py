"""What reports in HTML have in common: one file that needs no other, its style, the pictures inside it."""

import base64
import html
from collections.abc import Mapping
from pathlib import Path

import cv2

from seg_ros.arrays import UInt8Array
from seg_ros.classes import ClassSet
from seg_ros.errors import ImageError

_JPEG = (
    *(cv2.IMWRITE_JPEG_QUALITY, 88),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),  # lines keep their colour
)
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1d2024; background: #f6f6f4; max-width: 1180px;
  margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 1.6em }
table { border-collapse: collapse } th, td { text-align: left; padding: 2px 14px 2px 0; vertical-align: top }
section { background: #fff; border: 1px solid #dddbd6; border-radius: 6px; padding: 0 16px 12px;
  margin: 14px 0 }
figure { margin: 0 } img { max-width: 100%; display: block; border-radius: 3px }
figcaption { color: #777; font-size: 13px }
.swatch { display: inline-block; margin-right: 14px }
.swatch i { display: inline-block; width: 12px; height: 12px; margin-right: 5px; border: 1px solid #999 }
"""


def write_html(
    path: Path, title: str, facts: Mapping[str, str], parts: Mapping[str, str], style: str = ''
) -> None:
    """Write a page.

    Args:
        path: of the file.
        title: of the page.
        facts: a row each, below the title.
        parts: HTML by its heading; empty ones are left out.
        style: CSS, beside what all pages have.
    """
    rows = ''.join(f'<tr><th>{text(k)}</th><td>{text(v)}</td></tr>' for k, v in facts.items())
    body = ''.join(f'<h2>{text(head)}</h2>\n{part}\n' for head, part in parts.items() if part)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>
<style>{_STYLE}{style}</style></head><body>
<h1>{text(title)}</h1>
<table class="about">{rows}</table>
{body}</body></html>
""",
        encoding='utf-8',
    )


def figure(picture: UInt8Array, caption: str) -> str:
    """A picture, (H, W, 3) uint8 RGB, with a line of text below it."""
    return (
        f'<figure><img src="{picture_uri(picture)}" alt="{text(caption)}">'
        f'<figcaption>{text(caption)}</figcaption></figure>'
    )


def legend(classes: ClassSet) -> str:
    """The colours of classes, and their names."""
    return ''.join(swatch(row.colour, row.name) for row in classes.classes)


def swatch(colour: tuple[int, int, int], meaning: str) -> str:
    """A colour (r, g, b), and what it means."""
    return f'<span class="swatch"><i style="background: rgb{colour}"></i>{text(meaning)}</span>'


def picture_uri(picture: UInt8Array) -> str:
    """A picture, (H, W, 3) uint8 RGB, as a JPEG inside the page."""
    _, content = cv2.imencode('.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), _JPEG)
    return data_uri('image/jpeg', content.tobytes())


def data_uri(kind: str, content: bytes) -> str:
    """A file of a MIME type inside the page."""
    return f'data:{kind};base64,{base64.b64encode(content).decode()}'


def text(value: str) -> str:
    """Any text as HTML."""
    return html.escape(value)


def write_png(path: Path, picture: UInt8Array) -> None:
    """Write a picture, (H, W, 3) uint8 RGB, beside the page.

    Raises:
        ImageError: it cannot be written.
    """
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise ImageError(f'{path} cannot be written as an image')
