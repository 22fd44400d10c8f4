/* SPDX-License-Identifier: Apache-2.0 */
/* Which parts of a request the formats and conditions of an access log use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/logline.h"

#define REQUEST COMET_LOGLINE_REQUEST
#define RESPONSE COMET_LOGLINE_RESPONSE
#define NOTES COMET_LOGLINE_NOTES
#define NOTES COMET_LOGLINE_NOTES

typedef struct case_t {
    const char *text;
    const char *stranger; /* the first item that is not known; NULL: all are
                           * known */
    unsigned needs; /* bits of COMET_LOGLINE_…: what the items need, if all are
                     * known */
} case_t;

typedef comet_text_t look_fn(const char *text, unsigned *needs);

static void check(const case_t *cases, apr_size_t count, look_fn *look)
{
    apr_size_t i;

    for (i = 0; i < count; i++) {
        unsigned needs = 0;
        comet_text_t found = look(cases[i].text, &needs);

        if (!cases[i].stranger) {
            if (found.data || needs != cases[i].needs) {
                fail_msg("%s: \"%.*s\", needs %u", cases[i].text,
                         (int)found.length, found.data ? found.data : "",
                         needs);
            }
        }
        else if (!found.data || found.length != strlen(cases[i].stranger)
                 || memcmp(found.data, cases[i].stranger, found.length) != 0) {
            fail_msg("%s: \"%.*s\"", cases[i].text, (int)found.length,
                     found.data ? found.data : "");
        }
    }
}

static void test_formats(void **state)
{
    static const case_t cases[] = {
        { "", NULL, 0 },
        { "combined", NULL, 0 },
        { "%v:%p %h %l %u %t \"%r\" %>s %O \"%{Referer}i\" "
          "\"%{User-agent}i\"",
          NULL, 0 },
        { "%200,304{Host}i %!200{X-Forwarded-For}i%%", NULL, 0 },
        { "%{c}a %{local}p %{%d/%b}t %{msec_frac}t %{ms}T %{begin:%Y}t", NULL,
          0 },
        { "%{FOO}e %{bar}n %{SSL_PROTOCOL}x %{version}c %{x}^ti", NULL, 0 },
        { "%{Content-Type}o", NULL, 0 },
        { "%>s %{comet-end}n", NULL, NOTES },
        { "%{Comet-Channel}n %{id}C", NULL, NOTES | REQUEST },
        { "%{comet}n %{comet-end}e", NULL, 0 },
        { "%>s %{comet-end}n", NULL, NOTES },
        { "%{Comet-Channel}n %{id}C", NULL, NOTES | REQUEST },
        { "%{comet}n %{comet-end}e", NULL, 0 },
        { "%{Cookie}i", NULL, REQUEST },
        { "%{id}C", NULL, REQUEST },
        { "%<{Accept}i %{Cache-Control}o", NULL, REQUEST | RESPONSE },
        { "%{HTTP:Cookie}x", NULL, REQUEST | RESPONSE },
        /* items about the connection, of other modules, or cut off */
        { "%h %^FB", "%^FB", 0 },
        { "%h %{x}^FU \"%r\"", "%{x}^FU", 0 },
        { "%y", "%y", 0 },
        { "%^", "%^", 0 },
        { "%", "%", 0 },
        { "%{Referer", "%{Referer", 0 },
        { "%>", "%>", 0 },
    };

    check(cases, sizeof(cases) / sizeof(*cases), comet_logline_check_format);
}

static void test_conditions(void **state)
{
    static const case_t cases[] = {
        { "", NULL, 0 },
        { "%{REQUEST_STATUS} >= 400 && %{REQUEST_URI} != '/x'", NULL, 0 },
        { "%{DOCUMENT_ROOT} =~ m#(-U|file(x)|\\#-F)# || true", NULL, 0 },
        { "%{THE_REQUEST} !~ /-U \\/ exec(/i", NULL, 0 },
        { "!(-z env('x')) && -n %{ENV:y} && tolower ('-U') eq 'x'", NULL, 0 },
        { "-R '10.0.0.0/8' || '-U' -in { 'a', \"-F it's\" }", NULL, 0 },
        { "'it\\'s -U' == '%{TIME_HOUR}' || %{SSL_PROTOCOL} == ''", NULL, 0 },
        { "5 -gt -5 && $1 -eq 0", NULL, 0 },
        { "req('Cookie') == ''", NULL, REQUEST },
        { "%{HTTP_USER_AGENT} =~ /bot/ || %{HTTPS} == 'on'", NULL, REQUEST },
        { "resp('Content-Type') =~ m#html#", NULL, RESPONSE },
        { "%{note:comet-end} == 'lost'", NULL, NOTES },
        { "note('any') == 'x'", NULL, NOTES },
        { "'a%{RESP:Not-A-Field}' != %{http:Accept}", NULL,
          REQUEST | RESPONSE },
        /* operators that make sub-requests */
        { "-U '/index.html'", "-U", 0 },
        { "!-F '/index.html'", "-F", 0 },
        { "true && -A %{REQUEST_URI}", "-A", 0 },
        { "%{REQUEST_URI} =~ /x/ && -U '/'", "-U", 0 },
        { "%{REQUEST_URI} =~ %{ENV:x} && -U '/'", "-U", 0 },
        /* operators that look at files */
        { "-f '/x'", "-f", 0 },
        { "-s %{REQUEST_FILENAME}", "-s", 0 },
        { "file('/x') == ''", "file", 0 },
        { "'%{filesize:/x}' -gt 0", "%{filesize:/x}", 0 },
        /* a variable that queries the client's host, and items of another
         * module */
        { "%{REMOTE_IDENT} == 'x'", "%{REMOTE_IDENT}", 0 },
        { "%{MY_VARIABLE} == 'x'", "%{MY_VARIABLE}", 0 },
        { "my_function ('x')", "my_function", 0 },
        { "'x' -mine 'y'", "-mine", 0 },
        { "%{", "%{", 0 },
    };

    check(cases, sizeof(cases) / sizeof(*cases), comet_logline_check_condition);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_conditions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
