<?php
// SPDX-License-Identifier: Apache-2.0
// Says who may use a channel.  With php-request.conf, httpd asks this script.
// Adapt the session and the channels.  Print nothing: 204 grants access, and
// any output counts as an error message.

session_start(['read_and_close' => true]);
if (!isset($_SESSION['id'])) {
    http_response_code(401);
    exit;
}
$id = (int) $_SESSION['id'];
$channel = $_SERVER['HTTP_COMET_CHANNEL'] ?? '';
$action = $_SERVER['HTTP_COMET_ACTION'] ?? '';

// The empty name is the endpoint's own URL, which gives access to no channel.
$may = $channel === '' || str_starts_with($channel, 'public/')
    || str_starts_with("$channel/", "user/$id/");
if (!$may || $action !== 'read') {
    http_response_code(403);
    exit;
}
header('Comet-User: ' . $_SESSION['name']);
header('Comet-Lifetime: 60');
http_response_code(204);
