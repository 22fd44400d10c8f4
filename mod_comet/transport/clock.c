/* SPDX-License-Identifier: Apache-2.0 */
/* The original clock: an endless page with one script element for each tick. */
#include "transport/transport.h"

/*
 * The 811 bytes that the original backend.php sends before its loop: everything
 * after its flush(), including the line breaks before its second PHP block.
 */
static const char opening[] =
    "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.1//EN\""
    " \"http://www.w3.org/TR/xhtml11/DTD/xhtml11.dtd\">\n"
    "<html xmlns=\"http://www.w3.org/1999/xhtml\">\n"
    "<head>\n"
    "\n"
    "  <title>Comet php backend</title>\n"
    "  <meta http-equiv=\"Content-Type\""
    " content=\"text/html; charset=utf-8\" />\n"
    "</head>\n"
    "<body>\n"
    "\n"
    "<script type=\"text/javascript\">\n"
    "  // KHTML browser don't share javascripts between iframes\n"
    "  var is_khtml = navigator.appName.match(\"Konqueror\")"
    " || navigator.appVersion.match(\"KHTML\");\n"
    "  if (is_khtml)\n"
    "  {\n"
    "    var prototypejs = document.createElement('script');\n"
    "    prototypejs.setAttribute('type','text/javascript');\n"
    "    prototypejs.setAttribute('src','prototype.js');\n"
    "    var head = document.getElementsByTagName('head');\n"
    "    head[0].appendChild(prototypejs);\n"
    "  }\n"
    "  // load the comet object\n"
    "  var comet = window.parent.comet;\n"
    "</script>\n"
    "\n";

/* A client that fell behind gets only the latest time. */
static void encode(comet_buffer_t *out, const comet_answer_t *answer)
{
    comet_timestamp_t time = answer->cursor;

    if (answer->count) {
        time = answer->messages[answer->count - 1]->timestamp;
    }
    comet_buffer_puts(out, "<script type=\"text/javascript\">"
                           "comet.printServerTime(");
    comet_buffer_add_int(out, time / APR_USEC_PER_SEC);
    comet_buffer_puts(out, ");</script>");
}

/* The first tick is part of the page's beginning. */
static void open_page(comet_buffer_t *out, const comet_answer_t *answer)
{
    comet_buffer_add(out, opening, sizeof(opening) - 1);
    encode(out, answer);
}

const comet_transport_t comet_transport_clock = {
    .gauge = COMET_METRIC_waiting_clock,
    .content_type = "text/html; charset=UTF-8",
    /* the values the original sent */
    .cache_control = "no-cache, must-revalidate, no-transform",
    .expires = "Mon, 26 Jul 1997 05:00:00 GMT",
    .streams = 1,
    .limit = 0,
    .open = open_page,
    .encode = encode,
    .heartbeat = "\n",
};
