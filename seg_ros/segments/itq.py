"""Iterative quantisation (ITQ): binary codes of vectors.

Y. Gong and S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011,
section 3: centre the vectors, project them on their principal components, and rotate them so that their signs
lose least. Deliberate difference: the data is read in batches, several times, and never held as a whole. The
result is the same.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from seg_ros.arrays import Float64Array, FloatingArray, UInt8Array
from seg_ros.errors import ParameterError
from seg_ros.segments.hamming import pack


class ITQ:
    """Estimator of binary codes.

    Args:
        n_bits: Length of the codes, a multiple of 8 in 8..256, at most the length of the vectors.
        n_iterations: Number of iterations for the rotation; the paper uses 50.
        seed: Seed of the first rotation.

    Attributes:
        mean_: (D,) float64, mean of the training vectors.
        components_: (D, n_bits) float64, principal directions, the strongest first.
        rotation_: (n_bits, n_bits) float64, orthogonal.
        errors_: (n_iterations + 1,) float64, mean squared quantisation error of a vector, before the first
            and after each iteration. It never rises (section 3.1 of the paper).

    Raises:
        ParameterError: ``n_bits`` or ``n_iterations`` is out of range.
    """

    def __init__(self, n_bits: int, *, n_iterations: int = 50, seed: int = 0) -> None:
        if n_bits % 8 or not 8 <= n_bits <= 256:
            raise ParameterError(f'n_bits is {n_bits}; expected a multiple of 8 in 8..256')
        if n_iterations < 0:
            raise ParameterError(f'n_iterations is {n_iterations}; expected 0 or more')
        self.n_bits, self.n_iterations, self.seed = n_bits, n_iterations, seed
        self.mean_: Float64Array
        self.components_: Float64Array
        self.rotation_: Float64Array
        self.errors_: Float64Array

    def fit(self, vectors: FloatingArray | Iterable[FloatingArray]) -> 'ITQ':
        """Learn mean, directions and rotation.

        Args:
            vectors: (N, D) float, or an iterable of such batches that can be read several times, such as a
                list. A generator can be read only once and is refused.

        Raises:
            ParameterError: The vectors are too few, too short, not finite or of different lengths, or they
                can be read only once.
        """
        if isinstance(vectors, Iterator):
            raise ParameterError(
                'the vectors can be read only once; expected an array, a list or another re-iterable'
            )
        batches = [vectors] if isinstance(vectors, np.ndarray) else vectors
        n = 0
        total: Float64Array = np.zeros(())
        square: Float64Array = np.zeros(())
        for batch in self._read(batches):
            n += len(batch)
            total = total + batch.sum(0)
            square = square + batch.T @ batch
        if n <= 1 or np.ndim(total) == 0:
            raise ParameterError(f'{n} vectors are too few; expected 2 or more')
        self.mean_ = np.asarray(total / n)
        if len(self.mean_) < self.n_bits:
            raise ParameterError(
                f'vectors have {len(self.mean_)} components; {self.n_bits} bits need as many or more'
            )
        covariance = square / n - np.outer(self.mean_, self.mean_)
        # eigh sorts upwards. Each direction gets the sign that makes its largest entry positive.
        directions = np.linalg.eigh(covariance)[1][:, ::-1][:, : self.n_bits]
        largest = np.abs(directions).argmax(0)
        self.components_ = directions * np.sign(directions[largest, np.arange(self.n_bits)])
        self._rotate(batches, n)
        return self

    def transform(self, vectors: FloatingArray) -> Float64Array:
        """Rotated projections of (N, D) vectors, (N, n_bits) float64; their signs are the bits."""
        rotated: Float64Array = (vectors - self.mean_) @ (self.components_ @ self.rotation_)
        return rotated

    def encode(self, vectors: FloatingArray) -> UInt8Array:
        """Codes of (N, D) vectors, (N, n_bits / 8) uint8."""
        return pack(self.transform(vectors) > 0)

    def _rotate(self, batches: Iterable[FloatingArray], n: int) -> None:
        """Alternate between codes for a rotation and the best rotation for these codes (equation 2)."""
        random = np.random.default_rng(self.seed).standard_normal((self.n_bits, self.n_bits))
        self.rotation_ = np.linalg.svd(random)[0]
        errors = []
        for iteration in range(self.n_iterations + 1):
            error, product = 0.0, np.zeros((self.n_bits, self.n_bits))
            for batch in self._read(batches):
                projected = (batch - self.mean_) @ self.components_
                rotated = projected @ self.rotation_
                codes = np.where(rotated > 0, 1.0, -1.0)
                error += float(((codes - rotated) ** 2).sum())
                product += codes.T @ projected
            errors.append(error / n)
            if iteration < self.n_iterations:
                left, _, right = np.linalg.svd(product)
                self.rotation_ = (left @ right).T
        self.errors_ = np.array(errors)

    @staticmethod
    def _read(batches: Iterable[FloatingArray]) -> Iterator[Float64Array]:
        length = None
        for batch in batches:
            length = length or batch.shape[-1]
            if batch.ndim != 2 or batch.shape[1] != length or not np.isfinite(batch).all():
                raise ParameterError(
                    f'a batch of vectors has shape {batch.shape}; expected (N, {length}), finite'
                )
            yield batch.astype(np.float64)
