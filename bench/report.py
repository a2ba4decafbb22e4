"""What the rounds say: ratios made within a round, their medians and spread, beside the goals of the design."""
import statistics

UNITS = {"throughput": "GB/s", "cpu_gb": "CPU s/GB", "rate": "a second", "p50": "p50 us", "p99": "p99 us", "cpu": "CPU us each"}

# Goals of docs/benchmarks.md for our own record engine: load, figure, the most or least that a ratio to the plain relay may be.
GOALS = [
    ("up1", "throughput", 1.05, "min"), ("up16", "throughput", 1.10, "min"), ("up64", "throughput", 1.10, "min"),
    ("down1", "throughput", 1.05, "min"), ("down16", "throughput", 1.10, "min"), ("down64", "throughput", 1.10, "min"),
    ("up1", "cpu_gb", 0.96, "max"), ("up16", "cpu_gb", 0.93, "max"), ("up64", "cpu_gb", 0.93, "max"),
    ("ping", "p50", 1.05, "max"), ("ping", "p99", 1.30, "max"),
    ("ping64", "rate", 1.40, "min"), ("ping64", "cpu", 0.83, "max"),
    ("connect", "p50", 1.00, "max"), ("connect", "cpu", 0.90, "max"), ("connect16", "cpu", 0.75, "max"),
    ("leave16", "cpu", 1.00, "max"), ("leave16", "p99", 1.00, "max"),
]

# What the first version was held to with libssl's records.
LIBSSL_GOALS = [
    ("up1", "throughput", 0.50, "min"), ("down1", "throughput", 0.50, "min"), ("up16", "throughput", 0.65, "min"), ("down16", "throughput", 0.65, "min"),
    ("ping", "p50", 1.15, "max"), ("connect", "cpu", 1.00, "max"),
]


def figure(report, kind):
    if kind == "throughput":
        return report["bytes"] / report["seconds"] / 1e9
    if kind == "cpu_gb":
        return report["cpu"] / (report["bytes"] / 1e9)
    if kind == "rate":
        return report["operations"] / report["seconds"]
    if kind in ("p50", "p99"):
        return report[f"{kind}_us"]
    return report["cpu"] / max(report["operations"], 1) * 1e6


def kinds_of(mode):
    return ("throughput", "cpu_gb") if mode in ("up", "down") else ("rate", "p50", "p99", "cpu")


def median(reports, kind):
    return statistics.median(figure(report, kind) for report in reports)


def ratios(results, key, kind, name, base):
    """Of one path to another, within each round."""
    return [figure(a, kind) / figure(b, kind) for a, b in zip(results[key][name], results[key][base]) if figure(b, kind) > 0]


def summary(pairs):
    return {"median": statistics.median(pairs), "low": min(pairs), "high": max(pairs)}


def ratio_table(results, loads, names, base="relay"):
    """[(title, kind, {name: summary of its ratio to the base})]"""
    rows = []
    for load in loads:
        for kind in kinds_of(load.mode):
            rows.append((load, kind, {name: summary(ratios(results, load.key, kind, name, base)) for name in names if name in results[load.key]}))
    return rows


def number(value):
    return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"


def print_ratios(rows, names, out):
    print(f"{'of the plain relay, median (spread)':36}" + "".join(f"{name:>22}" for name in names), file=out)
    for load, kind, cells in rows:
        first = kind in ("throughput", "rate")
        label = f"{load.title}, {UNITS[kind]}" if first else f"   {UNITS[kind]}"
        text = ""
        for name in names:
            cell = cells.get(name)
            text += f"{cell['median']:>8.2f} ({cell['low']:.2f}-{cell['high']:.2f})".rjust(22) if cell else f"{'-':>22}"
        print(f"{label:36.36}{text}", file=out)


def print_absolutes(results, loads, names, out):
    print(f"\n{'absolute, medians':36}" + "".join(f"{name:>14}" for name in names), file=out)
    for load in loads:
        for kind in kinds_of(load.mode):
            first = kind in ("throughput", "rate")
            label = f"{load.title}, {UNITS[kind]}" if first else f"   {UNITS[kind]}"
            cells = [median(results[load.key][name], kind) if not (name == "direct" and kind.startswith("cpu")) else None for name in names]
            print(f"{label:36.36}" + "".join(f"{'-' if cell is None else number(cell):>14}" for cell in cells), file=out)


def goals(results, name, which):
    """[(load key, kind, value, limit, sense, is met)]"""
    rows = []
    for key, kind, limit, sense in which:
        if key in results and name in results[key]:
            value = statistics.median(ratios(results, key, kind, name, "relay"))
            rows.append((key, kind, value, limit, sense, value >= limit if sense == "min" else value <= limit))
    return rows


def print_goals(title, rows, titles, out):
    print(f"\n{title} (reported, never asserted)", file=out)
    for key, kind, value, limit, sense, is_met in rows:
        print(f"  {'met   ' if is_met else 'missed'}  {titles[key] + ', ' + UNITS[kind]:48}{value:7.2f}  {'>=' if sense == 'min' else '<='} {limit:.2f}", file=out)


def print_special(special, out):
    print(f"\n{'other figures':52}{'seen':>16}   goal", file=out)
    for title, value, goal in special:
        print(f"{title:52}{value:>16}   {goal}", file=out)
