"""The digest of a model file, which covers tensors, names, shapes and metadata.

It is the SHA-256 of the whole file, in which the 64 digits of the digest itself are replaced by zeros. So no
bit of the file can change without notice. It proves that a file is as it was written, not who wrote it.
"""

import hashlib
import re

from seg_ros.errors import ModelFileError
from seg_ros.modelfile.container import Container

DIGEST_KEY = 'seg_ros_digest'
"""Key of the digest among the texts of the container."""

BLANK = '0' * 64
"""Digits that stand for the digest while it is computed."""

_DIGEST = re.compile('[0-9a-f]{64}')


def seal(content: bytes) -> bytes:
    """Write the digest into the bytes of a file that has BLANK in its place."""
    digest = hashlib.sha256(content).hexdigest()
    return content.replace(BLANK.encode(), digest.encode(), 1)


def check_digest(container: Container) -> bool:
    """Compare a file with the digest in it.

    Returns:
        False for a file without a digest, as older versions of seg_ros wrote them.

    Raises:
        ModelFileError: The digest is not one, or does not match.
    """
    stated = container.texts.get(DIGEST_KEY)
    if stated is None:
        return False
    if not _DIGEST.fullmatch(stated) or container.header.count(stated.encode()) != 1:
        raise ModelFileError(f'{DIGEST_KEY} is not one digest of 64 hexadecimal digits: fetch the file again')
    header = container.header.replace(stated.encode(), BLANK.encode())
    digest = hashlib.sha256(len(header).to_bytes(8, 'little'))
    digest.update(header)
    digest.update(container.data)
    if digest.hexdigest() != stated:
        raise ModelFileError(
            f'its content has digest {digest.hexdigest()[:16]}..., the file states {stated[:16]}...: it was '
            'damaged or altered after it was written; fetch the file again'
        )
    return True
