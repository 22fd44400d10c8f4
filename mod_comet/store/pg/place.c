/* SPDX-License-Identifier: Apache-2.0 */
/* CometStore's argument: "postgresql:" and a connection string of libpq. */
#include "store/pg/pg.h"

#include <apr_strings.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static const char *value_of(const PQconninfoOption *options, const char *name)
{
    while (options->keyword && strcmp(options->keyword, name) != 0) {
        options++;
    }
    return options->keyword && options->val && *options->val ? options->val
                                                             : NULL;
}

/* Make the connection string for libpq.  If CometStore has a URI, `text` begins
 * with the URI's slashes, since "postgresql:" was cut off. */
static const char *conninfo_of(const char *text, apr_pool_t *p)
{
    return strncmp(text, "//", 2) == 0
               ? apr_pstrcat(p, "postgresql:", text, NULL)
               : text;
}

/* Make a text of all keywords and values, in libpq's order, so that equal
 * places have equal texts. */
static const char *key_of(const PQconninfoOption *options, apr_pool_t *p)
{
    const char *key = "";

    for (; options->keyword; options++) {
        if (options->val) {
            key = apr_pstrcat(p, key, options->keyword, "=", options->val, "\n",
                              NULL);
        }
    }
    return key;
}

const char *comet_pg_parse(comet_place_t *place, const char *text,
                           const char *root, apr_pool_t *p)
{
    comet_pg_place_t *own = apr_pcalloc(p, sizeof(*own));
    char *words = NULL;
    PQconninfoOption *options;
    const char *wrong = NULL;

    own->conninfo = conninfo_of(apr_pstrdup(p, text), p);
    place->name = "postgresql:...";
    options = PQconninfoParse(own->conninfo, &words);
    if (!options) {
        /* libpq's message may quote part of a password */
        int quotable = words && !strstr(text, "password") && !strchr(text, '@');

        wrong = apr_psprintf(p,
                             "postgresql: and a connection string of libpq, "
                             "such as service=comet%s%.*s",
                             quotable ? "; libpq says: " : "",
                             quotable ? (int)strcspn(words, "\n") : 0,
                             quotable ? words : "");
        PQfreemem(words);
        return wrong;
    }
    if (value_of(options, "password") || value_of(options, "sslpassword")) {
        wrong = "no password here, since many users may read the server's "
                "configuration: use a service, passfile=FILE, a client "
                "certificate, or peer authentication over a socket";
    }
    else {
        place->name = apr_pstrcat(p, "postgresql:", text, NULL);
    }
    own->has_options = value_of(options, "options") != NULL;
    place->key = key_of(options, p);
    place->own = own;
    PQconninfoFree(options);
    return wrong;
}

const char *comet_pg_locate(comet_place_t *place, apr_pool_t *p)
{
    return NULL;
}

/* Whether a host is on this machine: a folder of sockets, or loopback. */
static int is_local(const char *host)
{
    return !host || *host == '/' || *host == '@'
           || strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0
           || strncmp(host, "127.", 4) == 0;
}

static void advise_passfile(const char *path, const comet_site_t *site,
                            comet_advice_cb *say, void *baton, apr_pool_t *p)
{
    struct stat info;

    if (stat(path, &info) != 0) {
        say(baton, errno != EACCES, APR_FROM_OS_ERROR(errno),
            apr_psprintf(p,
                         errno == EACCES
                             ? "passfile %s is not checked, since the user who "
                               "runs this check may not enter its folder"
                             : "passfile %s cannot be found",
                         path));
    }
    else if ((info.st_mode & 077) || info.st_uid != site->uid) {
        say(baton, 1, 0,
            apr_psprintf(p,
                         "libpq ignores passfile %s: it must belong to %s, and "
                         "nobody else may read it; run: chown %s %s && chmod "
                         "600 %s",
                         path, site->user, site->user, path, path));
    }
}

void comet_pg_advise(const comet_place_t *place, const comet_site_t *site,
                     comet_advice_cb *say, void *baton, apr_pool_t *p)
{
    const comet_pg_place_t *own = place->own;
    PQconninfoOption *options = PQconninfoParse(own->conninfo, NULL);
    const char *host, *sslmode, *passfile;

    if (!options) {
        return;
    }
    host = value_of(options, "host");
    sslmode = value_of(options, "sslmode");
    passfile = value_of(options, "passfile");
    if (!is_local(host) && (!sslmode || strcmp(sslmode, "verify-full") != 0)) {
        say(baton, 0, 0,
            apr_psprintf(p,
                         "%s: anybody on the network between here and %s can "
                         "read and change what is sent; add "
                         "sslmode=verify-full and sslrootcert=FILE",
                         place->name, host));
    }
    if (passfile) {
        advise_passfile(passfile, site, say, baton, p);
    }
    PQconninfoFree(options);
}
