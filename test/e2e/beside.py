# SPDX-License-Identifier: Apache-2.0
"""The modules beside which mod_comet is tried, and how its clients wait then.

A row:
  name    as the manual's table has it
  load    names of modules beyond those of every test
  conf    what a site would write
  ways    what differs from PLAIN: {kind: way}
  log     texts that the error log has, once each
"""

THREAD = {"events": "thread", "iframe": "thread"}
PARKED = {"events": "parked", "iframe": "parked"}


def row(name, load=None, conf="", **more):
    return dict(name=name, load=[name] if load is None else load, conf=conf,
                **more)


KEPT = {"events": "refused 500", "iframe": "refused 500"}

MODULES = (
    row("expires", conf="ExpiresActive On\nExpiresByType image/png A600"),
    row("cache_disk", ["cache", "cache_disk"],
        "CacheRoot {root}/run\nCacheEnable disk /"),
    row("cache_socache", ["cache", "socache_shmcb", "cache_socache"],
        "CacheSocache shmcb\nCacheEnable socache /"),
    row("filter", [], "FilterDeclare TIDY\n"
        "FilterProvider TIDY DEFLATE \"%{CONTENT_TYPE} =~ m|^image/|\"\n"
        "FilterChain TIDY"),
    row("include", conf="AddOutputFilterByType INCLUDES text/html"),
    row("include, with Options Includes", ["include"],
        "AddOutputFilterByType INCLUDES text/html\n"
        "<Location /comet>\nOptions +Includes\n</Location>",
        ways={"iframe": "thread"},
        log=['filter "BYTYPE:INCLUDES" of mod_filter.so']),
    row("charset_lite", conf="CharsetSourceEnc ISO-8859-1\n"
        "CharsetDefault ISO-8859-15"),
    row("brotli", conf="AddOutputFilterByType BROTLI_COMPRESS text/html "
        "text/plain application/json"),
    row("substitute", conf="AddOutputFilterByType SUBSTITUTE text/html\n"
        "Substitute s/foo/bar/", ways={"iframe": "thread"},
        log=['filter "BYTYPE:SUBSTITUTE" of mod_filter.so']),
    row("sed", conf="<Location /comet>\nSetOutputFilter Sed\n"
        "OutputSed s/foo/bar/\n</Location>", ways=KEPT,
        log=['filter "sed" of mod_sed.so']),
    row("ratelimit", conf="<Location /comet>\n"
        "SetOutputFilter RATE_LIMIT\nSetEnv rate-limit 400\n</Location>",
        ways=THREAD, log=['filter "rate_limit" of mod_ratelimit.so']),
    row("buffer", conf="SetOutputFilter BUFFER", ways=THREAD,
        log=['filter "buffer" of mod_buffer.so']),
    row("ext_filter", conf="ExtFilterDefine all mode=output "
        "cmd=/usr/bin/sort\n<Location /comet>\nSetOutputFilter all\n"
        "</Location>", ways=KEPT, log=['filter "all" of mod_ext_filter.so']),
    row("xml2enc", conf="AddOutputFilterByType xml2enc text/html"),
    row("proxy_html", ["xml2enc", "proxy_html"],
        "ProxyHTMLEnable On\nProxyHTMLExtended On"),
    row("security2", ["unique_id", "security2"], "SecRuleEngine On\n"
        "SecDataDir {root}/run\nSecRequestBodyAccess On\n"
        "SecResponseBodyAccess Off", ways=THREAD,
        log=['filter "modsecurity_out" of mod_security2.so']),
    row("security2, with SecResponseBodyAccess On",
        ["unique_id", "security2"], "SecRuleEngine On\n"
        "SecDataDir {root}/run\nSecResponseBodyAccess On\n"
        "SecResponseBodyMimeType text/plain text/html text/xml",
        ways=dict(THREAD, iframe="refused 500"),
        log=['filter "modsecurity_out" of mod_security2.so keeps back',
             'filter "modsecurity_out" of mod_security2.so may keep']),
    row("evasive", ["evasive20"], "DOSPageCount 1000\nDOSSiteCount 1000"),
    row("qos", conf="QS_ClientEntries 1000\n"
        "QS_LocRequestLimitMatch \"^/x\" 9", lib="libpcre.so.3",
        ways=PARKED),
    row("fcgid"),
    row("session", ["session", "session_cookie"],
        "<Location />\nSession On\nSessionCookieName s path=/\n"
        "</Location>"),
    row("dbd"),
    row("ldap", ["ldap", "authnz_ldap"]),
    row("proxy", ["proxy", "proxy_http", "proxy_fcgi", "proxy_wstunnel"],
        "ProxyPass /app http://127.0.0.1:1/"),
    row("remoteip", conf="RemoteIPHeader X-Forwarded-For"),
    row("lua", ways=PARKED),
    row("macro"),
    row("md"),
    row("log_forensic", conf="ForensicLog {root}/logs/forensic.log",
        ways=PARKED),
    row("log_debug", conf="", ways=PARKED),
    row("unique_id"),
    row("usertrack", conf="CookieTracking on"),
    row("userdir", conf="UserDir public_html"),
    row("dav", ["dav", "dav_fs"], "DavLockDB {root}/run/dav"),
    row("status", conf="ExtendedStatus On"),
    row("info"),
    row("dumpio", conf="DumpIOOutput On"),
    row("cgid", conf="ScriptSock {root}/run/cgisock"),
    row("negotiation", ["negotiation", "autoindex", "speling"],
        "CheckSpelling on"),
    row("http2", ["http2"], "Protocols h2c http/1.1"),
)
STOCK = ["access_compat", "authn_dbd", "negotiation", "autoindex", "status",
         "socache_shmcb"]

