"""OpenMetrics text (https://prometheus.io/docs/specs/om/open_metrics_spec), parsed line by line; anything out of place raises."""
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|Inf)|NaN")
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}


class Family:
    def __init__(self, name, help_text):
        self.name, self.help, self.type, self.unit = name, help_text, None, None
        self.samples = []  # (name, [(label, value)], number) in order


def _labels(text, line):
    labels, position = [], 0
    while position < len(text):
        found = LABEL.match(text, position)
        assert found, f"labels: {line}"
        labels.append((found[1], found[2]))
        position = found.end()
        if position < len(text):
            assert text[position] == ",", f"labels: {line}"
            position += 1
            assert position < len(text), f"comma at the end: {line}"
    assert len({name for name, _ in labels}) == len(labels), f"a label twice: {line}"
    return labels


def _sample(line, family):
    found = re.fullmatch(rf"({NAME})(?:\{{(.*)\}})? (\S+)", line)
    assert found, f"not a sample: {line}"
    name, labels, number = found[1], found[2], found[3]
    assert family is not None and name in [family.name + s for s in SUFFIXES[family.type]], f"not of {family and family.name}: {line}"
    assert NUMBER.fullmatch(number), f"number: {line}"
    assert labels != "", f"empty braces: {line}"
    return name, _labels(labels or "", line), float(number)


def parse(text):
    """The families by name, in order."""
    assert text.endswith("# EOF\n"), "no # EOF at the end"
    families, family, seen = {}, None, set()
    for line in text[:-len("# EOF\n")].split("\n")[:-1]:
        if line.startswith("# HELP "):
            name, help_text = line[7:].split(" ", 1)
            assert re.fullmatch(NAME, name) and name not in families, f"a family twice: {line}"
            family = families[name] = Family(name, help_text)
        elif line.startswith("# TYPE "):
            name, family.type = line[7:].split(" ")
            assert name == family.name and family.type in SUFFIXES and not family.samples, line
        elif line.startswith("# UNIT "):
            name, family.unit = line[7:].split(" ")
            assert name == family.name and name.endswith("_" + family.unit) and not family.samples, line
        else:
            sample = _sample(line, family)
            key = (sample[0], tuple(sorted(sample[1])))
            assert key not in seen, f"a sample twice: {line}"
            seen.add(key)
            family.samples.append(sample)
    for each in families.values():
        assert each.type is not None, f"{each.name} has no type"
        _check_histogram(each)
    return families


def _check_histogram(family):
    """Buckets of one label set grow, end at +Inf, and +Inf is the count."""
    if family.type != "histogram":
        return
    groups = {}
    for name, labels, number in family.samples:
        key = tuple((k, v) for k, v in labels if k != "le")
        groups.setdefault(key, {}).setdefault(name[len(family.name):], []).append((dict(labels).get("le"), number))
    for parts in groups.values():
        counts = [number for _, number in parts["_bucket"]]
        assert counts == sorted(counts) and parts["_bucket"][-1][0] == "+Inf", family.name
        assert parts["_count"][0][1] == counts[-1] and "_sum" in parts, family.name


def value(families, sample, **labels):
    """The sum of the samples of this name that have these labels."""
    total, found = 0, False
    for family in families.values():
        for name, pairs, number in family.samples:
            if name == sample and labels.items() <= dict(pairs).items():
                total, found = total + number, True
    return total if found else None
