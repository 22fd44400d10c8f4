<?php
// SPDX-License-Identifier: Apache-2.0
// Gives a token to a user who is logged in; see php-token.conf.  Adapt the
// session and the channels.  Put ids into channels, never names that users
// choose: a user called * would get the channels of all.

session_start(['read_and_close' => true]);
header('Content-Type: text/plain');
header('Cache-Control: no-store');
if (!isset($_SESSION['id'])) {
    http_response_code(401);
    exit;
}
$id = (int) $_SESSION['id'];

function part(string $bytes): string
{
    return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
}

$text = part('{"alg":"HS256","typ":"JWT"}') . '.' . part(json_encode([
    'sub' => $_SESSION['name'],
    'iat' => time(),
    'exp' => time() + 300,
    'comet' => ['read' => ['public/*', "user/$id", "user/$id/*"]],
]));
$key = rtrim(file_get_contents('/etc/apache2/comet.key'), "\r\n");
echo $text, '.', part(hash_hmac('sha256', $text, $key, true));
