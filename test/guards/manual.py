# SPDX-License-Identifier: Apache-2.0
"""Guards that compare htdocs/manual/index.html with the code."""

import html
import os
import re
import sys

PAGE = "htdocs/manual/index.html"
HTTPD_H = "/usr/include/apache2/httpd.h"
CONTEXTS = {"SERVER": "server config, virtual host",
            "LOCATION": "server config, virtual host, location"}
# Headers that httpd itself reads or sets, so the glue does not name them.
BY_HTTPD = {"request": {"If-None-Match"}, "response": {"ETag"}}
# Headers that the glue names, but that do not belong to the interface.
INTERNAL = {"request": {"Range", "Authorization", "Cookie", "Referer",
                        "Accept-Language", "Sec-Fetch-User", "If-Match"},
            "response": set()}


class Manual:
    """The page, and the code it describes."""

    def __init__(self, read, glue, core):
        self.read, self.glue, self.core = read, glue, core
        self.page = read(PAGE)
        self.glue_code = "\n".join(uncommented(read(p)) for p in glue)
        self.code = self.glue_code + "\n".join(uncommented(read(p))
                                               for p in core)

    # -- the page -----------------------------------------------------------

    def marked(self, attribute):
        """The values of data-ATTRIBUTE in the page."""
        return re.findall(r'data-%s="([^"]+)"' % attribute, self.page)

    def boxes(self):
        """{directive: {row: text}} of the page."""
        found = {}
        for name, body in re.findall(
                r'<section class="directive" id="(comet\w+)">(.*?)</section>',
                self.page, re.S):
            rows = re.findall(r'<th scope="row">([^<]+)</th><td>(.*?)</td>',
                              body, re.S)
            title = re.search(r'<h3><a href="#%s">(\w+)<' % name, body)
            found[title.group(1) if title else name] = {
                key: plain(value) for key, value in rows}
        return found

    # -- the code -----------------------------------------------------------

    def table(self):
        """{directive: (scope, default)} of the code's tables. A default is
        written as in a configuration; it is "" if there is none."""
        text = uncommented(self.read("mod_comet/tables/directives.def"))
        text = text[text.rindex("#endif"):text.index("#undef")]
        found = {}
        for scope, kind, arguments in re.findall(
                r"\b(SERVER|LOCATION)_([A-Z]+)\(((?:[^()\"]|\"[^\"]*\")*)\)",
                text):
            if kind in ("VALUE", "POINTER"):
                continue
            name, _, *rest = [word.strip() for word in arguments.split(",")]
            found[name] = (scope, default(kind, rest))
        for name in re.findall(r"DIALECT\(\w+, (Comet\w+),",
                               self.read("mod_comet/tables/dialects.def")):
            found[name] = ("SERVER", "")
        return found

    def default(self, name):
        """The default of a directive, or "" if there is none."""
        return self.table()[name][1]


