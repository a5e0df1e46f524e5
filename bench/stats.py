"""What is made of samples: medians, spreads, paired ratios, and whether a goal is met."""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Summary:
    """The middle of some values and how far they go."""
    median: float
    low: float
    high: float
    count: int

    def text(self, form=".2f"):
        return f"{self.median:{form}} [{self.low:{form}} .. {self.high:{form}}]"


def summary(values):
    """None for no values."""
    values = list(values)
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values), len(values))


def paired(numerators, denominators, key):
    """Ratios of what was measured in the same round. Between caches near and far everything
    differs: a pair of which only one had the CPUs apart is left out, unless there is no other."""
    pairs = [(a, b) for a, b in zip(numerators, denominators)
             if a and b and a.get(key) and b.get(key)]
    alike = [(a, b) for a, b in pairs if a.get("apart", False) == b.get("apart", False)]
    return [a[key] / b[key] for a, b in alike or pairs]


def noise_floor(ratios):
    """How far from 1 two runs of the same thing came, as a share: 0.03 is three percent."""
    return max((max(r, 1 / r) - 1 for r in ratios), default=None)


@dataclasses.dataclass(frozen=True)
class Goal:
    """A ratio (or, without a denominator, a value) and what it should be."""
    name: str
    numerator: str  # name of a cell
    denominator: str  # "" for none
    key: str
    sense: str  # ">=" or "<="
    bound: float

    def met(self, value):
        return value >= self.bound if self.sense == ">=" else value <= self.bound

    def judge(self, samples):
        """What came of it, from {cell: [sample or None, one for each round]}."""
        above = samples.get(self.numerator, [])
        if self.denominator:
            values = paired(above, samples.get(self.denominator, []), self.key)
        else:
            values = [s[self.key] for s in above if s and self.key in s]
        found = summary(values)
        out = {"name": self.name, "goal": f"{self.sense} {self.bound:g}", "key": self.key,
               "numerator": self.numerator, "denominator": self.denominator}
        if found is None:
            return {**out, "verdict": "not measured"}
        return {**out, **dataclasses.asdict(found),
                "verdict": "met" if self.met(found.median) else "missed"}
