"""The scanner: metal streaks, resolution, noise as in filtered back-projection, HU scale."""

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from ssltut.synthetic.anatomy import Rng, Scanner
from ssltut.synthetic.tissues import METAL, Canvas

WATER_PER_MM = 0.019  # attenuation of water at about 70 keV, 1/mm
STREAK_VOXEL = 3.0  # mm; streaks are smooth, so they are computed on coarser slices


def add_metal(canvas: Canvas, share: np.ndarray, rng: Rng) -> None:
    """Metal, which fills ``share`` (X, Y, Z) of every voxel, and its streaks."""
    body = np.clip(canvas.hu / 1000.0 + 1.0, 0.0, None)
    streaks = metal_streaks(share, body, canvas.voxel, rng)
    canvas.hu += share * (METAL - canvas.hu) + streaks


def metal_streaks(share: np.ndarray, body: np.ndarray, voxel: float, rng: Rng) -> np.ndarray:
    """What metal adds to the HU of every voxel (X, Y, Z): beam hardening and photon starvation.

    share (X, Y, Z) is the metal's part of a voxel, body (X, Y, Z) attenuation relative to water.
    Only the error of the projections through metal is reconstructed, as reconstruction is linear.
    Mechanisms: De Man et al. 1999, IEEE Trans Nucl Sci 46:691.
    """
    from skimage.transform import iradon, radon

    factor = min(1.0, voxel / STREAK_VOXEL)
    metal, water = zoom(share, factor, order=1), zoom(body, factor, order=1)
    pixel, angles = voxel * share.shape[0] / metal.shape[0], np.arange(0.0, 180.0, 3.0)

    def project(image: np.ndarray) -> np.ndarray:
        return radon(image, angles, circle=False, preserve_range=True) * pixel

    streaks = np.zeros_like(metal)
    for z in np.flatnonzero(metal.max((0, 1)) > 0.05):
        through_metal = project(metal[..., z])
        attenuation = project(water[..., z]) * WATER_PER_MM + 0.25 * through_metal
        hardened = -0.006 * through_metal**2
        noise = rng.standard_normal(attenuation.shape)
        starved = noise * 0.004 * np.exp(np.minimum(attenuation, 12.0) / 2.0)
        error = np.where(through_metal > 0.5, hardened + starved, 0.0)
        image = iradon(error, angles, output_size=metal.shape[0], circle=False)
        streaks[..., z] = image / pixel / WATER_PER_MM * 1000.0
    full = zoom(streaks, np.array(share.shape) / streaks.shape, order=1)
    return gaussian_filter(full, 1.0).astype(np.float32)


def quantum_noise(shape: tuple[int, ...], voxel: float, scanner: Scanner, rng: Rng) -> np.ndarray:
    """Noise of standard deviation 1 with the power spectrum of Riederer 1978, PMB 23:446."""
    white = rng.standard_normal(shape, dtype=np.float32)
    fx, fy = np.fft.fftfreq(shape[0], voxel), np.fft.rfftfreq(shape[1], voxel)
    frequency = np.hypot(fx[:, None], fy[None])  # cycles per mm
    power = (frequency + 0.02) * np.exp(-np.square(frequency * scanner.fwhm_plane * 1.4))
    spectrum = np.fft.rfft2(white, axes=(0, 1)) * np.sqrt(power)[..., None].astype(np.float32)
    noise = np.fft.irfft2(spectrum, s=shape[:2], axes=(0, 1)).astype(np.float32)
    noise = gaussian_filter(noise, (0, 0, 0.35 * scanner.fwhm_z / voxel))
    return noise / max(float(noise.std()), 1e-6)


def simulate_scanner(canvas: Canvas, scanner: Scanner, rng: Rng) -> np.ndarray:
    """The image (X, Y, Z) int16 HU that this scanner makes of the true HU."""
    hu, voxel = canvas.hu, canvas.voxel
    fwhm = np.array([scanner.fwhm_plane, scanner.fwhm_plane, scanner.fwhm_z])
    blurred = gaussian_filter(hu, fwhm / 2.355 / voxel)  # a Gaussian: 2.355 sd wide at half height
    gained = np.where(blurred > 0, blurred * np.float32(scanner.hu_gain), blurred)
    noise = quantum_noise(hu.shape, voxel, scanner, rng)
    noisy = gained + np.float32(scanner.hu_shift) + np.float32(scanner.noise) * noise
    return np.clip(np.rint(noisy), -1024, 3071).astype(np.int16)
