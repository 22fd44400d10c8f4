# SPDX-License-Identifier: Apache-2.0
"""The httpd modules that mod_comet is tested with, and how mod_comet's clients
wait while each of them is loaded.

A row:
  name    the module's name in the manual's table
  load    the modules to load in addition to those of every test
  conf    the configuration that a site would write
  ways    {kind of client: how it waits}, for the kinds that the module affects
  log     texts that the error log must contain
  mpm     the only MPM with which the row is tested
  long    whether only `make check-long` tests the row
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
        "<Location /comet>\nOptions +Includes\n</Location>"),
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
        log=['filter "modsecurity_out" of mod_security2.so holds back',
             'filter "modsecurity_out" of mod_security2.so may hold']),
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
    row("session_crypto", ["session", "session_cookie", "session_crypto"],
        "<Location />\nSession On\nSessionCookieName s path=/\n"
        "SessionCryptoPassphrase secret\n</Location>"),
    row("data", conf="<Location /icons>\nSetOutputFilter DATA\n</Location>"),
    row("php (mod_php)", ["php"], "<FilesMatch \\.php$>\n"
        "SetHandler application/x-httpd-php\n</FilesMatch>",
        file={"php": "libphp8.2.so"}, mpm="prefork"),
    row("http2", ["http2"], "Protocols h2c http/1.1"),
    row("proxy_balancer and all other proxies", [
        "slotmem_shm", "proxy", "proxy_http", "proxy_http2", "proxy_ajp",
        "proxy_connect", "proxy_express", "proxy_fdpass", "proxy_ftp",
        "proxy_scgi", "proxy_uwsgi", "lbmethod_byrequests",
        "lbmethod_bybusyness", "proxy_balancer", "proxy_hcheck"],
        "<Proxy balancer://app>\nBalancerMember http://127.0.0.1:1\n"
        "</Proxy>\nProxyPass /app balancer://app/"),
    row("what only serves files and users", [
        "actions", "allowmethods", "asis", "auth_digest", "authn_anon",
        "authn_dbm", "authn_socache", "authnz_fcgi", "authz_dbm",
        "authz_groupfile", "authz_owner", "cern_meta", "cgi", "file_cache",
        "imagemap", "mime_magic", "vhost_alias", "slotmem_plain",
        "socache_dbm", "socache_memcache", "socache_redis", "dialup"],
        "MMapFile {docroot}/static.txt\nAction x-script /cgi-bin/x\n"
        "<Location /private>\nAuthType Digest\nAuthName x\n"
        "AuthUserFile {root}/none\nRequire valid-user\n</Location>"),
)
RED_HAT = [
    "access_compat", "actions", "allowmethods", "auth_digest", "authn_anon",
    "authn_dbd", "authn_dbm", "authn_socache", "authz_dbd", "authz_dbm",
    "authz_groupfile", "authz_owner", "autoindex", "brotli", "cache",
    "cache_disk", "cache_socache", "data", "dbd", "dumpio", "echo", "expires",
    "ext_filter", "include", "info", "macro", "mime_magic", "negotiation",
    "remoteip", "request", "slotmem_plain", "slotmem_shm", "socache_dbm",
    "socache_memcache", "socache_shmcb", "status", "substitute", "suexec",
    "unique_id", "userdir", "vhost_alias", "dav", "dav_fs", "dav_lock", "lua",
    "proxy", "lbmethod_bybusyness", "lbmethod_byrequests",
    "lbmethod_bytraffic", "proxy_ajp", "proxy_balancer", "proxy_connect",
    "proxy_express", "proxy_fcgi", "proxy_fdpass", "proxy_ftp", "proxy_http",
    "proxy_hcheck", "proxy_scgi", "proxy_uwsgi", "proxy_wstunnel", "cgid",
    "ssl", "http2", "proxy_http2"]

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
    row("Debian or Ubuntu with mod_php", STOCK + ["php"],
        "<FilesMatch \\.php$>\nSetHandler application/x-httpd-php\n"
        "</FilesMatch>", file={"php": "libphp8.2.so"}, mpm="prefork"),
    row("Red Hat's stock configuration", RED_HAT, "ScriptSock {root}/run/cgi\n"
        "Protocols h2c http/1.1\nAddOutputFilter INCLUDES .shtml", ways=PARKED,
        long=True),
    row("Red Hat's stock configuration under prefork", RED_HAT,
        "ScriptSock {root}/run/cgi", mpm="prefork", ways=THREAD, long=True),
    row("SUSE's stock configuration", [
        "actions", "auth_digest", "authn_dbm", "authz_groupfile", "autoindex",
        "cgid", "include", "negotiation", "socache_shmcb", "ssl", "userdir",
        "expires", "log_debug", "authz_dbm", "access_compat", "status"],
        "ScriptSock {root}/run/cgi\nUserDir public_html", ways=PARKED,
        long=True),
    row("the httpd image of Docker Hub", [
        "access_compat", "authz_groupfile", "status", "autoindex"],
        'CustomLog /proc/self/fd/1 common', long=True),
    row("cPanel: suexec, security2 with rules, evasive", STOCK + [
        "unique_id", "security2", "evasive20", "suexec", "cgid", "userdir",
        "proxy", "proxy_fcgi", "expires", "deflate"],
        "SecRuleEngine On\nSecDataDir {root}/run\nSecRequestBodyAccess On\n"
        "SecResponseBodyAccess Off\nSecRule ARGS \"@contains <script\" "
        "\"id:1,phase:2,deny\"\nScriptSock {root}/run/cgi\n"
        "DOSPageCount 1000\nDOSSiteCount 1000\nUserDir public_html",
        ways=THREAD, log=['filter "modsecurity_out" of mod_security2.so'],
        long=True),
    row("Plesk: behind nginx, with aclr2's headers", STOCK + [
        "remoteip", "userdir", "suexec", "cgid", "fcgid", "proxy",
        "proxy_fcgi", "ssl", "http2", "vhost_alias", "expires", "substitute"],
        "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 127.0.0.1\n"
        "ScriptSock {root}/run/cgi\nHeader set X-Powered-By PleskLin\n"
        "ExpiresActive On\nExpiresByType text/css A3600", long=True),
    row("ISPConfig: fcgid, suexec, dav, include", STOCK + [
        "fcgid", "suexec", "dav", "dav_fs", "include", "actions", "proxy",
        "proxy_fcgi", "expires", "brotli"],
        "DavLockDB {root}/run/dav\nAddOutputFilter INCLUDES .shtml\n"
        "AddOutputFilterByType BROTLI_COMPRESS text/html application/json",
        long=True),
    row("Virtualmin: mod_php beside fcgid", STOCK + [
        "php", "fcgid", "suexec", "actions", "userdir", "include"],
        "<FilesMatch \\.php$>\nSetHandler application/x-httpd-php\n"
        "</FilesMatch>\nUserDir public_html", file={"php": "libphp8.2.so"},
        mpm="prefork", long=True),
    row("Nextcloud", STOCK + ["proxy", "proxy_fcgi", "http2", "expires"],
        "Protocols h2c http/1.1\n<Directory {docroot}>\nRewriteEngine On\n"
        "RewriteRule .* - [env=HTTP_AUTHORIZATION:%{HTTP:Authorization}]\n"
        "RewriteRule ^remote/(.*) remote.php [QSA,L]\n</Directory>\n"
        "Header onsuccess unset Referrer-Policy\n"
        "Header always set Referrer-Policy no-referrer\n"
        "ErrorDocument 403 /index.php/error/403", long=True),
    row("Drupal", STOCK + ["expires", "proxy", "proxy_fcgi"],
        "ExpiresActive On\nExpiresDefault A1209600\nRewriteEngine On\n"
        "RewriteCond %{DOCUMENT_ROOT}%{REQUEST_URI} !-f\n"
        "RewriteCond %{REQUEST_URI} !^/(static|comet)\n"
        "RewriteRule ^ /index.html [L]\n"
        "Header always set X-Content-Type-Options nosniff", long=True),
    row("MediaWiki behind its own cache", STOCK + [
        "cache", "cache_socache", "proxy", "proxy_http", "proxy_fcgi"],
        "CacheSocache shmcb\nCacheEnable socache /\nCacheLock on\n"
        "Alias /w {docroot}\nRewriteEngine On\n"
        "RewriteRule ^/?wiki(/.*)?$ /w/index.html [L]", long=True),
    row("a gateway: balancer, TLS, qos, forensic log", STOCK + [
        "slotmem_shm", "proxy", "proxy_http", "proxy_wstunnel",
        "lbmethod_byrequests", "proxy_balancer", "qos", "log_forensic", "ssl",
        "http2", "md"],
        "ForensicLog {root}/logs/forensic.log\nQS_ClientEntries 1000\n"
        "<Proxy balancer://app>\nBalancerMember http://127.0.0.1:1\n"
        "</Proxy>\nProxyPass /comet !\nProxyPass /app balancer://app/",
        lib="libpcre.so.3", ways=PARKED, long=True),
    row("an intranet: ldap, digest, dav, userdir, info", STOCK + [
        "ldap", "authnz_ldap", "auth_digest", "dav", "dav_fs", "userdir",
        "info", "dumpio", "authn_socache"],
        "DavLockDB {root}/run/dav\nUserDir public_html\n"
        "<Location /private>\nAuthType Basic\nAuthName x\n"
        "AuthBasicProvider ldap\nAuthLDAPURL ldap://127.0.0.1:1/x\n"
        "Require valid-user\n</Location>", long=True),
    row("a hardened site: usertrack, unique ids, sessions, rate limits",
        STOCK + ["usertrack", "unique_id", "session", "session_cookie",
                 "session_crypto", "ratelimit", "allowmethods", "remoteip"],
        "CookieTracking on\n<Location />\nSession On\n"
        "SessionCookieName s path=/\nSessionCryptoPassphrase secret\n"
        "</Location>\n<Location /downloads>\nSetOutputFilter RATE_LIMIT\n"
        "SetEnv rate-limit 400\n</Location>\nStrictHostCheck Off\n"
        "ServerTokens Prod", long=True),
)

WORDS = {"thread": "hold a thread each", "refused 500": "are refused (500)",
         "parked": "are parked, not adopted"}


def verdict(row):
    """Return the text that the manual's table must have for a row."""
    ways = row.get("ways", {})
    if not ways:
        return "works"
    if ways.get("events") == ways.get("iframe"):
        return "streams " + WORDS[ways["events"]]
    return "; ".join("%s %s" % (noun, WORDS[ways[kind]])
                     for kind, noun in (("events", "event streams"),
                                        ("iframe", "iframes"))
                     if kind in ways)
