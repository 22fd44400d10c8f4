/* SPDX-License-Identifier: Apache-2.0 */
/* The forever iframe: an endless page with one script element for each
 * message. */
#include "transport/transport.h"

/* The page looks up its parent's function for each message, because the parent
 * may define it late.  The page removes each script element after the script
 * has run. */
static const char opening[] =
    "<!DOCTYPE html>\n"
    "<html><head><meta charset=\"utf-8\"><title>mod_comet</title></head>\n"
    "<body>\n"
    "<script>\n"
    "function comet(message) {\n"
    "  var path = \"";
static const char opened[] =
    "\".split(\".\");\n"
    "  var page = window.parent, self = page, found = page, i, scripts;\n"
    "  scripts = document.getElementsByTagName(\"script\");\n"
    "  if (scripts.length > 1) {\n"
    "    scripts[1].parentNode.removeChild(scripts[1]);\n"
    "  }\n"
    "  if (page === window) {\n"
    "    return;\n"
    "  }\n"
    "  for (i = 0; i < path.length && found; i++) {\n"
    "    self = found;\n"
    "    found = found[path[i]];\n"
    "  }\n"
    "  if (found) {\n"
    "    found.call(self, message);\n"
    "  }\n"
    "}\n"
    "</script>\n";

/* Old browsers render nothing before they have this many bytes. */
#define PADDING_BYTES 1024

static void open_page(comet_buffer_t *out, const comet_answer_t *answer)
{
    int i;

    comet_buffer_puts(out, opening);
    comet_buffer_puts(out, answer->format->callback);
    comet_buffer_puts(out, opened);
    for (i = 0; i < PADDING_BYTES / 16; i++) {
        comet_buffer_puts(out, "               \n");
    }
    if (comet_transport_has_gap(answer)) {
        comet_buffer_puts(out, "<script>comet({\"type\":\"gap\",");
        comet_transport_add_gap(out, answer);
        comet_buffer_puts(out, "});</script>\n");
    }
}

static void encode(comet_buffer_t *out, const comet_answer_t *answer)
{
    apr_size_t i;

    for (i = 0; i < answer->count; i++) {
        comet_buffer_puts(out, "<script>comet(");
        comet_transport_add_message(out, answer->messages[i], answer->format);
        comet_buffer_puts(out, ");</script>\n");
    }
}

const comet_transport_t comet_transport_iframe = {
    .name = "iframe",
    .gauge = COMET_METRIC_waiting_iframe,
    .content_type = "text/html; charset=utf-8",
    .policy = "default-src 'none'; script-src 'unsafe-inline'; "
              "frame-ancestors 'self'",
    .streams = 1,
    .limit = COMET_LIMIT_MAX,
    .open = open_page,
    .encode = encode,
    .heartbeat = "\n",
};
