# SPDX-License-Identifier: Apache-2.0
"""The results as a table: medians, spread and ratios."""

import statistics

from scenarios import GENERATOR_LIMIT
from servers import Before

COLUMNS = (("mod_comet",) + (("before",) if Before.module else ())
           + ("nchan", "floor", "null handler"))
HEAD = (("scenario", "figure") + COLUMNS
        + tuple("× " + name.partition(" ")[0] for name in COLUMNS[1:]))


class Results:
    """What was measured and what failed, by scenario and server."""

    def __init__(self):
        self.runs = {}
        self.failures = {}

    def add(self, scenario, server, result):
        self.runs.setdefault((scenario.name, server), []).append(result)

    def fail(self, scenario, server, reason):
        self.failures.setdefault((scenario.name, server), []).append(reason)

    def values(self, scenario, server, figure):
        return [figure.of(run)
                for run in self.runs.get((scenario.name, server), [])
                if figure.key in run and usable(scenario, figure, run)]


def usable(scenario, figure, run):
    """Whether a figure has a value: a delivery's latency has none if there were
    no deliveries."""
    delivers = scenario.mode in ("stream", "poll")
    return not (delivers and figure.key.startswith("latency")
                and run["delivered"] == 0)


def number(value):
    if abs(value) >= 1000:
        return "{:,.0f}".format(value)
    return "%.3g" % value if abs(value) < 100 else "%.0f" % value


def cell(results, scenario, server, figure):
    """Median and spread of a figure. If they are missing, a note below the
    table says why."""
    values = results.values(scenario, server, figure)
    key = (scenario.name, server)
    if not values:
        return "failed" if key in results.failures else "–"
    text = number(statistics.median(values))
    if len(values) > 1:
        text += " (%s–%s)" % (number(min(values)), number(max(values)))
    if any(run["generator_share"] > GENERATOR_LIMIT
           for run in results.runs[key]):
        text += " *"
    if key in results.failures:
        text += " !"
    return text


def ratio(results, scenario, server, figure):
    """How many times as good mod_comet is as that server."""
    ours = results.values(scenario, "mod_comet", figure)
    theirs = results.values(scenario, server, figure)
    if not ours or not theirs:
        return "–"
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    if figure.less_is_better:
        ours, theirs = theirs, ours
    if ours <= 0 or theirs <= 0:
        return "–"
    times = ours / theirs
    return "%.2f" % times if times >= 0.1 else "%.1g" % times


def rows(results, scenarios):
    for scenario in scenarios:
        title = scenario.title
        for figure in scenario.figures:
            yield ([title, figure.title]
                   + [cell(results, scenario, server, figure)
                      for server in COLUMNS]
                   + [ratio(results, scenario, server, figure)
                      for server in COLUMNS[1:]])
            title = ""


def sync_note(results, scenarios):
    """Yield what CometSync full costs at rest, if both rows were measured."""
    rows = {scenario.name: scenario for scenario in scenarios}
    medians = []
    for name, server in (("rest-full", "mod_comet"),
                         ("rest-normal", "mod_comet"), ("rest-full", "floor")):
        values = (results.values(rows[name], server, rows[name].figures[0])
                  if name in rows else [])
        medians += [statistics.median(values)] if values else []
    if len(medians) == 3:
        full, normal, sync = medians
        yield ("At rest CometSync full takes %.0f µs longer than normal; an"
               " fdatasync alone at the same pace takes %.0f µs"
               % (full - normal, sync))


def notes(results, scenarios):
    """Explain the marks that occur in the table."""
    yield from sync_note(results, scenarios)
    if any(run["generator_share"] > GENERATOR_LIMIT
           for runs in results.runs.values() for run in runs):
        yield ("* the generator used more than %d %% of a core: it was the"
               " limit" % (100 * GENERATOR_LIMIT))
    for scenario in scenarios:
        for server in COLUMNS:
            count = sum(run.get("reopened", 0) for run in
                        results.runs.get((scenario.name, server), []))
            if count:
                yield ("%s in %s closed %s connections between two requests;"
                       " their clients came back, nothing was lost"
                       % (server, scenario.name, number(count)))
    told = {}
    for scenario in scenarios:
        for server in COLUMNS:
            failed = results.failures.get((scenario.name, server), [])
            runs = len(results.runs.get((scenario.name, server), []))
            for reason in failed[-1:]:
                told.setdefault(
                    ("!" if runs else "failed:", server, reason),
                    []).append("%s (%d of %d runs)"
                               % (scenario.name, len(failed),
                                  len(failed) + runs))
    for (mark, server, reason), where in told.items():
        yield "%s %s in %s: %s" % (mark, server, ", ".join(where), reason)


def text(results, scenarios):
    """The table for a terminal."""
    lines = [list(HEAD)] + list(rows(results, scenarios))
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    out = []
    for line in lines:
        out.append("  ".join(
            word.ljust(width) if i < 2 else word.rjust(width)
            for i, (word, width) in enumerate(zip(line, widths))).rstrip())
    out.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(out)


def markdown(results, scenarios):
    out = ["| %s |" % " | ".join(HEAD),
           "|" + "---|" * 2 + "---:|" * (len(HEAD) - 2)]
    for row in rows(results, scenarios):
        out.append("| %s |" % " | ".join(word.replace("*", r"\*")
                                         for word in row))
    return "\n".join(out)
