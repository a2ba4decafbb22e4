"""What several workers cost, and on machines with enough processors what they bring: the same pair of ztunnels with 1, 2 ... workers."""
import os
import statistics

SCALES_FROM = 8  # processors: below, the load and the proxies compete for them and no figure says what a further worker brings


def counts():
    processors = os.cpu_count()
    return [1, 2] if processors < SCALES_FROM else [n for n in (1, 2, 4, 8, 16) if n <= processors // 2]


def add_ways(street, first_number=70):
    """Ways that are no rows of the tables: only this module measures them."""
    for index, count in enumerate(counts()):
        street.add_mesh(f"workers-{count}", first_number + index, environment={"TLS_ENGINE": "native", "ZTUNNEL_WORKER_THREADS": str(count)})
    return {count: street.paths.pop(f"workers-{count}") for count in counts()}


def figures(ways, rounds, seconds):
    """[(title, seen, goal)]; ratios to one worker within a round, medians over the rounds."""
    ratios = {count: {"gb": [], "request": [], "speed": []} for count in ways}
    for _ in range(rounds):
        one = measure(ways[1], seconds)
        for count, way in ways.items():
            now = one if count == 1 else measure(way, seconds)
            for key in ratios[count]:
                ratios[count][key].append(now[key] / one[key])
    rows = []
    for count in [c for c in ways if c > 1]:
        of = {key: statistics.median(values) for key, values in ratios[count].items()}
        rows.append((f"CPU per GB with {count} workers, of that with one", f"{of['gb']:.2f}", "<= 1.1" if count == 2 else ""))
        rows.append(("   per request", f"{of['request']:.2f}", "<= 1.1" if count == 2 else ""))
        if os.cpu_count() >= SCALES_FROM:
            rows.append((f"   throughput of 64 bulk streams with {count} workers", f"{of['speed']:.2f}", ""))
    return rows


def measure(way, seconds):
    bulk = way.measure("up", 64, seconds)
    requests = way.measure("ping", 64, seconds, 1024)
    return {"gb": bulk["cpu"] / bulk["bytes"], "request": requests["cpu"] / requests["operations"], "speed": bulk["bytes"] / bulk["seconds"]}
