"""What photographs suffer, each operation against its formula written out plainly in floating point."""

import cv2
import numpy as np
import pytest

from anchorface.degradation.fields import words
from anchorface.degradation.operations import occlusion, old_print, optics, screen, sensor, surveillance, wear
from anchorface.records import rng
from tests.degradation.scene import picture

IMAGE = picture(128, 120)
GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)


def linear(image: np.ndarray) -> np.ndarray:
    v = image / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-12) ** (1 / 2.4) - 0.055)


def close(result: np.ndarray, wanted: np.ndarray) -> None:
    assert result.dtype == np.uint8
    error = np.abs(result - wanted)
    assert error.mean() <= 0.5 and np.percentile(error, 99.9) <= 3, (error.mean(), np.percentile(error, 99.9))


def places(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y and x of each pixel from the middle, px."""
    y, x = np.mgrid[:image.shape[0], :image.shape[1]].astype(float)
    return y - (image.shape[0] - 1) / 2, x - (image.shape[1] - 1) / 2


def dense(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The weighted sum, weight by weight, over the picture mirrored about its outermost pixels."""
    high, wide = (side // 2 for side in kernel.shape)
    padded = np.pad(image.astype(float), ((high, high), (wide, wide), (0, 0)), mode="reflect")
    height, width = image.shape[:2]
    return sum(weight * padded[y:y + height, x:x + width] for (y, x), weight in np.ndenumerate(kernel) if weight)


@pytest.mark.parametrize("radius", [0.8, 2.3, 5.0, 9.5])
def test_defocus_is_the_mean_over_a_disc(radius):
    side = 2 * int(radius + 1) + 1
    fine = (np.arange(side * 32) + 0.5) / 32 - side / 2
    inside = np.hypot(fine[None], fine[:, None]) <= radius
    kernel = inside.reshape(side, 32, side, 32).mean((1, 3))  # the share of each pixel that the disc covers
    image = cv2.GaussianBlur(IMAGE, (5, 5), 1.0)
    close(optics.defocus(image, radius=radius), dense(image, kernel / kernel.sum()))


@pytest.mark.parametrize(("length", "angle"), [(3.0, 0), (7.0, 90), (11.3, 33), (20.0, 135)])
def test_motion_is_the_mean_along_the_path(length, angle):
    y, x = np.mgrid[:IMAGE.shape[0], :IMAGE.shape[1]].astype(np.float32)
    steps = (np.arange(400) + 0.5) / 400 - 0.5
    turn = np.radians(angle)
    wanted = np.mean([cv2.remap(IMAGE.astype(np.float32), x + np.float32(step * length * np.cos(turn)),
                                y + np.float32(step * length * np.sin(turn)), cv2.INTER_LINEAR,
                                borderMode=cv2.BORDER_REFLECT_101) for step in steps], axis=0)
    close(optics.motion(IMAGE, length=length, angle=angle), wanted)


def test_a_lens_darkens_the_corner_by_the_fourth_power_of_the_cosine():
    y, x = places(IMAGE)
    tangent = np.hypot(y, x) / np.hypot(y[0, 0], x[0, 0]) * np.tan(np.radians(33))
    close(optics.vignette(IMAGE, field_angle=33),
          encoded(linear(IMAGE) * (np.cos(np.arctan(tangent)) ** 4)[..., None]))


def test_fringes_magnify_red_and_blue_by_so_many_pixels_at_the_corner():
    image = cv2.GaussianBlur(IMAGE, (9, 9), 2.0)
    result = optics.fringe(image, red=2.5, blue=-1.5)
    assert np.array_equal(result[..., 1], image[..., 1])
    y, x = places(image)
    corner = np.hypot(y[0, 0], x[0, 0])
    for channel, moved in ((0, 2.5), (2, -1.5)):
        scale = corner / (corner + moved)
        wanted = cv2.remap(image[..., channel].astype(np.float32), (x * scale + 59.5).astype(np.float32),
                           (y * scale + 63.5).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        close(result[..., channel], wanted)
    # A point near the corner lands where the number says.
    spot = np.zeros((101, 101, 3), np.uint8)
    spot[5:8, 5:8] = 255
    red = optics.fringe(spot, red=3.0, blue=0.0)[..., 0].astype(float)
    centre = (red.sum(1) @ np.arange(101)) / red.sum()
    assert abs((6 - centre) * np.sqrt(2) - 3.0 * 44 / 50) < 0.1


@pytest.mark.parametrize("iso", [400, 3200, 25600])
def test_noise_of_a_sensor_grows_with_light_and_iso_as_its_electrons_say(iso):
    for level in (30, 90, 180):
        flat = np.full((200, 200, 3), level, np.uint8)
        light = linear(sensor.sensor_noise(flat, iso=iso, seed=level, full_well=12000, read_noise=3.0))
        electrons, white = linear(np.array(level)) * 12000 * 100 / iso, 12000 * 100 / iso
        wanted = np.sqrt(electrons + 9) / white
        if wanted < 0.25 * light.mean() and light.mean() + 3 * wanted < 1:  # nothing clipped, several levels wide
            step = (linear(np.array(level + 1.0)) - linear(np.array(level))) ** 2 / 12  # of rounding to levels
            assert abs(light.std() / np.sqrt(wanted**2 + step) - 1) < 0.02
            assert abs(light.mean() / linear(np.array(level)) - 1) < 0.01
        channels = light.reshape(-1, 3)
        assert np.abs(np.corrcoef(channels.T)[np.triu_indices(3, 1)]).max() < 0.03


def test_noise_of_a_sensor_is_the_words_through_the_model():
    from scipy.special import ndtri
    normal = ndtri((words(7, IMAGE.size).astype(float) + 0.5) / 65536).reshape(IMAGE.shape)
    white = 8000 * 100 / 1600
    light = linear(IMAGE)
    close(sensor.sensor_noise(IMAGE, iso=1600, seed=7, full_well=8000, read_noise=4.0),
          encoded(light + normal * np.sqrt(light * white + 16) / white))


def test_flicker_bands_have_their_period_amplitude_and_phase():
    flat = np.full((240, 7, 3), 120, np.uint8)
    rows = linear(sensor.banding(flat, period=40, amplitude=0.3, phase=90))[:, 3, 1] / linear(np.array(120))
    wave = np.fft.rfft(rows - 1) / 120
    assert np.argmax(np.abs(wave)) == 240 / 40
    assert abs(np.abs(wave[6]) - 0.3) < 0.01 and abs(np.degrees(np.angle(wave[6])) - 90) < 2
    y = np.arange(128)[:, None, None]
    close(sensor.banding(IMAGE, period=31.5, amplitude=0.4, phase=-20),
          encoded(linear(IMAGE) * (1 + 0.4 * np.cos(2 * np.pi * y / 31.5 - np.radians(20)))))


@pytest.mark.parametrize("stops", [-3.0, -1.0, 0.0, 1.0, 2.5])
def test_a_stop_doubles_the_light_until_highlights_clip(stops):
    result = sensor.exposure(GREYS, stops=stops)
    close(result, encoded(linear(GREYS) * 2**stops))
    if stops == 1:
        below = linear(GREYS) < 0.45
        assert np.abs(linear(result)[below] - 2 * linear(GREYS)[below]).max() < 0.005
        assert (result[linear(GREYS) > 0.5] == 255).all()
    assert stops or np.array_equal(result, GREYS)


def test_white_balance_is_neutral_at_its_reference_and_orange_below():
    assert np.array_equal(sensor.white_balance(IMAGE, temperature=sensor.NEUTRAL), IMAGE)
    grey = np.full((1, 1, 3), 100, np.uint8)
    for temperature in (1667, 2500, 4000, 5500):
        red, green, blue = sensor.white_balance(grey, temperature=temperature)[0, 0].astype(int)
        assert red > green > blue
    red, _, blue = sensor.white_balance(grey, temperature=10000)[0, 0].astype(int)
    assert blue > red
    luminance = linear(sensor.white_balance(grey, temperature=4500, tint=0.3))[0, 0] @ sensor.LUMINANCE
    assert abs(luminance / linear(np.array(100)) - 1) < 0.02
    assert sensor.white_balance(grey, temperature=6504, tint=0.5)[0, 0, 1] < 100


@pytest.mark.parametrize(("temperature", "x", "y"), [(2856, 0.4475, 0.4075), (4000, 0.3805, 0.3767),
                                                     (6504, 0.3135, 0.3236), (10000, 0.2807, 0.2884)])
def test_light_of_a_temperature_lies_on_the_planckian_locus(temperature, x, y):
    # Chromaticities of black bodies, from tables of the CIE 1931 observer.
    xyz = np.linalg.inv(sensor._FROM_XYZ) @ (sensor.light_of(temperature) * sensor._black_body(sensor.NEUTRAL))
    assert abs(xyz[0] / xyz.sum() - x) < 0.002 and abs(xyz[1] / xyz.sum() - y) < 0.002


def test_fading_scales_densities_and_leaves_white():
    density = np.minimum(-np.log10(np.maximum(linear(IMAGE), 1e-9)), 2.2)
    close(old_print.fade(IMAGE, cyan=0.5, magenta=0.2, yellow=0.1),
          encoded(10 ** (-density * (1 - np.array([0.5, 0.2, 0.1])))))
    assert np.array_equal(old_print.fade(IMAGE, cyan=0, magenta=0, yellow=0), IMAGE)
    white = np.full((2, 2, 3), 255, np.uint8)
    assert np.array_equal(old_print.fade(white, cyan=1, magenta=0.4, yellow=0.2), white)


def test_yellowing_takes_its_density_from_blue_light():
    close(old_print.yellow(IMAGE, density=0.4), encoded(linear(IMAGE) * 10 ** (-0.4 * old_print.STAIN)))
    white = old_print.yellow(np.full((1, 1, 3), 255, np.uint8), density=0.4)
    assert abs(-np.log10(linear(white)[0, 0, 2]) - 0.4) < 0.01


def knots(seed: int, height: int, width: int, grain: float) -> np.ndarray:
    """The smooth field that grain, fibres and stains are made of."""
    from scipy.special import ndtri
    shape = (int(np.ceil(height / grain)) + 1, int(np.ceil(width / grain)) + 1)
    values = ndtri((words(seed, shape[0] * shape[1]).astype(float) + 0.5) / 65536).reshape(shape)
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC)


def test_film_grain_is_strongest_at_mid_grey_and_as_coarse_as_stated():
    v = IMAGE / 255
    field = knots(3, 128, 120, 2.5)[..., None]
    close(old_print.film_grain(IMAGE, strength=12, grain=2.5, seed=3), IMAGE + 12 * 2 * np.sqrt(v * (1 - v)) * field)
    flat = [np.full((200, 200, 3), level, np.uint8) for level in (3, 128, 252)]
    spread = [old_print.film_grain(one, strength=12, grain=1, seed=3).astype(float).std() for one in flat]
    assert abs(spread[1] - 12) < 0.3 and spread[0] < 4 and spread[2] < 4
    result = old_print.film_grain(flat[1], strength=12, grain=1, seed=3)
    assert np.array_equal(result[..., 0], result[..., 2])


def test_paper_scales_the_light_by_its_texture():
    field = knots(5, 128, 120, 3.0)[..., None]
    close(old_print.paper(IMAGE, strength=0.1, grain=3, kind="fibre", seed=5),
          encoded(linear(IMAGE) * np.maximum(1 + 0.1 * field, 0)))
    y, x = places(IMAGE)
    turns = np.radians(np.array([7, 67, 127]))
    comb = np.mean([np.cos(2 * np.pi * (x * np.cos(turn) + y * np.sin(turn)) / (8 * np.sqrt(0.75))) for turn in turns],
                   axis=0)[..., None]
    close(old_print.paper(IMAGE, strength=0.2, grain=8, kind="silk", seed=7), encoded(linear(IMAGE) * (1 + 0.2 * comb)))


def test_stains_darken_where_the_field_is_high():
    field = np.maximum(knots(9, 128, 120, 30.0) - 0.5, 0)[..., None]
    close(old_print.stains(IMAGE, density=0.4, grain=30, seed=9),
          encoded(linear(IMAGE) * 10 ** (-0.4 * old_print.STAIN * 2 * field)))


def test_halftone_has_its_lines_and_keeps_the_tone():
    for level in (40, 128, 215):
        flat = np.full((300, 300, 3), level, np.uint8)
        result = old_print.halftone(flat, lines=47, angle=17, hardness=20)
        assert abs(result.mean() - level) < 3
        spectrum = np.abs(np.fft.fft2(result[..., 0] - result[..., 0].mean()))
        down, across = (min(one, 300 - one) for one in np.unravel_index(np.argmax(spectrum), spectrum.shape))
        assert abs(np.hypot(down, across) - 47) < 1
        assert min(abs(np.degrees(np.arctan2(down, across)) - angle) for angle in (17, 73)) < 1.5
    y, x = places(IMAGE)
    wanted = []
    wave = np.cos(np.linspace(0, 2 * np.pi, 2000, endpoint=False))
    every = np.sort((wave[:, None] + wave[None]).ravel())
    for channel, turn in enumerate(np.radians([20, 50, 80])):
        a, b = (2 * np.pi * 16 / 128 * along for along in (x * np.cos(turn) + y * np.sin(turn),
                                                          y * np.cos(turn) - x * np.sin(turn)))
        threshold = np.searchsorted(every, np.cos(a) + np.cos(b)) / every.size
        wanted.append(np.clip(127.5 + 1.5 * (IMAGE[..., channel] - 255 * threshold), 0, 255))
    close(old_print.halftone(IMAGE, lines=16, angle=20, hardness=1.5), np.stack(wanted, axis=2))


def test_moire_beats_as_pitch_and_pixels_differ():
    flat = np.full((200, 200, 3), 128, np.uint8)
    light = linear(screen.moire(flat, pitch=40 / 41, angle=0, depth=0.2, bend=0)).mean(0)
    for channel in range(3):
        wave = np.fft.rfft(light[:, channel] / light[:, channel].mean() - 1) / 100
        assert np.argmax(np.abs(wave)) == 200 / 40 and abs(np.abs(wave[5]) - 0.2) < 0.01
    y, x = places(IMAGE)
    turn, bent = np.radians(4), [3 * side**2 / (63.5**2 + 59.5**2) for side in (x, y)]
    u = x * np.cos(turn) + y * np.sin(turn) + bent[0] + bent[1]
    v = y * np.cos(turn) - x * np.sin(turn) + bent[0] + bent[1]
    gain = np.stack([(1 + 0.3 * np.cos(2 * np.pi * (u / 1.3 + c / 3))) * (1 + 0.15 * np.cos(2 * np.pi * v / 1.3))
                     for c in range(3)], axis=2)
    close(screen.moire(IMAGE, pitch=1.3, angle=4, depth=0.3, bend=3), encoded(linear(IMAGE) * gain))


def test_glare_adds_light():
    y, x = np.mgrid[:128, :120] + 0.5
    q = np.exp(-((x - 30) / 25) ** 2) * np.exp(-((y - 96) / 15) ** 2)
    close(screen.glare(IMAGE, x=0.25, y=0.75, width=25, height=15, strength=0.5, veil=0.03, kind="lamp"),
          encoded(linear(IMAGE) + 0.5 * q[..., None] + 0.03))


def test_interlacing_moves_odd_rows_only():
    result = surveillance.interlace(IMAGE, offset=3.0)
    assert np.array_equal(result[0::2], IMAGE[0::2])
    assert np.array_equal(result[1::2, 3:], IMAGE[1::2, :-3])
    assert np.array_equal(result[1::2, :3], np.repeat(IMAGE[1::2, :1], 3, axis=1))
    half = surveillance.interlace(IMAGE, offset=-0.5)[1::2, :-1].astype(float)
    assert np.abs(half - (IMAGE[1::2, :-1].astype(float) + IMAGE[1::2, 1:]) / 2).max() <= 0.5


@pytest.mark.parametrize("bits", range(1, 9))
def test_few_bits_leave_so_many_even_levels(bits):
    result = surveillance.bit_depth(GREYS, bits=bits)
    levels = np.unique(result)
    assert len(levels) == 2**bits and levels[0] == 0 and levels[-1] == 255
    assert np.abs(result.astype(float) - GREYS).max() <= 255 / (2**bits - 1) / 2 + 0.5


def test_blocks_keep_their_mean_and_the_stated_share_is_hit():
    result = surveillance.blocks(picture(256), block=8, share=0.3, seed=4)
    tiles, before = (one.reshape(32, 8, 32, 8, 3).swapaxes(1, 2).astype(float) for one in (result, picture(256)))
    hit = (words(4, 1024) + 0.5) / 65536 < 0.3
    assert abs(hit.mean() - 0.3) < 0.05
    flat = hit.reshape(32, 32)
    assert np.array_equal(tiles[~flat], before[~flat])
    assert np.abs(tiles[flat] - before[flat].mean((1, 2), keepdims=True)).max() <= 0.51


def test_scratches_dust_and_folds_lie_everywhere_and_nothing_else_changes():
    grey = np.full((160, 160, 3), 100, np.uint8)
    seen = np.zeros((160, 160))
    for seed in range(60):
        for result in (wear.scratches(grey, count=4, length=80, width=1.0, angle=30, spread=20, level=250, strength=1.0,
                                      seed=seed),
                       wear.dust(grey, count=20, size=3, level=250, strength=1.0, seed=seed)):
            assert result.min() == 100 and 150 < result.max() <= 250
            assert 0.001 < (result != 100).any(2).mean() < 0.2
            seen += (result != 100).any(2)
    quarters = seen.reshape(2, 80, 2, 80).mean((1, 3))
    assert quarters.min() > 0.75 * quarters.max()
    assert np.array_equal(wear.scratches(grey, count=0, length=80, width=1, angle=0, spread=0, level=255, strength=1,
                                         seed=1), grey)
    half = wear.dust(grey, count=20, size=3, level=250, strength=0.5, seed=1)
    assert abs(int(half.max()) - 175) < 12
    creased = wear.fold(grey, position=0.0, angle=0.0, width=0.0, spread=8, strength=0.5, seed=1).astype(float)
    assert creased[85, 80, 0] > 100 > creased[74, 80, 0] and np.array_equal(creased[:30], grey[:30])
    distance = np.arange(160) - 79.5
    side = np.sign(distance) * np.exp(-np.abs(distance) / 8)
    away = np.abs(distance) < 8 * 4
    wanted = encoded(linear(np.array(100)) * (1 + 0.25 * side))
    assert np.abs(creased[:, 3, 1] - wanted)[away].mean() < 1
    cracked = wear.fold(grey, position=0.5, angle=90, width=2, spread=8, strength=1, seed=1)
    columns = cracked.max(2).mean(0)
    assert 30 < np.argmax(columns) < 60, "half a half height to the left of the middle"


@pytest.mark.parametrize("kind", ["hand", "object"])
def test_what_stands_before_the_face_covers_it_softly(kind):
    grey = np.full((200, 200, 3), 100, np.uint8)
    at = {"kind": kind, "x": 0.5, "y": 0.6, "size": 30, "angle": -90, "red": 220, "green": 160, "blue": 130}
    hard = occlusion.occlude(grey, **at, softness=0, seed=3)
    assert (np.abs(hard[120, 100].astype(int) - (220, 160, 130)) < 30).all()
    assert np.array_equal(hard[:40, :40], grey[:40, :40])
    covered = (hard != 100).any(2).mean()
    assert 0.05 < covered < 0.45
    soft = occlusion.occlude(grey, **at, softness=3, seed=3)
    edge = [np.abs(np.diff(one[..., 0].astype(float), axis=1)).max() for one in (hard, soft)]
    assert edge[1] < 0.6 * edge[0]
    assert not np.array_equal(hard, occlusion.occlude(grey, **at, softness=0, seed=4))


@pytest.mark.parametrize("kind", ["ring", "rosette"])
def test_a_stamp_only_darkens_and_lies_within_its_radius(kind):
    white = np.full((200, 200, 3), 255, np.uint8)
    result = occlusion.stamp(white, kind=kind, x=0.5, y=0.5, radius=60, angle=20, strength=0.8, red=60, green=50,
                             blue=150, seed=2)
    y, x = places(white)
    assert (result[np.hypot(y, x) > 68] == 255).all() and (result != 255).any(2).mean() > 0.03
    darkest = result.reshape(-1, 3)[result.sum(2).argmin()].astype(float)
    assert np.allclose((255 - darkest) / 0.8, 255 - np.array([60, 50, 150]), atol=25)


def test_a_date_can_be_read_back_from_its_strokes():
    black = np.zeros((120, 400, 3), np.uint8)
    result = occlusion.date_imprint(black, text="8-1", height=40, strength=1.0, red=255, green=130, blue=40)
    # Digits of half the width, 1.6 of that apart, from the lower right.
    left = [400 - 60 - 3 * 32 + 32 * place for place in range(3)]
    top = 120 - 100
    stroke = {"upper": (top, 10), "middle": (top + 20, 10), "lower": (top + 40, 10), "right": (top + 10, 20),
              "left": (top + 10, 0)}
    lit = [{name for name, (y, x) in stroke.items() if result[y, start + x, 0] > 128} for start in left]
    assert lit == [{"upper", "middle", "lower", "right", "left"}, {"middle"}, {"right"}]
    y, x = np.nonzero(result[..., 0] > 128)
    assert np.allclose(result[y, x].mean(0) / 255, np.array([255, 130, 40]) / 255, atol=0.1)


VALUES = {
    optics.defocus: {"radius": 2.0}, optics.motion: {"length": 6.0, "angle": 30.0},
    optics.vignette: {"field_angle": 30.0}, optics.fringe: {"red": 1.5, "blue": -1.0},
    sensor.sensor_noise: {"iso": 3200.0, "full_well": 9000.0, "read_noise": 3.0, "seed": 1},
    sensor.banding: {"period": 17.0, "amplitude": 0.3, "phase": 10.0}, sensor.exposure: {"stops": 0.7},
    sensor.white_balance: {"temperature": 4200.0, "tint": 0.1},
    old_print.fade: {"cyan": 0.4, "magenta": 0.2, "yellow": 0.1}, old_print.yellow: {"density": 0.3},
    old_print.stains: {"density": 0.3, "grain": 20.0, "seed": 2},
    old_print.film_grain: {"strength": 9.0, "grain": 1.7, "seed": 3},
    old_print.paper: {"strength": 0.1, "grain": 3.0, "kind": "fibre", "seed": 4},
    old_print.halftone: {"lines": 40.0, "angle": 20.0, "hardness": 3.0},
    wear.scratches: {"count": 5, "length": 40.0, "width": 1.2, "angle": 40.0, "spread": 10.0, "level": 240.0,
                     "strength": 0.8, "seed": 5},
    wear.dust: {"count": 9, "size": 2.0, "level": 240.0, "strength": 0.8, "seed": 6},
    wear.fold: {"position": 0.2, "angle": 70.0, "width": 1.0, "spread": 6.0, "strength": 0.5, "seed": 7},
    screen.moire: {"pitch": 1.04, "angle": 2.0, "depth": 0.2, "bend": 2.0},
    screen.glare: {"x": 0.3, "y": 0.4, "width": 20.0, "height": 10.0, "strength": 0.4, "veil": 0.02, "kind": "window"},
    surveillance.interlace: {"offset": 2.4}, surveillance.bit_depth: {"bits": 4},
    surveillance.blocks: {"block": 8, "share": 0.4, "seed": 8},
    occlusion.occlude: {"kind": "hand", "x": 0.5, "y": 0.7, "size": 20.0, "angle": -80.0, "softness": 1.5, "red": 200,
                        "green": 150, "blue": 120, "seed": 9},
    occlusion.stamp: {"kind": "ring", "x": 0.2, "y": 0.8, "radius": 15.0, "angle": 10.0, "strength": 0.7, "red": 60,
                      "green": 50, "blue": 150, "seed": 10},
    occlusion.date_imprint: {"text": "'98  7 14", "height": 8.0, "strength": 0.9, "red": 255, "green": 130, "blue": 40},
}
NAMED = [pytest.param(function, values, id=function.__name__) for function, values in VALUES.items()]


def test_every_operation_of_these_modules_is_among_those_tested():
    modules = (optics, sensor, old_print, wear, screen, surveillance, occlusion)
    assert {function for module in modules for function in module.OPERATIONS} == set(VALUES)


@pytest.mark.parametrize(("function", "values"), NAMED)
def test_any_size_is_taken_and_the_image_left_alone(function, values):
    random = rng(0, "sizes")
    for shape in ((1, 1), (1, 4), (4, 1), (2, 2), (1, 3), (3, 1), (5, 64), (67, 3), (33, 47), (130, 2000)):
        image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        before = image.copy()
        result = function(image, **values)
        assert result.dtype == np.uint8 and result.shape == image.shape, shape
        assert np.array_equal(image, before) and np.array_equal(result, function(image, **values)), shape


@pytest.mark.parametrize(("function", "values"), NAMED)
def test_strips_leave_no_seams(function, values, monkeypatch):
    from anchorface.degradation import light
    image = cv2.GaussianBlur(picture(150, 140), (5, 5), 1.0)
    result = function(image, **values)
    monkeypatch.setattr(light, "STRIP", 10**9)
    assert np.array_equal(result, function(image, **values))


@pytest.mark.parametrize(("function", "values"), NAMED)
def test_impossible_values_are_refused_by_name(function, values):
    from anchorface.records import DataError
    for field in values:
        for strange in (-1, 0.5) if field == "seed" else (float("nan"), 1e12, -1e12, "no such word"):
            with pytest.raises(DataError, match=field):
                function(IMAGE[:16, :16], **values | {field: strange})