SITES = (
    row("Debian's stock configuration with TLS and HTTP/2",
        STOCK + ["ssl", "http2"],
        "Protocols h2 h2c http/1.1\nExtendedStatus On"),
    row("WordPress with php-fpm", STOCK + ["proxy", "proxy_fcgi", "expires",
                                           "vhost_alias"],
        "ExpiresActive On\nExpiresDefault \"access plus 1 month\"\n"
        "AddOutputFilterByType DEFLATE text/html application/json\n"
        "<Directory {docroot}>\nRewriteEngine On\nRewriteBase /\n"
        "RewriteRule ^(index\\.html|comet-status)$ - [L]\n"
        "RewriteCond %{REQUEST_FILENAME} !-f\n"
        "RewriteRule . /index.html [L]\n</Directory>\n"
        "ProxyPassMatch ^/(.*\\.php)$ unix:/none|fcgi://localhost/"),
    row("a hosting panel: security2, userdir, suexec, cgid",
        STOCK + ["unique_id", "security2", "userdir", "suexec", "cgid",
                 "proxy", "proxy_fcgi", "remoteip", "include"],
        "SecRuleEngine On\nSecDataDir {root}/run\n"
        "SecResponseBodyAccess Off\nUserDir public_html\n"
        "ScriptSock {root}/run/cgisock\nRemoteIPHeader X-Forwarded-For\n"
        "AddOutputFilter INCLUDES .shtml", ways=THREAD,
        log=['filter "modsecurity_out" of mod_security2.so']),
    row("a cache before everything", STOCK + [
        "cache", "cache_disk", "expires", "brotli", "md"],
        "CacheRoot {root}/run\nCacheEnable disk /\nCacheQuickHandler on\n"
        "CacheLock on\nExpiresActive On\nExpiresDefault A60\n"
        "FilterDeclare SHRINK\nFilterProvider SHRINK DEFLATE "
        "\"%{CONTENT_TYPE} =~ m|^text/|\"\nFilterChain SHRINK"),
    row("sessions and a login form over a database",
        STOCK + ["dbd", "authz_dbd", "session", "session_cookie",
                 "session_dbd", "auth_form", "request"],
        "<Location />\nSession On\nSessionCookieName s path=/\n"
        "</Location>"),
)

WORDS = {"thread": "hold a thread each", "refused 500": "are refused (500)",
         "parked": "are parked, not adopted"}


def verdict(row):
    """What the manual's table says of a row."""
    ways = row.get("ways", {})
    if not ways:
        return "works"
    if ways.get("events") == ways.get("iframe"):
        return "streams " + WORDS[ways["events"]]
    return "; ".join("%s %s" % (noun, WORDS[ways[kind]])
                     for kind, noun in (("events", "event streams"),
                                        ("iframe", "iframes"))
                     if kind in ways)