def default(kind, rest):
    """The default in a line of directives.def; `rest` is what follows the
    directive and its field."""
    if kind == "LIMIT":
        return ""
    if kind == "SETTER":
        return rest[1].strip('"')
    if kind == "DURATION":
        msec = int(rest[0])
        return "%dms" % msec if msec % 1000 else "%ds" % (msec // 1000)
    return rest[0]


def uncommented(text):
    """C code without its comments. Strings are kept."""
    return re.sub(r'("(?:\\.|[^"\\\n])*")|/\*.*?\*/|//[^\n]*',
                  lambda match: match.group(1) or " ", text, flags=re.S)


def plain(markup):
    """The text of a piece of HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def differences(what, code, page):
    """Report names that are only in the code, only in the page, or twice in the
    page."""
    return (["%s: %s is not in the code" % (what, name)
             for name in sorted(set(page) - set(code))]
            + ["%s: %s is not in %s" % (what, name, PAGE)
               for name in sorted(set(code) - set(page))]
            + ["%s: %s is twice in %s" % (what, name, PAGE)
               for name in sorted(set(page)) if list(page).count(name) > 1])


def directives(manual):
    """the manual has each directive, its context and its default"""
    table, boxes = manual.table(), manual.boxes()
    wrong = differences("directive", list(table), list(boxes))
    rows = ("Description", "Syntax", "Context", "Status", "Module", "Example")
    for name in sorted(set(table) & set(boxes)):
        box = boxes[name]
        wrong += ["%s: no row %s" % (name, row) for row in rows
                  if not box.get(row)]
        context = CONTEXTS[table[name][0]]
        if box.get("Context") != context:
            wrong.append("%s: context %r, in the code %r"
                         % (name, box.get("Context"), context))
        if not box.get("Syntax", "").startswith(name):
            wrong.append("%s: syntax %r" % (name, box.get("Syntax")))
        wrong += wrong_default(manual, name, box)
        link = '<li><a href="#%s">%s</a>' % (name.lower(), name)
        if link not in manual.page:
            wrong.append("%s: not in the list of directives" % name)
    return len(table), 20, wrong


def wrong_default(manual, name, box):
    """Report what is wrong with the row Default of a directive's box."""
    value = manual.default(name)
    expected = "%s %s" % (name, value) if value else None
    if box.get("Default") == expected:
        return []
    return ["%s: default %r, in the code %r"
            % (name, box.get("Default"), expected)]


def parameters(manual):
    """the manual has each parameter that the code parses, and no other"""
    names = set()
    for path in manual.glue:
        if os.path.basename(path).startswith("mod_comet_status"):
            continue
        names.update(re.findall(
            r'\b(?:comet_params_get|(?:mod_comet_ask_)?parse_\w+)\([^;"]*?"(\w+)"',
            manual.read(path)))
        for body in re.findall(r"\*const (?:names|mod_comet_ask_cursors)\[\] = \{([^}]*)\}",
                               manual.read(path)):
            names.update(re.findall(r'"([\w-]+)"', body))
    return len(names), 12, differences("parameter", names,
                                      manual.marked("parameter"))


def metrics(manual):
    """the manual has the counters of the tables, word for word"""
    code = {(name, kind.lower(), text) for kind, name, text in re.findall(
        r'METRIC\((\w+), (\w+),\s*"([^"]*)"\)',
        manual.read("mod_comet/tables/metrics.def"))}
    code |= {("waiting_" + name, "gauge", text) for name, text in re.findall(
        r'TRANSPORT\((\w+), "([^"]*)"\)',
        manual.read("mod_comet/tables/transports.def"))}
    page = {(name, kind, plain(text)) for name, kind, text in re.findall(
        r'<tr data-metric="(\w+)">.*?<td>(\w+)</td><td>(.*?)</td>',
        manual.page)}
    return len(code), 20, differences(
        "counter", [" | ".join(x) for x in code],
        [" | ".join(x) for x in page])


def ways(manual):
    """the manual has each way of waiting, word for word"""
    code = re.findall(r'WAY\((\w+), "([^"]*)"\)',
                      manual.read("mod_comet/tables/ways.def"))
    page = [(name, plain(text)) for name, text in re.findall(
        r'<tr data-way="(\w+)">.*?<td>(.*?)</td>', manual.page)]
    return len(code), 4, differences("way", [" | ".join(x) for x in code],
                                     [" | ".join(x) for x in page])


def notes(manual):
    """the manual has each note of the access log and each kind of end, word for
    word"""
    names = re.findall(r'\bset\(\w+, "(comet-\w+)"',
                       manual.read("mod_comet/output/notes.c"))
    code = re.findall(r'END\(\w+, "([^"]*)",\s*"([^"]*)"\)',
                      manual.read("mod_comet/tables/ends.def"))
    page = [(name, plain(text)) for name, text in re.findall(
        r'<tr data-end="([^"]+)">.*?<td>(.*?)</td>', manual.page)]
    wrong = differences("note", names, manual.marked("note"))
    wrong += differences("end", [" | ".join(x) for x in code],
                         [" | ".join(x) for x in page])
    return len(names) + len(code), 18, wrong


def refusals(manual):
    """the manual has each refusal's id, and each error status has such an id"""
    code = re.findall(r'REFUSAL\((\d+), (\d+), (\w+),\s*"([^"]*)"\)',
                      manual.read("mod_comet/tables/refusals.def"))
    level = {"EACH": "info", "MINUTE": "warn"}
    page = re.findall(r'<tr data-refusal="(\d+)"><th scope="row">'
                      r"<code>COMET(\d+)</code></th><td>(\d+)</td>"
                      r"<td>(\w+)</td><td>(.*?)</td>", manual.page)
    wrong = differences(
        "refusal", [" | ".join((i, i, s, level[k], t)) for i, s, k, t in code],
        [" | ".join((*row[:4], plain(row[4]))) for row in page])
    wrong += ["refusal: %s is there twice" % i for i, *_ in code
              if [x[0] for x in code].count(i) > 1]
    # 500 needs no id, since a lack of memory is its only reason
    errors_of_page = {s for s in manual.marked("status")
                      if s >= "400" and s != "500"}
    wrong += ["status %s has no id in refusals.def" % s for s in
              sorted(errors_of_page - {s for _, s, *_ in code})]
    return len(code), 10, wrong


def log_ids(manual):
    """each line of the error log has an id, and the manual has each id"""
    table = {i: (level, text) for i, level, text in re.findall(
        r'LOG\((\d+), (\w+),\s*"([^"]*)"\)',
        manual.read("mod_comet/tables/log.def"))}
    page = [(i, level, plain(text).replace("\u2019", "'"))
            for i, level, text in re.findall(
                r'<tr data-log="(\d+)">.*?<td>(\w+)</td><td>(.*?)</td>',
                manual.page)]
    wrong = differences(
        "log", [" | ".join((i, *row)) for i, row in table.items()],
        [" | ".join(row) for row in page])
    used, levels = [], {"warning": "warn"}
    for path in manual.glue:
        code = uncommented(manual.read(path))
        used += re.findall(r'"COMET(\d+)\b', code)
        for call in re.findall(r"\bap_log_[rc]?error\((.*?);", code, re.S):
            ids = re.findall(r'"COMET(\d+): ', call)
            level = re.search(r"APLOG_([A-Z]+),.*|$",
                              call.replace("APLOG_MARK", "")).group(1) or ""
            level = level.lower()
            # The ids of refusals come from a table, and those of warnings from
            # the caller.
            if not ids and not path.endswith(("reasons.c", "warning.c")):
                wrong.append("%s: a line without an id: %s"
                             % (path, " ".join(call.split())[:60]))
            wrong += ["%s: COMET%s has level %s" % (path, i, level)
                      for i in ids if i in table and table[i][0]
                      != levels.get(level, level)]
    wrong += differences("log line", list(table), used)
    wrong += ["log: %s is a refusal, too" % i for i, *_ in re.findall(
        r"REFUSAL\((\d+),", manual.read("mod_comet/tables/refusals.def"))
        if i in table]
    return len(table), 30, wrong


def statuses(manual):
    """the manual has each status that the code answers, and no other"""
    numbers = dict(re.findall(r"#define (HTTP_\w+)\s+(\d{3})\b",
                              manual.read(HTTPD_H)))
    code = {numbers[name] for name in re.findall(r"\bHTTP_[A-Z_]+\b",
                                                 manual.glue_code)
            if name in numbers}
    return len(code), 14, differences("status", code,
                                      manual.marked("status"))


def headers(manual):
    """the manual has each header that the code reads or sets, and no other"""
    glue = manual.glue_code
    for name, value in re.findall(r'#define (\w+) ("[\w-]+")', glue):
        glue = re.sub(r"\b%s\b" % name, value, glue)
    sets = re.findall(r'\b(?:apr_table_(?:setn?|mergen?|addn?)\(\s*'
                      r'(?:\w+->)?(?:err_)?(?:headers_out|headers)|'
                      r'set_header\(\s*\w+),\s*"([\w-]+)"', glue)
    sets += re.findall(r'\{\s*"([A-Z][\w-]+)",\s*"[^"]*"\s*\}', glue)
    reads = re.findall(r'\b(?:apr_table_get\(\s*\w+->headers_in|'
                       r'header\(\s*\w+),\s*"([\w-]+)"', glue)
    count, wrong = 0, []
    for kind, names in (("request", set(reads)), ("response", set(sets))):
        names -= INTERNAL[kind]
        part = re.search(r'id="%s-header-list">(.*?)</table>' % kind,
                         manual.page, re.S)
        page = re.findall(r'data-header="([^"]+)"',
                          part.group(1) if part else "")
        count += len(names)
        wrong += differences(kind + " header", names | BY_HTTPD[kind], page)
    return count, 25, wrong


def errors(manual):
    """the errors that the manual quotes are in the code"""
    texts = []
    for run in re.findall(r'"(?:\\.|[^"\\\n])*"(?:\s*(?:"(?:\\.|[^"\\\n])*"'
                          r'|[A-Z][A-Z0-9_]*(?:\(\w+\))?))*', manual.code):
        text = re.sub(r'%"\s*APR_\w+_FMT\s*"?', "%d", run)
        text = re.sub(r'"\s*FORM\b\s*"?',
                      "application/x-www-form-urlencoded", text)
        text = re.sub(r'"\s*SIZES\((\w+)\)\s*"?', "%s", text)
        text = re.sub(r'"\s*"', "", text).strip('"')
        texts.append(text.replace('\\"', '"'))
    patterns = [re.compile(re.sub(r"%%|%[a-z]+", lambda m: "%" if m.group(0)
                                  == "%%" else ".+", re.escape(text)
                                  .replace("\\%", "%")), re.S)
                for text in texts
                if len(re.sub(r"%[a-z]+|[^A-Za-z]", "", text)) >= 12]
    told = [plain(x) for x in re.findall(r'<code class="error">(.*?)</code>',
                                         manual.page, re.S)]
    wrong = ["error not in the code: " + text for text in told
             if not any(pattern.fullmatch(part) for pattern in patterns
                        for part in pieces(text))]
    return len(told), 12, wrong


def pieces(text):
    """Yield an error and its two halves, since the code may contain the halves
    separately. `…` stands for any text."""
    yield text.replace("…", "x")
    yield text.partition(": ")[2] or text
    yield text.partition(": ")[0]


def columns(manual):
    """the manual has the columns of the view message, in order"""
    schema = "\n".join(manual.read("sql/" + name) for name in
                       sorted(os.listdir("sql")) if name.endswith(".sql"))
    views = re.findall(r"CREATE VIEW message\(([^)]*)\)", schema)
    code = [name.strip() for name in views[-1].split(",")] if views else []
    page = manual.marked("column")
    wrong = [] if code == page else ["columns: %s, in sql/ %s"
                                     % (page, code)]
    return len(code), 5, wrong


def providers(manual):
    """the manual has each word of Require, and each handler"""
    words = re.findall(r'ap_register_auth_provider\([^"]*"([\w-]+)"',
                       manual.glue_code)
    handlers = re.findall(r'strcmp\(r->handler, "([\w-]+)"\)',
                          manual.glue_code)
    page = re.findall(r'id="require-([\w-]+)"', manual.page)
    wrong = differences("Require", words, page)
    wrong += ["handler %s is not in %s" % (name, PAGE) for name in handlers
              if "SetHandler " + name not in manual.page]
    return len(words) + len(handlers), 3, wrong


def anchors(manual):
    """every link within the manual has a target"""
    folder = os.path.dirname(PAGE)
    count, wrong = 0, []
    for name in ("index.html", "tutorial.html", "recipes.html",
                 "security.html"):
        text = manual.read(os.path.join(folder, name))
        for target in re.findall(r'href="([^":]*)"', text):
            path, _, anchor = target.partition("#")
            if path.split("?")[0].endswith("comet-status"):
                continue        # a page that the module makes
            count += 1
            full = os.path.normpath(os.path.join(folder, path)) \
                if path else os.path.join(folder, name)
            if path.endswith("/"):
                full = os.path.join(full, "index.html")
            other = manual.read(full)
            if not other and not os.path.exists(full):
                wrong.append("%s: %s" % (name, target))
            elif anchor and not re.search(r'\bid="%s"' % re.escape(anchor),
                                          other):
                wrong.append("%s: no %s" % (name, target))
    return count, 60, wrong


def neighbours(manual):
    """the manual's table of other modules agrees with what test_500 finds"""
    sys.path.insert(0, os.path.join("test", "e2e"))
    import beside
    rows = {row["name"]: beside.verdict(row)
            for row in beside.MODULES + beside.SITES}
    page = {html.unescape(name): plain(text) for name, text in re.findall(
        r'<tr data-neighbour="([^"]+)">.*?<td>(.*?)</td>', manual.page)}
    wrong = differences("neighbour", rows, page)
    wrong += ["%s: %s; the test says: %s" % (name, page[name], text)
              for name, text in rows.items()
              if name in page and page[name] != text]
    return len(rows), 40, wrong


def figures(manual):
    """a figure that several documents give is the same in all of them"""
    documents = ("README.md", PAGE, "htdocs/manual/recipes.html",
                 "conf/tuned.conf", "conf/comet.conf",
                 "mod_comet/ARCHITECTURE.md", "mod_comet/wait/README.md")
    limit = re.search(r"#define PARAMETERS_MAX (\d+)", manual.glue_code)
    count, wrong = 0, []
    for what, pattern, values in (
            ("a parked client's memory", r"\b(20(?:–|\s+to\s+#?\s*)\d+) KB", []),
            ("an adopted stream's memory", r"\b(0\.\d) KB", []),
            ("a stream's memory over TLS, adopted",
             r"(?:about|over TLS it costs|TLS:)\s+(\d+)(?: KB|\))"
             r"|(\d+) KB(?: as one)? over TLS", []),
            ("a client's memory over TLS, parked",
             r"\(over TLS (\d+)\)|\((\d+) over TLS\)"
             r"|over TLS costs (\d+) KB|parked, and then costs (\d+) KiB", []),
            ("channel= parameters",
             r"up\s+to\s+(\d+)\s+(?:times|<code>channel=)",
             [limit.group(1) if limit else "no PARAMETERS_MAX"])):
        found = [(name, re.sub(r"\D+to\D+", "–", figure))
                 for name in documents
                 for match in re.finditer(pattern, manual.read(name))
                 for figure in match.groups() if figure]
        values = set(values) | {figure for _, figure in found}
        count += len(found)
        if len(values) != 1:
            wrong.append("%s: %s" % (what, ", ".join(
                "%s (%s)" % (figure, name) for name, figure in found)))
    return count, 16, wrong


def claims(manual):
    """each claim of security.html names tests, and these tests exist"""
    page = manual.read(os.path.join(os.path.dirname(PAGE), "security.html"))
    tests = "\n".join(manual.read(os.path.join("test/e2e", name))
                      for name in sorted(os.listdir("test/e2e"))
                      if name.startswith("test_"))
    named = [test for tests_of in re.findall(r'data-tests="([^"]*)"', page)
             for test in tests_of.split()]
    wrong = ["security.html: no test_%s in test/e2e" % test for test in named
             if not re.search(r"^def test_%s_" % re.escape(test), tests, re.M)]
    for part in ("defaults", "tokens"):
        claimed = re.search(r'id="%s">(.*?)</section>' % part, page, re.S)
        wrong += ["security.html: no test for: " + plain(claim)[:60]
                  for claim in re.findall(r"<li>(.*?)</li>",
                                          claimed.group(1), re.S)]
    # the defaults on the page are those of the code
    for name, value in (("CometPublish", "on"), ("CometAllowOrigin", "none"),
                        ("CometMulti", "off"), ("CometSearch", "off"),
                        ("CometEscape", "on"), ("CometLimitPublish", "off"),
                        ("CometLimitSubscribers", "off"),
                        ("CometRetain", "all")):
        if manual.default(name) != value:
            wrong.append("security.html takes %s for %s by default"
                         % (name, value))
    return len(named), 30, wrong


GUARDS = (directives, parameters, metrics, ways, notes, refusals, log_ids, statuses,
          headers,
          errors, columns,
          providers, anchors, claims, neighbours, figures)
