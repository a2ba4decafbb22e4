"""Growth over time: samples of memory and descriptors, and the Theil-Sen slope with its 95 % interval."""
import math
import time

from tests.faults.invariants import Violation

INTERVAL_S = 5
WARM_UP_S = 20 * 60
POINTS_MAXIMUM = 400  # the estimator looks at every pair


def theil_sen(points):
    """(low, median, high) of the slopes of all pairs; the interval by Sen's ranks with Kendall's variance."""
    slopes = sorted((y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(points) for x2, y2 in points[i + 1:] if x2 != x1)
    count, n = len(slopes), len(points)
    if n < 4:
        raise ValueError("too few points for a slope")
    half = 1.96 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(0, math.floor((count - half) / 2))
    high = min(count - 1, math.ceil((count + half) / 2))
    return slopes[low], slopes[count // 2], slopes[high]


def thin(points, maximum=POINTS_MAXIMUM):
    step = max(1, math.ceil(len(points) / maximum))
    return points[::step]


class Samples:
    """Of each ztunnel, every few seconds; each also a line of the file "samples.csv", where the shape of a growth can be seen."""

    def __init__(self, mesh, warm_up_s=WARM_UP_S):
        self.mesh = mesh
        self.file = mesh.file("samples.csv")
        self.warm_up_s = warm_up_s
        self.begin = time.monotonic()
        self.last = 0.0
        self.taken = {}

    def take(self):
        now = time.monotonic()
        if now - self.last < INTERVAL_S:
            return
        self.last = now
        for name, program in self.mesh.ztunnels.items():
            self.keep(now - self.begin, name, "KiB of memory", program.resident_kib())
            self.keep(now - self.begin, name, "descriptors", program.descriptors())

    def keep(self, at_s, name, what, figure):
        self.taken.setdefault((name, what), []).append((at_s, figure))
        with open(self.file, "a") as file:
            file.write(f"{at_s:.0f},{name},{what},{figure}\n")

    def check(self, say):
        for (name, what), points in self.taken.items():
            after = thin([p for p in points if p[0] >= min(self.warm_up_s, points[-1][0] / 3)])
            if len(after) < 4:
                say(f"  ztunnel of {name}: too short a run to tell the growth of {what}")
                continue
            low, median, high = (3600 * slope for slope in theil_sen(after))
            say(f"  ztunnel of {name}: {what} grow by {median:.2f} an hour (95 % between {low:.2f} and {high:.2f})")
            if low > 0:
                raise Violation(f"ztunnel of {name}: {what} grow by {median:.2f} an hour, for certain by more than {low:.2f}")
